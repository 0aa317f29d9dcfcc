"""Trainings of these systems: from files to a page, a table and predictions."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
import torch

from helpers import QUIET, TINY_DATA, compose_config
from loco.runs.predict import predict
from loco.runs.train import train

TINY = {
    "vsgn": ["model.dim=16", "model.length=64", "model.num_levels=3", "model.head_convs=1"],
    "tadtr": [
        "model.dim=32",
        "model.feed_forward=32",
        "model.encoder_layers=1",
        "model.decoder_layers=2",
    ],
}


def losses_of(folder: Path) -> list[float]:
    with (folder / "logs" / "metrics.csv").open() as file:
        rows = csv.DictReader(file)
        return [float(row["epoch/train/loss"]) for row in rows if row["epoch/train/loss"]]


@pytest.mark.parametrize("system", TINY)
def test_it_trains_and_predicts(system: str, synthetic_root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    config = compose_config(
        "train",
        [
            f"data.root={synthetic_root}", f"output_dir={folder}", f"model={system}_small",
            *TINY[system], *TINY_DATA, *QUIET, "report=true", "trainer.max_epochs=5",
            "optimizer.lr=0.005", "optimizer.warmup_epochs=1",
        ],
    )  # fmt: skip
    metrics = train(config)
    assert 0 <= metrics["mAP"] <= 1
    losses = losses_of(folder)
    assert len(losses) == 5
    assert losses[-1] < 0.9 * losses[0]
    assert "<html" in (folder / "report.html").read_text("utf-8")

    written = tmp_path / "predicted"
    predict(
        compose_config(
            "predict",
            [f"ckpt_path={folder}", f"output_dir={written}", "trainer.accelerator=cpu",
             f"data.root={config.data.root}/features",
             f"data.annotations={config.data.root}/annotations.json"],
        )
    )  # fmt: skip
    again = json.loads((written / "predictions.json").read_text("utf-8"))["database"]
    tested = json.loads((folder / "predictions.json").read_text("utf-8"))["database"]
    assert tested.keys() <= again.keys()
    for video, predictions in tested.items():
        scores = [p["score"] for p in predictions]
        assert scores == pytest.approx([p["score"] for p in again[video]], abs=1e-5)
    checkpoint = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    assert checkpoint["epoch"] == 4
