"""The validation split chooses a decoding: against trying each, and through a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from hydra.utils import instantiate

from helpers import Composer, compose_config
from loco.detection.decoding import Decoding
from loco.detectors.loco.detector import LoCo
from loco.errors import SettingError
from loco.evaluation.metrics import DetectionMAP
from loco.runs.checkpoints import load_module
from loco.runs.decoding_choice import _keep, check_choice, choose_decoding
from loco.runs.evaluate import evaluate
from loco.runs.logs import read_log
from loco.runs.train import train
from loco.training.callbacks import BestCheckpoint


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_is_the_best_of_all_that_were_tried(
    finished_run: Path, tiny: Composer, tmp_path: Path, precision: str
) -> None:
    """In the precision of the training, as its validation and its test are."""
    module = load_module(finished_run)
    data = instantiate(tiny().data)
    data.prepare()
    given = module.detector.decoding
    choice = {"sigma": [0.1, 0.9], "max_segments": [100, 3]}
    trainer = lightning.Trainer(accelerator="cpu", logger=False, precision=precision)
    choose_decoding(module, data, choice, tmp_path, trainer)
    written = json.loads((tmp_path / "decoding.json").read_text())
    expected = []
    for tried in written["tried"]:
        settings = {name: tried[name] for name in choice}
        module.detector.decoding = replace(given, **settings)
        metric = DetectionMAP(3)
        for batch in data.val_dataloader():
            with trainer.precision_plugin.forward_context(), torch.no_grad():
                metric.update(module.detect(batch), batch.events, batch.indices)
        expected.append(float(metric.compute()["mAP"]))
        assert tried["val/mAP"] == pytest.approx(expected[-1])
    assert len(expected) == 1 + 4
    best = written["tried"][expected.index(max(expected))]
    assert written["chosen"] == {name: best[name] for name in choice}


def test_a_checkpoint_without_a_decoding_gets_a_whole_one(tmp_path: Path) -> None:
    """Of a model of one's own, whose settings leave it to the default."""
    file = tmp_path / "best.ckpt"
    kept: dict[str, Any] = {"model": {"dim": 8}, "data": {}, "class_names": []}
    kept |= {"visual_channels": 1, "audio_channels": 1}
    torch.save({"hyper_parameters": kept, "state_dict": {}, "epoch": 0, "global_step": 0}, file)
    _keep(file, Decoding(max_segments=7), {"sigma": 0.3})
    model = torch.load(file, weights_only=True)["hyper_parameters"]["model"]
    assert model["dim"] == 8
    assert instantiate(model["decoding"]) == Decoding(max_segments=7, sigma=0.3)


@pytest.mark.slow
def test_a_training_tests_and_keeps_what_was_chosen(tiny: Composer, tmp_path: Path) -> None:
    words = ["decoding_choice.sigma=[0.05,5]", "decoding_choice.score_power=null"]
    metrics = train(tiny("part=chosen_decoding", *words))
    run = tmp_path / "run"
    written = json.loads((run / "decoding.json").read_text())
    best_epoch = read_log(run / "logs" / "metrics.csv")["val/mAP"].values.max()
    assert written["tried"][0] == {"sigma": 0.4, "val/mAP": pytest.approx(best_epoch, abs=1e-6)}
    sigma = written["chosen"]["sigma"]
    assert load_module(run).detector.decoding.sigma == sigma
    again = evaluate(
        compose_config(
            "evaluate",
            [f"ckpt_path={run}", f"output_dir={tmp_path / 'again'}", "trainer.accelerator=cpu"],
        )
    )
    assert again == metrics
    last = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)
    assert last["hyper_parameters"]["model"]["decoding"]["sigma"] == 0.4


def trainer(processes: int) -> Any:
    return SimpleNamespace(world_size=processes, callbacks=[BestCheckpoint("x")])


def test_what_cannot_be_chosen_is_refused_before_the_training(tiny: Composer) -> None:
    with pytest.raises(SettingError, match="width: Decoding has no such setting"):
        train(tiny("decoding_choice={width: [1]}"))
    detector = LoCo(4, 3, 2, dim=8, heads=2)
    for choice, processes, message in (
        ({"sigma": [-1]}, 1, "sigma must be positive"),
        ({"sigma": [1]}, 2, "one process"),
    ):
        with pytest.raises(SettingError, match=message):
            check_choice(choice, detector, trainer(processes))
    with pytest.raises(SettingError, match=r"kept in best\.ckpt, which callbacks\.best leaves out"):
        train(tiny("decoding_choice={sigma: [1]}", "callbacks.best=null"))
    with pytest.raises(SettingError, match="Linear has no decoding"):
        check_choice({}, torch.nn.Linear(1, 1), trainer(1))
