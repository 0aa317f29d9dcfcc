"""Every config composes and builds, and what stands in Python and in YAML is the same."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from helpers import ROOT, compose_config
from loco.data.datamodule import AVDataModule
from loco.data.synthetic.config import SyntheticConfig
from loco.data.tasks import MultiTaskDataModule
from loco.detectors.actionformer import ActionFormer
from loco.detectors.loco.correspondence import CorrespondenceLoss
from loco.detectors.loco.detector import LoCo
from loco.detectors.tadtr.detector import TadTR
from loco.detectors.tridet.detector import TriDet
from loco.detectors.vsgn.detector import VSGN
from loco.runs.callbacks import build_callbacks
from loco.training.optim import parameter_groups

GROUPS = [
    # parts are many, and tried one by one in tests/detection and tests/data
    pytest.param(group, option, marks=[pytest.mark.slow] if group == "part" else [])
    for group, option in sorted(
        (path.parent.name, path.stem)
        for path in (ROOT / "conf").glob("*/*.yaml")
        if path.stem != "base" and path.parent.name != "extractor"  # built in tests/video
    )
]

PEERS: dict[str, type[Any]] = {
    "actionformer": ActionFormer,
    "tridet": TriDet,
    "tadtr": TadTR,
    "vsgn": VSGN,
}
"""Models besides LoCo, which take none of its groups."""


@pytest.mark.parametrize(("group", "option"), GROUPS)
def test_every_option_builds(group: str, option: str, tmp_path: Path) -> None:
    config = compose_config("train", [f"{group}={option}", f"output_dir={tmp_path}"])
    if group not in ("model",):  # narrow, for speed
        config.model.dim = 16
    data = instantiate(config.data)
    several = isinstance(data, MultiTaskDataModule)
    assert several or isinstance(data, AVDataModule)
    tasks = config.model.get("tasks", ("avel",))
    num_classes = dict.fromkeys(tasks, 2) if len(tasks) > 1 else 2
    model = instantiate(config.model, visual_channels=4, audio_channels=3, num_classes=num_classes)
    assert isinstance(model, nn.Module)
    if group == "experiment" and several:
        assert set(data.sets) == set(tasks)
        assert config.task == "loco.runs.train_tasks.train"
    assert instantiate(config.optimizer)(model, total_steps=4, steps_per_epoch=2)
    if config.trainer.accelerator == "gpu" and not torch.cuda.is_available():
        pytest.skip("this trainer needs a GPU; its config composes")
    callbacks = build_callbacks(config)
    trainer = instantiate(config.trainer, logger=False, callbacks=callbacks)
    assert isinstance(trainer, lightning.Trainer)
    assert not trainer._accelerator_connector.use_distributed_sampler


def test_the_paper_size_model_is_the_default_of_the_class() -> None:
    """YAML names what people sweep; it must not say anything else than Python does."""
    config = compose_config("train", ["model=loco", "output_dir=x"])
    defaults = {n: p.default for n, p in inspect.signature(LoCo).parameters.items()}
    for name in ("dim", "heads", "num_convs", "encoder_blocks", "num_levels", "decoder_blocks",
                 "drop_path", "layer_scale"):  # fmt: skip
        assert config.model[name] == defaults[name], name
    plain = LoCo(4, 3, 2)
    built = instantiate(config.model, visual_channels=4, audio_channels=3, num_classes=2)
    assert str(plain) == str(built)
    assert plain.decoding == built.decoding
    ours, theirs = built.correspondence, CorrespondenceLoss(512)
    assert (ours.weight, ours.divergence) == (theirs.weight, theirs.divergence)
    assert ours.local == theirs.local
    assert ours.temperature == theirs.temperature
    assert ours.target.sigma == theirs.target.sigma
    assert ours.target.normalize == theirs.target.normalize
    assert plain.criterion.normalizer == built.criterion.normalizer


@pytest.mark.parametrize("name", PEERS)
def test_other_models_are_the_defaults_of_their_classes(name: str) -> None:
    config = compose_config("train", [f"model={name}", "output_dir=x"])
    defaults = inspect.signature(PEERS[name]).parameters
    for key, value in config.model.items():
        if not OmegaConf.is_dict(value) and key != "_target_":
            assert value == defaults[key].default, key
    with torch.device("meta"):
        plain = PEERS[name](4, 3, 2)
        built = instantiate(config.model, visual_channels=4, audio_channels=3, num_classes=2)
    assert str(plain) == str(built)
    assert plain.decoding == built.decoding
    assert getattr(plain, "assigner", None) == getattr(built, "assigner", None)
    for key, value in vars(plain.criterion).items():
        if not key.startswith("_"):
            assert value == getattr(built.criterion, key), key


@pytest.mark.parametrize("name", ["loco", *PEERS])
def test_small_models_are_of_one_size(name: str) -> None:
    """On the synthetic data, to compare systems and not sizes."""
    config = compose_config("train", [f"model={name}_small", "output_dir=x"])
    data = SyntheticConfig()
    with torch.device("meta"):
        model = instantiate(
            config.model,
            visual_channels=sum(data.visual_channels),
            audio_channels=sum(data.audio_channels),
            num_classes=data.num_classes,
        )
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(3.5e6, rel=0.1)


@pytest.mark.parametrize("name", ["actionformer", "tridet"])
def test_only_matrices_and_kernels_decay(name: str) -> None:
    """Not biases, norms, layer and level scales."""
    with torch.device("meta"):
        model = PEERS[name](4, 3, 2, dim=32)
    decayed, free = parameter_groups(model, 1e-4, 0.05, {})
    assert all(parameter.ndim > 1 for parameter in decayed["params"])
    assert all(parameter.ndim == 1 for parameter in free["params"])
    assert free["weight_decay"] == 0


@pytest.mark.parametrize("name", PEERS)
@pytest.mark.parametrize("size", ["", "_small"])
def test_models_without_groups_compose_without_them(name: str, size: str) -> None:
    config = compose_config("train", [f"model={name}{size}", "output_dir=x"])
    assert "attention" not in config
    assert "correspondence" not in config


def test_the_shared_data_settings_are_the_defaults_of_the_class() -> None:
    config = compose_config("train", ["output_dir=x"]).data
    defaults = {n: p.default for n, p in inspect.signature(AVDataModule).parameters.items()}
    for name in ("eval_batch_size", "num_workers", "missing", "modality", "max_length_difference",
                 "test_split", "pin_memory"):  # fmt: skip
        assert config[name] == defaults[name], name
    assert tuple(config.crop_ratio) == defaults["crop_ratio"]


@pytest.mark.parametrize("data", ["synthetic", "synthetic_tasks"])
def test_the_generator_in_yaml_is_the_one_in_python(data: str) -> None:
    """Every field stands there, so that none needs a `+`."""
    config = compose_config("train", [f"data={data}", "output_dir=x"]).data
    fields = asdict(SyntheticConfig())
    assert set(config.generator) - {"_target_"} == set(fields)
    assert instantiate(config.generator) == SyntheticConfig()
    for of_task in config.get("sets", {}).values():
        assert of_task.generator == config.generator


def test_every_part_works_without_hydra() -> None:
    model = LoCo(visual_channels=4, audio_channels=3, num_classes=2)
    assert callable(model.losses)
    assert callable(model.detect)
