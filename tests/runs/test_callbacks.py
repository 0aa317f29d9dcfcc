"""The end of a run: a callback's `on_results`, the report among them, and one that fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from helpers import Composer, compose_config
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
