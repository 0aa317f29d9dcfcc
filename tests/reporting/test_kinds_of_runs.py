"""Pages of unusual runs: one class or a hundred, no predictions, no events, no log, films."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from clips import flash, steady, tone, write_clip
from helpers import compose_config, count, open_page, run_loco
from loco.cli import main
from loco.data.annotations import read_annotations
from loco.reporting.report import write_report
from loco.reporting.videos import choose, find_film
from loco.runs.evaluate import evaluate
from loco.runs.results import detailed_metrics, json_number, predictions_json, write_json
from loco.structures import Events


def made_run(
    folder: Path, num_classes: int, videos: int = 6, found: bool = True, events: bool = True
) -> Path:
    """A run's folder without log and checkpoint: answers near the truth, some of another class."""
    random = np.random.default_rng(0)
    names = [f"class <{k}> & a longer name" for k in range(num_classes)]
    database: dict[str, Any] = {}
    detections = {}
    for i in range(videos):
        count = max(2, num_classes // videos * 2) if events else 0
        starts = np.sort(random.uniform(0, 40, count))
        segments = np.stack([starts, starts + random.uniform(1, 9, count)], 1)
        labels = (np.arange(count) + i * count) % num_classes
        database[f"v{i}"] = {
            "duration": 50.0, "subset": "test",
            "annotations": [
                {"segment": s.tolist(), "label": names[k], "label_id": int(k)}
                for s, k in zip(segments, labels, strict=True)
            ],
        }  # fmt: skip
        told = np.where(random.random(count) < 0.3, (labels + 1) % num_classes, labels)
        kept = slice(None) if found else slice(0)
        detections[f"v{i}"] = Events(
            torch.tensor(segments + random.normal(0, 0.4, segments.shape))
            .clamp(0, 50)
            .sort()[0][kept],
            torch.tensor(told)[kept],
            torch.tensor(np.sort(random.random(count))[::-1].copy())[kept],
        )
    database["t"] = {  # so that every class is there
        "duration": 50.0, "subset": "train",
        "annotations": [
            {"segment": [0, 9], "label": name, "label_id": k} for k, name in enumerate(names)
        ],
    }  # fmt: skip
    folder.mkdir(parents=True)
    file = folder / "annotations.json"
    file.write_text(json.dumps({"database": database}), "utf-8")
    config = compose_config(
        "train",
        ["data=unav100_onepeace", f"data.root={folder}", f"data.annotations={file}",
         f"output_dir={folder}", "model=tridet_small"],
    )  # fmt: skip
    (folder / "config.yaml").write_text(OmegaConf.to_yaml(config, resolve=True), "utf-8")
    annotations = read_annotations(file)
    tested = [annotations[video_id] for video_id in detections]
    details = detailed_metrics(detections, tested, names)
    averages = [v["mAP"] for v in details["per_class"].values() if v["mAP"] is not None]
    mean = json_number(float(np.mean(averages))) if averages else None
    keys = ["mAP", *(f"mAP@0.{i}" for i in range(1, 10))]
    write_json(folder / "metrics.json", dict.fromkeys(keys, mean) | details)
    write_json(folder / "predictions.json", predictions_json(detections, names))
    return folder


class Closed(HTMLParser):
    """Finds elements that are not closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.open += [tag] if tag not in ("meta", "link", "input", "br", "img") else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


KINDS: dict[str, dict[str, Any]] = {
    "one class": {"num_classes": 1},
    "many classes": {"num_classes": 100},
    "nothing found": {"num_classes": 3, "found": False},
    "no events": {"num_classes": 3, "events": False},
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_of_each_kind(kind: str, tmp_path: Path) -> None:
    text = write_report(made_run(tmp_path / "run", **KINDS[kind])).read_text("utf-8")
    Closed(text)
    assert "nan" not in re.sub(r"<script.*?</script>|<svg.*?</svg>", "", text, flags=re.S)
    for what in ("CDP", "LCC", "best epoch"):  # another detector, and no log
        assert what not in re.sub(r"<li>.*?</li>", "", text)
    assert "No training curves: " in text
    assert "No target windows" not in text
    assert ("Confusion between classes" in text) == (kind != "no events")
    if kind == "many classes":
        data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])  # type: ignore[index]
        counts = np.zeros((101, 101), int)
        for row, column, number in data["confusion"]:
            counts[row, column] = number
        assert counts[:100].sum() == sum(len(video["truth"]) for video in data["videos"])
        assert counts[:100, :100].sum() > counts[:100, :100].trace() > 0
        shown = html.unescape(text)
        first = re.search(
            r"<th scope=\"row\">(class <\d+> .*?)</th><td>(class <\d+> .*?)</td>", shown
        )
        assert first
        assert first[1] != first[2]


def test_films_are_found_and_missed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_run(tmp_path / "run", 3)
    assert main(["report", str(run), "--video-root", str(tmp_path / "nowhere")]) == 1
    assert "nowhere: expected a folder with films" in capsys.readouterr().err
    films = tmp_path / "my films #1"
    films.mkdir()
    (films / "v1.webm").touch()
    assert find_film(films, "v1") == films / "v1.webm"
    assert find_film(films, "v2") is None
    assert main(["report", str(run), "--video-root", str(films)]) == 0
    text = (run / "report.html").read_text("utf-8")
    videos = json.loads(re.search(r'id="data">(.*?)</script>', text, re.S)[1])["videos"]  # type: ignore[index]
    assert videos[1]["film"] == {
        "path": "../my films #1/v1.webm", "src": "../my%20films%20%231/v1.webm"
    }  # fmt: skip
    assert [video["film"] for video in videos].count(None) == len(videos) - 1


@pytest.mark.slow
def test_an_evaluation_shows_films(finished_run: Path, tmp_path: Path) -> None:
    words = [
        f"ckpt_path={finished_run}",
        f"output_dir={tmp_path / 'out'}",
        "trainer.accelerator=cpu",
    ]
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "test_00001.mp4").touch()
    evaluate(compose_config("evaluate", [*words, f"video_root={tmp_path / 'films'}"]))
    text = (tmp_path / "out" / "report.html").read_text("utf-8")
    assert "<h1>LoCo on synthetic, tested again</h1>" in text
    assert "../films/test_00001.mp4" in text
    assert "Learning rate" not in text
    done = run_loco("evaluate", *words, "video_root=nowhere", cwd=tmp_path)
    assert done.code == 1
    assert "video_root=nowhere: expected a folder with films, there is none" in done.out
    assert "Traceback" not in done.out


def test_the_best_and_the_worst_are_among_those_shown(tmp_path: Path) -> None:
    annotations = read_annotations(made_run(tmp_path / "run", 3, videos=9) / "annotations.json")
    videos = [video for video in annotations.values() if video.subset == "test"]
    scores = {f"v{i}": (7 * i % 9) / 9 for i in range(8)}  # v8 has none
    ranked = sorted(scores, key=lambda video_id: scores[video_id])
    for number in range(10):
        shown = [video.id for video in choose(videos, scores, number)]
        assert len(shown) == min(number, 9)
        assert shown == sorted(shown)
        if number >= 4:
            assert {ranked[0], ranked[-1]} <= set(shown)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("width", [390, 1280])
def test_each_kind_in_a_browser(browser: Any, kind: str, width: int, tmp_path: Path) -> None:
    open_page(browser, write_report(made_run(tmp_path / "run", **KINDS[kind])), width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    rows = {"one class": 2, "many classes": 101, "nothing found": 3, "no events": 0}
    assert abs(count(browser, "#confusion tbody tr") - rows[kind]) <= 1  # background may be empty


@pytest.mark.slow
def test_a_click_on_an_event_plays_the_film(browser: Any, tmp_path: Path) -> None:
    import time

    run = made_run(tmp_path / "run", 1, videos=1)
    sound = tone(1, 50)
    film = tmp_path / "films" / "v0.mp4"
    film.parent.mkdir()
    write_clip(film, flash(1), steady(50), sound, codec="libx264")
    page = write_report(run, video_root=film.parent)
    open_page(browser, page)
    start = json.loads((run / "annotations.json").read_text())["database"]["v0"]["annotations"][0]
    script = "const v = document.querySelector('#film video'); return v && v.currentTime"
    browser.execute_script(
        "document.querySelector('rect.truth').dispatchEvent(new MouseEvent('click'))"
    )
    end = time.monotonic() + 30
    while not (browser.execute_script(script) or 0) >= start["segment"][0] - 0.1:
        assert time.monotonic() < end
        time.sleep(0.05)
    assert browser.get_log("browser") == []
    film.unlink()
    open_page(browser, page)
    while not count(browser, "#gone"):
        assert time.monotonic() < end
        time.sleep(0.05)
    browser.get_log("browser")  # the browser itself says that the file is not there
