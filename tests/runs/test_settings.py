"""Plain configurations, and those of versions that knew parts by other names."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from helpers import Composer, compose_config
from loco.errors import CheckpointError, LocoError, SettingError
from loco.runs.checkpoints import load_module
from loco.runs.cost import measure, precision_context
from loco.runs.entry import USER_ERRORS, readable
from loco.runs.part_checks import check_parts
from loco.runs.run_folder import RunFolder
from loco.runs.settings import flat, only_used_groups
from loco.runs.train import train


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


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimizer.lr=abc", "optimizer.lr=abc: expected a number from 0"),
        ("optimizer.lr=-1", "optimizer.lr=-1: expected a number from 0"),
        ("optimizer.lr=nan", "optimizer.lr=nan: expected a number from 0"),
        ("optimizer.weight_decay=-0.1", "weight_decay=-0.1: expected a number from 0"),
        ("trainer.max_epochs=two", "trainer.max_epochs=two: expected a whole number from -1"),
        ("seed=x", "seed=x: expected a whole number in"),
        ("seed=-1", "seed=-1: expected a whole number in"),
        ("data.num_workers=-1", "data.num_workers=-1: expected a whole number from 0"),
        ("data.batch_size=0", "data.batch_size=0: expected a whole number from 1"),
        ("data.batch_size=1.5", "data.batch_size=1.5: expected a whole number from 1"),
        ("correspondence.weight=-1", "correspondence.weight=-1: expected a number from 0"),
        ("report=maybe", "report=maybe: expected true or false"),
        ("correspondence.local=no", "correspondence.local=no: expected true or false"),
        ("data.pin_memory=1", "data.pin_memory=1: expected true or false"),
        ("trainer.use_distributed_sampler=x", "use_distributed_sampler=x: expected true or false"),
        ("trainer.precision=16-mixed", "16-mixed: needs a GPU; a CPU can do bf16-mixed"),
        ("trainer.precision=16-true", "trainer.precision=16-true: expected one of 32-true, bf16-"),
        ("trainer.precision=half", "trainer.precision=half: expected one of 32-true, bf16-mixed"),
    ],
)
def test_numbers_are_checked_before_anything_is_made(
    tiny: Composer, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        train(tiny(f"data.root={tmp_path / 'new'}", override))
    assert not (tmp_path / "new").exists()
    assert not (tmp_path / "run").exists()


def test_all_wrong_numbers_are_named(tiny: Composer) -> None:
    with pytest.raises(SettingError, match=r"seed=-1: .*; optimizer\.lr=x: "):
        train(tiny("seed=-1", "optimizer.lr=x"))


OTHER = ["model=actionformer_small", "output_dir=x"]


@pytest.mark.parametrize("group", ["attention=global", "correspondence=none", "attention=cdp"])
def test_a_group_that_the_model_does_not_take_is_refused(group: str) -> None:
    name = group.partition("=")[0]
    config = compose_config("train", [*OTHER, group])
    for task in (train, measure):
        with pytest.raises(SettingError, match=f"{name}: ActionFormer takes no {name}"):
            task(config)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("cost.repeats=0", "cost.repeats must be at least 1 and whole, got 0"),
        ("cost.steps=0", "cost.steps must be at least 1 and whole, got 0"),
        ("cost.batch_size=1.5", "cost.batch_size must be at least 1 and whole, got 1.5"),
        ("trainer.precision=16-mixed", "trainer.precision=16-mixed: 32-true and bf16-mixed can"),
        ("trainer.accelerator=abacus", "trainer.accelerator=abacus: auto, cpu and gpu can"),
        pytest.param(
            "trainer.accelerator=gpu",
            "trainer.accelerator=gpu: PyTorch sees no GPU here",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here"),
        ),
    ],
)
def test_what_cannot_be_measured_is_refused(tmp_path: Path, override: str, message: str) -> None:
    small = ["model.dim=16", "cost.visual_channels=8", f"output_dir={tmp_path / 'out'}"]
    config = compose_config("train", ["experiment=table3_cost", *small, override])
    with pytest.raises(SettingError, match=re.escape(message)):
        measure(config)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_costs_are_measured_in_the_precision_of_the_training(
    tmp_path: Path, precision: str
) -> None:
    small = ["model.dim=16", "cost.visual_channels=8", "cost.steps=8", "cost.batch_size=1"]
    config = compose_config(
        "train",
        ["experiment=table3_cost", *small, "cost.repeats=1", "trainer.accelerator=cpu",
         f"trainer.precision={precision}", f"output_dir={tmp_path}"],
    )  # fmt: skip
    cost = measure(config)
    assert cost["precision"] == precision
    assert json.loads((tmp_path / "cost.json").read_text()) == cost
    with precision_context(precision, torch.device("cpu")):
        product = torch.ones(2, 2) @ torch.ones(2, 2)
    assert (product.dtype == torch.bfloat16) == (precision == "bf16-mixed")


def test_groups_that_the_model_takes_stay() -> None:
    config = compose_config("train", ["attention=global", "correspondence=none", "output_dir=x"])
    used = only_used_groups(config)
    assert used == config
    assert used.model.attention._target_.endswith("GlobalAttention")


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attention.window_size=0", "attention.window_size: window_size must be at least 1"),
        ("attention.window_size=abc", "attention.window_size: window_size must be at least 1"),
        ("correspondence.temperature=nan", "correspondence.temperature: temperature must be in"),
        ("correspondence.target.sigma=-1", "model.correspondence.target: sigma must be positive"),
        ("model.decoding.sigma=0", "model.decoding: sigma must be positive"),
        ("model.decoding.max_segments=0", "model.decoding.max_segments: max_segments must be"),
        ("+model.decoding.score_threshold=2", "model.decoding.score_threshold: score_threshold"),
        ("+model.criterion.gamma=-1", "model.criterion.gamma: gamma must be at least 0"),
        ("model.heads=3", "model.dim: dim must be a multiple of heads"),
        ("model.drop_path=1", "model.drop_path: drop_path must be in [0, 1)"),
        ("model.assigner.ranges=[[4,0]]", "model.assigner.ranges: ranges must be pairs"),
        ("model.assigner.ranges=[0,4]", "model.assigner.ranges: ranges must be pairs"),
        ("data.layout.fps=0", "data.layout: TimeGrid.fps must be positive"),
        ("data.generator.difficulty=nan", "synthetic data: difficulty must be a number"),
        ("data.crop_ratio=[0,2]", "data: crop_ratio must be in (0, 1]"),
        ("data.pool_batches=0", "data: pool_batches must be at least 1"),
        ("callbacks.ema.decay=1", "callbacks.ema: decay must be in [0, 1)"),
        ("optimizer.lr_factors.log_sigma=-1", "optimizer: lr_factors.log_sigma must be at least"),
    ],
)
def test_parts_are_checked_before_anything_is_made(
    tiny: Composer, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(USER_ERRORS) as caught:
        train(tiny(f"data.root={tmp_path / 'new'}", override))
    assert readable(caught.value).startswith(message)
    assert "\n" not in readable(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("word", ["model.num_convs=0", "model.drop_path=0"])
def test_what_a_model_can_do_is_not_refused_beforehand(word: str) -> None:
    """Without convolutions the features have the streams' width, which is not known by then."""
    check_parts(compose_config("train", [word, "output_dir=x"]))
