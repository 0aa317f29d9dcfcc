"""A run's page against another run: paired over the same videos, and refused where that is none."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from helpers import count, open_page, rescore
from loco.cli import main
from loco.errors import LocoError
from loco.evaluation.bootstrap import WeightedMAP, resampled
from loco.reporting.comparison import compare
from loco.reporting.report import write_report
from loco.runs.paired import same_events
from loco.runs.results import evaluation_columns
from loco.runs.run_folder import RunFolder
from loco.structures import Events

Change = Callable[[dict[str, Any]], None]


@pytest.fixture
def folders(finished_run: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A run, and one whose detections lie half a second later and that has another setting."""
    first, second = tmp_path / "first", tmp_path / "second <b>"
    for folder in (first, second):
        shutil.copytree(finished_run, folder)
    found = json.loads((second / "predictions.json").read_text("utf-8"))
    for events in found["database"].values():
        for event in events:
            event["segment"] = [event["segment"][0], event["segment"][1] + 0.5]
    (second / "predictions.json").write_text(json.dumps(found), "utf-8")
    config = (second / "config.yaml").read_text("utf-8")
    (second / "config.yaml").write_text(config.replace("seed: 0", "seed: 7"), "utf-8")
    rescore(second)
    return first, second


def test_a_page_against_another_run(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folders
    assert main(["report", str(first), "--against", str(second), "--videos", "3"]) == 0
    assert not (second / "report.html").exists()
    text = html.unescape((first / "report.html").read_text("utf-8"))
    mine, theirs = RunFolder(first), RunFolder(second)
    columns = [evaluation_columns(run.predictions, mine.test_videos) for run in (theirs, mine)]
    values = resampled([WeightedMAP(of_run, 5) for of_run in columns], 1000, 0)
    mean = mine.metrics["mAP"] - WeightedMAP(columns[0], 5)(np.ones(5))
    half = 1.959964 * (values[1] - values[0]).std()
    told = re.search(
        r"<strong>([+−]?[\d.]+)</strong> points on second <b>;\s*95 % interval (\S+) to (\S+),",
        text,
    )
    assert told
    shown = [float(number.replace("−", "-")) / 100 for number in told.groups()]
    assert shown == pytest.approx([mean, mean - half, mean + half], abs=6e-5)
    rows = re.findall(r'<tr><th scope="row">(.*?)</th>((?:<td>[\d.–]+</td>){6})</tr>', text)
    scores = {name: re.findall(r"[\d.]+", cells)[-1] for name, cells in rows}
    assert scores["this run"] == f"{100 * mine.metrics['mAP']:.2f}"
    assert float(scores["this run"]) - float(scores["second <b>"]) == pytest.approx(
        100 * mean, abs=0.011
    )
    assert '<tr><th scope="row">seed</th><td>0</td><td>7</td></tr>' in text
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
    assert data["runs"] == ["this run", "second <b>"]
    for video in data["videos"]:
        (other,) = video["other"]
        assert other != video["found"]
        assert len(video["scores"]) == 2


def test_the_same_run_is_no_better_than_itself(folders: tuple[Path, Path]) -> None:
    first, second = folders
    for name in ("predictions.json", "metrics.json"):
        shutil.copyfile(first / name, second / name)
    comparison = compare(RunFolder(first), RunFolder(second), resamples=50)
    assert comparison.difference[:3] == (0, 0, 0)
    keys, here, there = zip(*comparison.settings, strict=True)
    assert {key.rpartition(".")[2] for key in keys} == {"seed"}
    assert (set(here), set(there)) == ({"0"}, {"7"})
    assert comparison.notes == []


def test_the_videos_that_both_have(folders: tuple[Path, Path]) -> None:
    first, second = folders
    found = json.loads((second / "predictions.json").read_text("utf-8"))
    found["database"].popitem()
    (second / "predictions.json").write_text(json.dumps(found), "utf-8")
    rescore(second)
    comparison = compare(RunFolder(first), RunFolder(second), resamples=20)
    assert len(comparison.videos) == 4
    assert comparison.notes == ["1 test videos of this run are not in the other, and do not count."]


def _other_events(content: dict[str, Any]) -> None:
    for video in content["database"].values():
        for event in video["annotations"]:
            event["segment"][1] -= 0.01


def _other_classes(content: dict[str, Any]) -> None:
    for video in content["database"].values():
        for event in video["annotations"]:
            event["label"] = f"other {event['label']}"


@pytest.mark.parametrize(
    ("change", "told"),
    [(_other_events, "the events of 'test_00000' are not the same in both"),
     (_other_classes, "their classes are not the same")],
)  # fmt: skip
def test_other_test_sets_are_refused(
    folders: tuple[Path, Path], tmp_path: Path, change: Change, told: str
) -> None:
    first, second = folders
    config = (second / "config.yaml").read_text("utf-8")
    root = re.search(r"root: (\S+)", config)
    assert root
    content = json.loads((Path(root[1]) / "annotations.json").read_text("utf-8"))
    change(content)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "annotations.json").write_text(json.dumps(content), "utf-8")
    (second / "config.yaml").write_text(config.replace(root[0], f"root: {tmp_path / 'data'}"))
    for name in ("metrics.json", "predictions.json"):
        text = (second / name).read_text("utf-8")
        if change is _other_classes:
            for label in RunFolder(first).annotations.class_names:
                text = text.replace(f'"{label}"', f'"other {label}"')
        (second / name).write_text(text, "utf-8")
    rescore(second)
    with pytest.raises(LocoError, match=told):
        write_report(first, against=second)
    assert not (first / "report.html").exists()


def test_nothing_in_common_is_refused(
    folders: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = folders
    (second / "predictions.json").write_text('{"database": {}}')
    assert main(["report", str(first), "--against", str(second)]) == 1
    error = capsys.readouterr().err
    assert "cannot be compared: no test video is in both" in error
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_both_timelines_in_a_browser(browser: Any, folders: tuple[Path, Path], width: int) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    page = write_report(folders[0], against=folders[1])
    open_page(browser, page, width)
    assert count(browser, "#timeline svg") == count(browser, "#timeline h3") == 2
    orders = Select(browser.find_element(By.ID, "order"))
    for option in [option.text for option in orders.options]:
        orders.select_by_visible_text(option)
        assert count(browser, "#video option") == 5
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []


def test_events_are_the_same_in_any_order() -> None:
    first = Events(torch.tensor([[0.0, 1.0], [2.0, 3.0]]).double(), torch.tensor([1, 0]))
    again = Events(first.segments.flip(0), first.labels.flip(0))
    assert same_events(first, again)
    assert not same_events(first, Events(first.segments, first.labels.flip(0)))
    assert not same_events(first, Events(first.segments[:1], first.labels[:1]))


def test_a_run_is_not_shown_beside_events_that_came_after_its_test(
    finished_run: Path, tmp_path: Path
) -> None:
    """Its page leaves out what needs them, and says why; figures and comparisons are refused."""
    folder, root = tmp_path / "run", tmp_path / "data"
    shutil.copytree(finished_run, folder)
    config = (folder / "config.yaml").read_text("utf-8")
    was = re.search(r"root: (\S+)", config)
    assert was
    content = json.loads((Path(was[1]) / "annotations.json").read_text("utf-8"))
    root.mkdir()
    (folder / "config.yaml").write_text(config.replace(was[0], f"root: {root}"), "utf-8")
    tested = [i for i, video in content["database"].items() if video["subset"] == "test"]
    changes: dict[str, Callable[[], object]] = {
        "the annotations have changed since": content["database"][tested[0]]["annotations"].clear,
        f"has no video '{tested[1]}', which": lambda: content["database"].pop(tested[1]),
    }
    for told, change in changes.items():
        change()
        (root / "annotations.json").write_text(json.dumps(content), "utf-8")
        with pytest.raises(LocoError, match=told):
            _ = RunFolder(folder).test_videos
        text = html.unescape(write_report(folder).read_text("utf-8"))
        assert told in text
        assert "constant predictor" not in text
        assert main(["figure", "pr", str(folder), "-o", str(tmp_path / "pr.svg")]) == 1
        assert main(["report", str(folder), "--against", str(finished_run)]) == 1
        video = tested[2]
        assert main(["figure", "timeline", str(folder), video, "-o", "x.svg"]) == 1
