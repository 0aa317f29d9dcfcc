"""The end of a run: a callback's `on_results`, the report among them, and one that fails."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from helpers import Composer, compose_config
from loco.reporting.report import write_report
from loco.runs.evaluate import evaluate
from loco.runs.predict import predict
from loco.runs.train import train

OWN = ["+callbacks.failing._target_=helpers.Failing", "+callbacks.noted._target_=helpers.Noted"]


def check(folder: Path, log: str, *files: str) -> None:
    """The second callback was called with the files written, though the first one failed."""
    note = (folder / "noted.txt").read_text(encoding="utf-8")
    assert note.startswith("3 classes, ")
    for name in files:
        assert name in note
    assert "Failing failed at the end of the run: KeyError: 'no such thing'" in log


def test_after_training(tiny: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    metrics = train(tiny(*OWN, "trainer.max_epochs=1"))
    assert 0 <= metrics["mAP"] <= 1
    check(tmp_path / "run", caplog.text, "metrics.json", "predictions.json", "config.yaml")
    assert not (tmp_path / "run" / "report.html").exists()  # report=false


def test_a_page_that_cannot_be_written(
    tiny: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is in its way is a folder of that name; and what a page cannot show it says."""
    page = tmp_path / "run" / "report.html"
    page.mkdir(parents=True)
    train(tiny("report=true", "trainer.max_epochs=1", *OWN[1:]))
    assert "RunReport failed at the end of the run: OutputError: " in caplog.text
    assert "report.html: cannot be written: " in caplog.text
    note = (tmp_path / "run" / "noted.txt").read_text(encoding="utf-8")  # the next one was called
    for name in ("metrics.json", "predictions.json", "config.yaml"):
        assert name in note
    assert not list((tmp_path / "run").glob("*.part"))


def test_a_chart_that_cannot_be_drawn(
    finished_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))
    del metrics["diagnosis"]["lengths"]
    (tmp_path / "run" / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "no chart of kinds of events: " in caplog.text
    assert text.count("<svg") > 3
    assert "<li>No chart of kinds of events: " in text


def test_after_evaluation(
    finished_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    common = [f"ckpt_path={finished_run}", f"output_dir={tmp_path}", "trainer.accelerator=cpu"]
    evaluate(compose_config("evaluate", [*common, *OWN]))
    check(tmp_path, caplog.text, "metrics.json", "predictions.json", "config.yaml")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    (tmp_path / "report.html").unlink()
    evaluate(compose_config("evaluate", [*common, "report=false"]))
    assert not (tmp_path / "report.html").exists()


def test_after_prediction(
    finished_run: Path, synthetic_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    predict(
        compose_config(
            "predict",
            [
                f"ckpt_path={finished_run}", f"data.root={synthetic_root / 'features'}",
                f"output_dir={tmp_path}", "trainer.accelerator=cpu", "show=0", *OWN,
            ],
        )
    )  # fmt: skip
    check(tmp_path, caplog.text, "predictions.json")
