"""The run report: what it holds, and that it works in a browser."""

from __future__ import annotations

import html
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf

from helpers import count, inside, open_page
from loco.cli import main
from loco.errors import LocoError
from loco.reporting.headline import duration, headline
from loco.reporting.report import write_report
from loco.runs.run_folder import RunFolder


@pytest.fixture(scope="module")
def run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run's folder that may be written in, with what Hydra notes of its command."""
    folder = tmp_path_factory.mktemp("report") / "my run"
    shutil.copytree(finished_run, folder)
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("- attention=cdp\n- data.layout.fps=${x}\n")
    return folder


@pytest.fixture(scope="module")
def page(run: Path) -> Path:
    return write_report(run)


def data_of(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.S)
    assert found
    return json.loads(found[1])


class Checker(HTMLParser):
    """Finds elements that are not closed, ids that stand twice, and links to anywhere else."""

    VOID = ("meta", "link", "input", "br", "img")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self._note(attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._note(attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def _note(self, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src", "xlink:href") if name in values]


def test_the_page_is_whole_and_needs_nothing(page: Path, run: Path) -> None:
    assert page == run / "report.html"
    text = page.read_text(encoding="utf-8")
    assert "{{" not in text
    assert "{%" not in text
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert len(set(checker.ids)) == len(checker.ids)
    assert all(link.startswith(("data:", "#")) for link in checker.links)
    assert not re.search(r"@import|url\((?!#)", text)
    assert page.stat().st_size < 1_000_000


def test_what_the_page_says(page: Path, run: Path) -> None:
    text = page.read_text(encoding="utf-8")
    metrics = RunFolder(run).metrics
    assert f"<td>{100 * metrics['mAP']:.2f}</td>" in text
    for words in ("this run", "constant predictor", "mAP against tIoU", "Precision against recall",
                  "Losses", "total, validation", "Validation mAP", "Learning rate", "best epoch, ",
                  "The best predictions", "mAP by kind of event",
                  "Local cross-modal coherence", "LCC: width σ", "level 1: visual looks at audio",
                  "Confusion between classes", "window_size: 8"):  # fmt: skip
        assert words in text, words
    assert "<pre>loco train attention=cdp 'data.layout.fps=${x}'</pre>" in html.unescape(text)


def test_what_was_run(page: Path, run: Path) -> None:
    """The head of the page: model, data, overrides, when, how long, on what, and the best epoch."""
    text = html.unescape(page.read_text(encoding="utf-8"))
    assert "<h1>LoCo on synthetic</h1>" in text
    assert "<title>LoCo on synthetic, attention=cdp, data.layout.fps=${x} · my run" in text
    assert '<p class="kicker">my run</p>' in text
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    log, metrics = RunFolder(run).log, RunFolder(run).metrics
    assert facts["mAP (%)"] == f"{100 * metrics['mAP']:.2f}"
    assert facts["best epoch"] == f"{int(log['val/mAP'].values.argmax()) + 1} of 2"
    assert facts["device"] == "cpu"
    assert facts["seed"] == "0"
    assert re.fullmatch(r"20\d\d-\d\d-\d\d \d\d:\d\d", facts["began"])
    assert facts["took"].endswith(" s")


def note_commands(run: Path, *commands: object) -> None:
    starts = {"starts": [{"command": command} for command in commands]}
    (run / "provenance.json").write_text(json.dumps(starts), "utf-8")


def test_the_command_can_be_repeated(run: Path, tmp_path: Path) -> None:
    """As the last start noted it, with Hydra's own options; else from what Hydra noted."""
    run = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    rebuilt = "loco train attention=cdp 'data.layout.fps=${x}'"
    noted = "loco train ckpt_path=x 'data.root=a b' --config-dir 'my conf'"
    note_commands(run, "loco train", noted)
    assert RunFolder(run).command == noted
    note_commands(run, "loco train +x.api_key=s3cret")
    assert RunFolder(run).command == "loco train +x.api_key=HIDDEN"
    for sweep in ("-m", "--multirun"):  # of a job the one that runs it alone
        note_commands(run, f"loco train attention=cdp,none --config-dir 'my conf' {sweep}")
        assert RunFolder(run).command == f"{rebuilt} --config-dir 'my conf'"
    for damaged in (None, 7, "loco train 'a"):
        note_commands(run, noted, damaged)
        assert RunFolder(run).command == rebuilt
    (run / ".hydra" / "overrides.yaml").unlink()
    assert RunFolder(run).command is None


def test_epochs_that_were_not_validated_count(run: Path, tmp_path: Path) -> None:
    """Of three epochs, the second one of which was validated alone; the test counts as a fourth."""
    run = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("checkpoints"))
    rows = [
        "step,epoch,train/loss,val/mAP,test/mAP",
        "0,0,2,,",
        "5,1,1,0.5,",
        "8,2,1,,",
        "9,3,,,0.4",
    ]
    (run / "logs" / "metrics.csv").write_text("\n".join(rows), "utf-8")
    assert dict(headline(RunFolder(run)).facts)["best epoch"] == "2 of 3"


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.21, "4.2 s"), (200, "3 min 20 s"), (18740, "5 h 12 min")]
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_classes(page: Path, run: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for name in RunFolder(run).annotations.class_names:
        assert f'<th scope="row">{name}</th>' in text


def test_the_videos_in_it(page: Path, run: Path) -> None:
    folder = RunFolder(run)
    data = data_of(page)
    assert [video["id"] for video in data["videos"]] == sorted(folder.predictions)
    assert [scale["name"] for scale in data["scales"]] == ["encoder outputs", "LCC's common space"]
    for video in data["videos"]:
        found = np.array(video["found"])
        events = folder.predictions[video["id"]]
        np.testing.assert_allclose(found[:, :2] / 1000, events.segments, atol=0.00051)
        np.testing.assert_allclose(found[:, 3] / 1000, events.scores, atol=0.00051)
        assert len(video["truth"]) == len(folder.annotations[video["id"]].events)
        assert (video["other"], video["film"]) == ([], None)
        assert 0 <= video["scores"][0] <= 1
        assert len(video["matrices"]) == 2
        for matrix in video["matrices"]:
            assert matrix["image"].startswith("data:image/png;base64,")
            assert len(matrix["image"]) < 12_000
            assert matrix["start"] < 1 < matrix["end"]


def test_names_cannot_break_the_page(run: Path, tmp_path: Path) -> None:
    """A class called like a piece of HTML, in the annotations and in the predictions."""
    evil, bad = "baby crying", '</script><b onclick="x">'
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    config = (folder / "config.yaml").read_text()
    root = re.search(r"root: (\S+)", config)
    assert root
    copy = tmp_path / "data"
    copy.mkdir()
    annotations = (Path(root[1]) / "annotations.json").read_text()
    (copy / "annotations.json").write_text(annotations.replace(f'"{evil}"', json.dumps(bad)))
    (folder / "config.yaml").write_text(config.replace(root[0], f"root: {copy}"))
    for name in ("predictions.json", "metrics.json"):
        file = folder / name
        file.write_text(file.read_text().replace(f'"{evil}"', json.dumps(bad)))
    page = write_report(folder, videos=0)
    text = page.read_text(encoding="utf-8")
    assert bad not in text
    assert "&lt;/script&gt;" in text
    assert bad in data_of(page)["classes"]
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert data_of(page)["videos"] == []


def test_what_is_gone_is_left_out(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    shutil.rmtree(folder / "logs")
    shutil.rmtree(folder / "checkpoints")
    (folder / "report.html").unlink(missing_ok=True)
    config = (folder / "config.yaml").read_text()
    (folder / "config.yaml").write_text(re.sub(r"root: \S+", f"root: {tmp_path}/gone", config))
    text = write_report(folder).read_text(encoding="utf-8")
    for what in ("ground truth", "training curves"):
        assert f"No {what}" in text
    assert "The best predictions" in text  # metrics.json has it
    assert data_of(folder / "report.html")["videos"] == []


def test_a_video_whose_features_are_gone_has_no_matrices(run: Path, tmp_path: Path) -> None:
    """Where `data.missing=skip` says that files may be."""
    folder, root = tmp_path / "run", tmp_path / "features"
    shutil.copytree(run, folder)
    config = OmegaConf.load(folder / "config.yaml")
    shutil.copytree(config.data.root, root)
    config.data.root, config.data.missing = str(root), "skip"
    OmegaConf.save(config, folder / "config.yaml")
    (shown,) = data_of(write_report(folder, videos=1))["videos"]
    assert shown["matrices"]
    for file in root.rglob(f"{shown['id']}_*.npy"):
        file.unlink()
    (again,) = data_of(write_report(folder, videos=1))["videos"]
    assert (again["id"], again["matrices"]) == (shown["id"], [])


def test_no_run_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(LocoError, match="expected the folder of a finished run"):
        write_report(tmp_path)
    assert main(["report", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_script_and_fewer_videos(
    run: Path, page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(run, tmp_path / "run")
    assert main(["report", str(tmp_path / "run"), "--videos", "2"]) == 0
    assert f"{tmp_path / 'run' / 'report.html'}: 0." in capsys.readouterr().out
    every = {video["id"]: video["scores"][0] for video in data_of(page)["videos"]}
    videos = data_of(tmp_path / "run" / "report.html")["videos"]
    assert len(videos) == 2
    assert max(every.values()) in [video["scores"][0] for video in videos]


# ---- in a browser


@pytest.mark.slow
def test_it_opens_without_errors(browser: Any, page: Path) -> None:
    open_page(browser, page)
    assert browser.get_log("browser") == []
    assert count(browser, "#video option") == 5
    assert count(browser, "#timeline svg rect.truth") >= 1
    assert count(browser, ".matrix svg image") == 2
    assert count(browser, ".charts figure svg") == 11
    assert count(browser, "#missing") == 0
    assert count(browser, "#confusion tbody tr") >= 2


@pytest.mark.slow
def test_the_chooser_changes_what_is_drawn(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.select import Select

    open_page(browser, page)
    Select(browser.find_element(By.ID, "order")).select_by_visible_text("by name")
    seen = set()
    for i in range(5):
        Select(browser.find_element(By.ID, "video")).select_by_index(i)
        seen.add(inside(browser, "#timeline") + inside(browser, "#matrices"))
        events = len(data_of(page)["videos"][i]["truth"])
        assert count(browser, "rect.truth") == events
    assert len(seen) == 5
    assert not browser.find_element(By.ID, "next").is_enabled()
    browser.find_element(By.ID, "previous").click()
    assert Select(browser.find_element(By.ID, "video")).first_selected_option.text.startswith(
        data_of(page)["videos"][3]["id"]
    )
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_the_slider_changes_what_is_drawn_by_keyboard(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    best = max(data_of(page)["videos"], key=lambda video: video["scores"][0])
    scores = np.array(best["found"])[:, 3] / 1000
    slider = browser.find_element(By.ID, "score")
    slider.send_keys(Keys.HOME)
    assert count(browser, "rect.found") == len(scores)
    start = float(inside(browser, "#predictions td:nth-child(2)"))  # in seconds
    assert start == pytest.approx(best["found"][0][0] / 1000, abs=0.0051)
    slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_RIGHT)
    assert browser.find_element(By.ID, "threshold").text == "0.02"
    kept = int((scores >= 0.02).sum())
    assert count(browser, "rect.found") == count(browser, "#predictions tr") == kept
    assert f"{kept} of {len(scores)} predictions" in inside(browser, "#summary")
    slider.send_keys(Keys.END)
    assert count(browser, "rect.found") == 0
    assert browser.get_log("browser") == []


@pytest.mark.slow
def test_all_controls_are_reached_by_keyboard_and_named(browser: Any, page: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    open_page(browser, page)
    reached = []
    for _ in range(8):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        element = browser.switch_to.active_element
        reached.append(element.get_attribute("id") or element.tag_name)
        if reached[-1] in ("previous", "next", "video", "score"):
            assert element.accessible_name
    assert [name for name in ("video", "next", "score", "summary") if name not in reached] == []
    assert browser.find_element(By.ID, "video").accessible_name == "Video"


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 390, 768, 1280])
def test_nothing_is_wider_than_the_screen(browser: Any, page: Path, width: int) -> None:
    open_page(browser, page, width)
    browser.execute_script("document.querySelectorAll('details').forEach((d) => d.open = true)")
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
