"""The page of a whole sweep: its numbers, links to the jobs' reports, and that it needs nothing."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest

from helpers import count, inside, open_page
from loco.cli import main
from loco.reporting.figures import plot_differences, plot_importances
from loco.sweeps.columns import MAP_COLUMNS
from loco.sweeps.job_record import Job
from loco.sweeps.origin import IMPORTANCES
from loco.sweeps.report import write_sweep_report
from loco.sweeps.run_job import _take_over
from loco.sweeps.summary import differences_by_name, label, mean_metrics, reference_name, row_logs
from loco.sweeps.tabulate import Difference, Row, Table

NAMES = ('<b onclick="x">', "cdp")


@pytest.fixture
def rows(finished_run: Path, tmp_path: Path) -> list[Row]:
    """Two rows of two seeds, copies of one run with other mAPs; the first job has a report."""
    made = []
    for i, name in enumerate(NAMES):
        row = Row({"attention": name, "w": "8"}, failed=i)
        for seed in (0, 1):
            folder = tmp_path / "sweep #1" / f"job-{i}-{seed}"
            shutil.copytree(finished_run, folder)
            (folder / ".hydra").mkdir()
            (folder / ".hydra" / "overrides.yaml").write_text(f"- seed={seed}\n")
            (folder / ".hydra" / "config.yaml").write_text(f"seed: {seed}\n")
            (folder / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {}}}\n")
            metrics = json.loads((folder / "metrics.json").read_text())
            metrics |= {key: (i + seed) / 10 for key in metrics if key.startswith("mAP")}
            (folder / "metrics.json").write_text(json.dumps(metrics))
            row.finished.append(Job(folder))
        made.append(row)
    (made[0].finished[0].folder / "report.html").write_text("here")
    return made


def test_means_and_logs(rows: list[Row]) -> None:
    means = mean_metrics(rows)
    assert list(means) == [f"{name} · 8" for name in NAMES] == [label(row) for row in rows]
    assert means["cdp · 8"]["mAP@0.5"] == pytest.approx(0.15)
    assert "train/loss" in row_logs(rows)["cdp · 8"]
    empty = Row({"attention": "none"})
    assert mean_metrics([empty]) == row_logs([empty]) == {}


def test_the_page(rows: list[Row], tmp_path: Path) -> None:
    table = Table(rows, MAP_COLUMNS, {1: Difference(0.1, -0.02, 0.2)}, 0)
    page = write_sweep_report(table, tmp_path / "pages" / "sweep.html", "a <sweep>")
    text = page.read_text("utf-8")
    assert "<title>a &lt;sweep&gt;" in text
    assert "onclick" not in re.sub(r"&lt;b onclick=", "", text)
    assert "<strong>15.00</strong> ± 7.07" in text
    assert "2 (1 failed)" in text
    assert "+10.00 (−2.00 to +20.00)" in text
    assert text.count("<svg") == 8
    links = re.findall(r'<a href="([^"]+)"', text)
    assert links == ["../sweep%20%231/job-0-0/report.html"]
    others = re.findall(r'(?:href|src)="([^"]+)"', text)
    assert all(link.startswith(("data:", "#", "../")) for link in others)
    assert not re.search(r"@import|url\((?!#)|<script [^>]*src", text)
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))


def test_what_decides_in_a_search(rows: list[Row], tmp_path: Path) -> None:
    """As `loco search` notes it beside its trials, drawn in percent."""
    noted = {"optimizer.lr": 0.75, "attention <b>": 0.25}
    (rows[0].finished[0].folder.parent / IMPORTANCES).write_text(json.dumps(noted))
    text = write_sweep_report(Table(rows, MAP_COLUMNS), tmp_path / "p.html", "s").read_text("utf-8")
    assert "What decides" in text
    assert text.count("<svg") == 8
    (axes,) = plot_importances(noted).axes
    assert [bar.get_width() for bar in axes.patches] == [25, 75]


def test_what_a_job_takes_over(
    rows: list[Row], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Results are copied, checkpoints linked to; where they cannot be, that is said."""
    twin = rows[0].finished[0].folder
    _take_over(tmp_path, twin)
    assert (tmp_path / "metrics.json").read_bytes() == (twin / "metrics.json").read_bytes()
    assert (tmp_path / "checkpoints").resolve() == (twin / "checkpoints").resolve()
    _take_over(tmp_path, twin)
    assert "cannot be a link" not in caplog.text
    other = tmp_path / "other"
    other.mkdir()
    (other / "checkpoints").symlink_to("nothing")
    _take_over(other, twin)
    assert "checkpoints: cannot be a link to" in caplog.text


def test_a_sweep_without_results(tmp_path: Path) -> None:
    table = Table([Row({"attention": "cdp"}, unfinished=2)], MAP_COLUMNS)
    text = write_sweep_report(table, tmp_path / "sweep.html", "sweep").read_text("utf-8")
    assert "0 (2 unfinished)" in text
    assert "<svg" not in text


def test_what_cannot_be_drawn_costs_its_chart(
    rows: list[Row], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A damaged diagnosis, a damaged log; the rest is there, and the page says what is not."""
    first, second = (row.finished[0].folder for row in rows)
    metrics = json.loads((second / "metrics.json").read_text())
    (second / "metrics.json").write_text(json.dumps(metrics | {"diagnosis": {"tiou": 0.5}}))
    (first / "logs" / "metrics.csv").write_text("step,val/mAP\nnone,<b>\n")
    page = write_sweep_report(Table(rows, MAP_COLUMNS), tmp_path / "page.html", "sweep")
    text = html.unescape(page.read_text("utf-8"))
    assert text.count("<svg") == 5  # mAP, and the four curves of the other row
    assert f"No curves of attention={NAMES[0]}, w=8: " in text
    assert "No chart of mistakes: KeyError" in text
    assert main(["tabulate", str(first)]) == 0
    assert main(["tabulate", str(first), "--column", "lcc/sigma"]) == 1
    assert "metrics.csv: expected the log of a CSV logger" in capsys.readouterr().err


@pytest.mark.parametrize(("count", "more"), [(3, ""), (5, " and 2 more")])
def test_a_page_of_many_folders_names_a_few(
    rows: list[Row], tmp_path: Path, count: int, more: str
) -> None:
    folder = rows[0].finished[0].folder
    assert main(["tabulate", *[str(folder)] * count, "--html", str(tmp_path / "p.html")]) == 0
    shown = ", ".join([folder.name] * 3) + more
    assert f"<h1>{shown}</h1>" in (tmp_path / "p.html").read_text("utf-8")


def test_what_the_sweep_was(rows: list[Row], tmp_path: Path) -> None:
    """Its command, when and on what it ran, and what all jobs share; secrets are not told."""
    start = {"command": "loco train -m attention=cdp,none", "device": "cpu", "git": "0123456789ab",
             "began": "2026-11-25T23:12:57+00:00"}  # fmt: skip
    for i, row in enumerate(rows):
        for job in row.finished:
            overrides = [f"attention={i}", f"seed={job.seed}", "model.dim=16", "data.root=here"]
            notes = job.folder / ".hydra"
            (notes / "overrides.yaml").write_text(json.dumps([*overrides, "x.api_key=s3cr"]))
            config = {"seed": int(job.seed), "model": {"dim": 16, "heads": 2}, "attention": i}
            (notes / "config.yaml").write_text(json.dumps(config))
            choices = {"model": "loco_small", "attention": str(i)}
            hydra = {"hydra": {"runtime": {"choices": choices}}}
            (notes / "hydra.yaml").write_text(json.dumps(hydra))
            (job.folder / "provenance.json").write_text(json.dumps({"starts": [start]}))
    fresh = [Row({"attention": name}, [Job(j.folder) for j in row.finished], row.failed)
             for name, row in zip(NAMES, rows, strict=True)]  # fmt: skip
    page = write_sweep_report(Table(fresh, MAP_COLUMNS), tmp_path / "sweep.html", "a sweep")
    text = page.read_text("utf-8")
    assert text.count("<pre>loco train -m attention=cdp,none</pre>") == 1
    facts = dict(re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text))
    assert facts == {"jobs": "4 finished, 1 failed", "began": "2026-11-25 23:12",
                     "device": "cpu", "commit": "0123456789"}  # fmt: skip
    fixed, _, every = text.partition("All settings")
    shared = dict(re.findall(r'<tr><th scope="row">(.*?)</th><td>(.*?)</td></tr>',
                             fixed.partition("What all jobs share")[2]))  # fmt: skip
    assert shared == {"model": "loco_small", "model.dim": "16", "x.api_key": "HIDDEN"}
    assert '<tr><th scope="row">model.heads</th><td>2</td></tr>' in every
    assert "s3cr" not in text


@pytest.mark.slow
def test_the_table_is_sorted_by_a_click(browser: Any, rows: list[Row], tmp_path: Path) -> None:
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    for value, job in zip(
        (0.05, 0.05, 0.2, 0.2), [j for r in rows for j in r.finished], strict=True
    ):
        metrics = json.loads((job.folder / "metrics.json").read_text()) | {"mAP": value}
        (job.folder / "metrics.json").write_text(json.dumps(metrics))
    rows.append(Row({"attention": "later", "w": "16"}, unfinished=2))
    page = write_sweep_report(Table(rows, MAP_COLUMNS), tmp_path / "sweep.html", "sweep")
    open_page(browser, page)

    def order() -> list[str]:
        found = browser.find_elements(By.CSS_SELECTOR, "#h-table ~ div tbody th")
        return [element.text for element in found]

    first, last = (
        browser.find_elements(By.CSS_SELECTOR, "#h-table ~ div th .sort")[i] for i in (0, -1)
    )
    last.click()
    assert order() == ["cdp", NAMES[0], "later"]  # the best first, none last
    last.send_keys(Keys.ENTER)
    assert order() == [NAMES[0], "cdp", "later"]
    first.click()
    assert order() == sorted(order(), key=str.casefold)
    assert count(browser, "th[aria-sort]") == 1
    assert browser.get_log("browser") == []


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 1280])
def test_the_page_in_a_browser(browser: Any, rows: list[Row], tmp_path: Path, width: int) -> None:
    table = Table(rows, MAP_COLUMNS, {1: Difference(0.1, -0.02, 0.2)}, 0)
    page = write_sweep_report(table, tmp_path / "sweep.html", "a <sweep>")
    open_page(browser, page, width)
    assert browser.get_log("browser") == []
    assert browser.title == "a <sweep> · loco sweep report"
    assert count(browser, ".charts figure svg") == 8
    assert count(browser, "#h-table ~ div tbody tr") == 2
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    browser.find_element("link text", "job-0-0").click()
    assert inside(browser, "body") == "here"


def test_differences_are_named_by_what_is_other() -> None:
    names = ("[a,b]", "[a]", "[b,c]", "none", "[b,a]")
    rows = [Row({"part": part, "w": "8" if i else "4"}) for i, part in enumerate(names)]
    gap = Difference(0.1, -0.02, 0.2)
    found = differences_by_name(Table(rows, MAP_COLUMNS, dict.fromkeys(range(1, 5), gap), 0))
    assert list(found) == ["without b · 8", "without a · with c · 8", "none · 8", "[b,a] · 8"]
    assert differences_by_name(Table(rows, MAP_COLUMNS)) == {}
    rows = [Row({"a": a, "b": b}) for a, b in ("22", "12", "21")]
    found = differences_by_name(Table(rows, MAP_COLUMNS, {1: gap, 2: gap}, 0))
    assert list(found) == ["a=1, b=2", "a=2, b=1"]  # not "1" for both, of which one would be lost
    assert [reference_name(Row({"part": part})) for part in ("[a,b]", "a" * 25)] == [
        "[a,b]", "the reference"
    ]  # fmt: skip


def test_the_picture_of_differences() -> None:
    """A row each, from above; the interval in points, the mark hollow where it holds 0."""
    gaps = {"$one": Difference(0.1, -0.02, 0.2), "two": Difference(-0.1, -0.15, -0.05)}
    (axes,) = plot_differences(gaps, "A title").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(gaps)
    assert axes.yaxis_inverted()
    line, (low, high) = axes.lines[0], axes.lines[1].get_xdata()
    assert list(line.get_xdata()) == [0, 0]
    assert (low, high) == pytest.approx((-2, 20))
    assert axes.lines[2].get_markerfacecolor() == "white"
    assert axes.lines[4].get_markerfacecolor() != "white"
