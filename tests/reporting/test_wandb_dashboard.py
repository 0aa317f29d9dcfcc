"""The dashboard's specification, built and checked without an account."""

import subprocess
import sys

from helpers import ROOT
from loco.reporting.wandb_dashboard import build_workspace


def spec_text(**settings: str) -> str:
    return build_workspace("someone", "loco", **settings)._to_model().model_dump_json()


def test_it_shows_what_is_logged() -> None:
    text = spec_text()
    for i in range(1, 10):
        assert f"val/mAP@0.{i}" in text
    names = (
        "val/mAP", "test/mAP", "train/loss_lcc", "lcc/sigma", "lcc/temperature",
        "windows/mean_size_level_0", "timeline/", "similarity/", "test/per_class",
    )  # fmt: skip
    for name in names:
        assert name in text, name


def test_runs_can_be_grouped() -> None:
    assert "attention.value._target_" in spec_text(group_by="attention._target_")
    assert "attention.value._target_" not in spec_text()


def test_the_script_builds_it_without_an_account() -> None:
    script = [sys.executable, str(ROOT / "scripts" / "wandb_dashboard.py")]
    done = subprocess.run([*script, "--dry-run"], capture_output=True, text=True, check=True)
    assert "mAP by tIoU: 10 panels" in done.stdout
    done = subprocess.run(script, capture_output=True, text=True)
    assert done.returncode == 2
    assert "--entity" in done.stderr
