"""Plain configurations, and those of versions that knew parts by other names."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from loco.errors import CheckpointError, LocoError
from loco.runs.checkpoints import load_module
from loco.runs.run_folder import RunFolder
from loco.runs.settings import flat


def test_flat_values_by_dotted_key() -> None:
    config = {"model": {"dim": 4, "parts": []}, "seed": 1, "logger": {"name": "x"}, "report": True}
    assert flat(config) == {"model.dim": 4, "model.parts": [], "seed": 1}


def test_a_checkpoint_from_before_the_move_is_refused(finished_run: Path, tmp_path: Path) -> None:
    checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
    checkpoint["hyper_parameters"]["model"]["_target_"] = "loco.models.loco.LoCo"
    torch.save(checkpoint, tmp_path / "old.ckpt")
    with pytest.raises(CheckpointError, match=r"old.ckpt: written by .* before 0.2.0.*loco.models"):
        load_module(tmp_path / "old.ckpt")


def test_a_run_folder_from_before_the_move_is_refused(finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    config = tmp_path / "run" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    assert "loco.data.synthetic.datamodule" in text
    config.write_text(text.replace("synthetic.datamodule", "synthetic_datamodule"), "utf-8")
    with pytest.raises(LocoError, match=r"written by a version of loco before 0\.2\.0"):
        _ = RunFolder(tmp_path / "run").data
