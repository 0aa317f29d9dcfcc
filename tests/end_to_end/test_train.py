"""A training from files to table, and what it leaves behind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import math
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from helpers import QUIET, TINY_MODEL, Composer, compose_config, tiny_config
from loco.data.synthetic.generator import SyntheticConfig, make_synthetic
from loco.errors import AnnotationError, CheckpointError, TrainingError
from loco.runs.checkpoints import load_module
from loco.runs.evaluate import evaluate
from loco.runs.logs import read_log
from loco.runs.results import TABLE_COLUMNS
from loco.runs.train import train
from loco.training.callbacks import WeightEMA

METRICS = [f"mAP@0.{i}" for i in range(1, 10)] + ["mAP"]


def logged(folder: Path) -> dict[str, list[float]]:
    """All values of each column of the CSV log."""
    with (folder / "logs" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return {
        name: [float(row[name]) for row in rows if row[name] not in (None, "")] for name in rows[0]
    }


class Run(NamedTuple):
    """A finished training.

    Attributes:
        folder: of the run.
        config: what it was started with.
        metrics: what it returned.
        printed: on the standard output.
    """

    folder: Path
    config: DictConfig
    metrics: dict[str, float]
    printed: str


@pytest.fixture(scope="module")
def run(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("trained") / "run"
    config = tiny_config(synthetic_root, folder, "seed=3", "report=true")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        metrics = train(config)
    return Run(folder, config, metrics, printed.getvalue())


def test_a_run_leaves_what_is_promised(run: Run) -> None:
    folder, config, metrics, table = run
    written = json.loads((folder / "metrics.json").read_text())
    assert metrics.items() <= written.items()
    assert set(METRICS) == set(metrics)
    rated = [c["mAP"] for c in written["per_class"].values() if c["mAP"] is not None]
    assert sum(rated) / len(rated) == pytest.approx(metrics["mAP"])
    assert written["diagnosis"]["mAP"] == pytest.approx(metrics["mAP@0.5"])
    assert all(0 <= written[name] <= 1 for name in METRICS)
    assert written["mAP"] == pytest.approx(sum(written[name] for name in METRICS[:-1]) / 9)

    annotations = json.loads((Path(config.data.root) / "annotations.json").read_text())["database"]
    test = {video for video, entry in annotations.items() if entry["subset"] == "test"}
    database = json.loads((folder / "predictions.json").read_text())["database"]
    assert set(database) == test
    for video, predictions in database.items():
        scores = [p["score"] for p in predictions]
        assert scores == sorted(scores, reverse=True)
        for p in predictions:
            assert set(p) == {"segment", "label", "label_id", "score"}
            assert 0 <= p["segment"][0] <= p["segment"][1] <= annotations[video]["duration"]
            assert 0 <= p["score"] <= 1

    assert OmegaConf.load(folder / "config.yaml").seed == 3
    assert (folder / "checkpoints" / "best.ckpt").is_file()
    assert (folder / "checkpoints" / "last.ckpt").is_file()
    assert "<html" in (folder / "report.html").read_text()
    assert "constant predictor" in table
    assert "oracle of video-level classes" in table
    assert f"{100 * metrics['mAP']:.2f}" in table
    assert len(TABLE_COLUMNS) == 6


def test_the_best_checkpoint_is_named(run: Run) -> None:
    epoch = torch.load(run.folder / "checkpoints/best.ckpt", weights_only=True)["epoch"] + 1
    told = f"tested: best.ckpt of epoch {epoch}, averaged weights (the best validation mAP,"
    assert told in " ".join(run.printed.split())


def test_what_is_logged(finished_run: Path) -> None:
    """Of a run that logs every step."""
    columns = logged(finished_run)
    for name in ("loss", "loss_cls", "loss_reg", "loss_lcc"):
        assert len(columns[f"train/{name}"]) == 6  # 2 epochs of 3 batches
    parts = [columns[f"train/loss_{name}"] for name in ("cls", "reg", "lcc")]
    total = [sum(step) for step in zip(*parts, strict=True)]
    assert total == pytest.approx(columns["train/loss"], rel=1e-4)
    assert columns["lcc/sigma"][0] == pytest.approx(1.0)
    assert columns["lcc/temperature"][0] == pytest.approx(0.07)
    for name in METRICS:
        assert len(columns[f"val/{name}"]) == 2
        assert len(columns[f"test/{name}"]) == 1
    assert len(columns["train/lr"]) == 6
    for name in ("loss", "loss_cls", "loss_reg", "loss_lcc"):
        assert len(columns[f"val/{name}"]) == 2
    parts = [columns[f"val/loss_{name}"] for name in ("cls", "reg", "lcc")]
    assert [sum(of) for of in zip(*parts, strict=True)] == pytest.approx(
        columns["val/loss"], rel=1e-4
    )
    assert all(math.isfinite(value) for values in columns.values() for value in values)


def test_a_run_of_few_steps_logs_its_epochs(run: Run) -> None:
    """3 steps an epoch, where steps are logged by tens: the means of the epochs tell the course."""
    columns = logged(run.folder)
    for name in ("train/loss", "train/lr", "lcc/sigma", "lcc/temperature"):
        assert name not in columns
        assert len(columns[f"epoch/{name}"]) == 2
    curves = read_log(run.folder / "logs/metrics.csv")
    assert list(curves["lcc/sigma"].values) == columns["epoch/lcc/sigma"]
    # of 2e-3: a warm-up of 1/3, 2/3 and 1, then a cosine's 1, 3/4 and 1/4
    assert columns["epoch/train/lr"] == pytest.approx([2e-3 * 2 / 3] * 2)


def test_the_averaged_weights_of_the_best_epoch_are_tested(tiny: Composer, tmp_path: Path) -> None:
    """What evaluation says of best.ckpt, whose `state_dict` is the average, is what was tested."""
    metrics = train(tiny("optimizer.lr=0.01"))
    checkpoint = torch.load(tmp_path / "run/checkpoints/best.ckpt", weights_only=True)
    averaged, current = checkpoint["state_dict"], checkpoint["current_model_state"]
    assert any(not torch.equal(averaged[name], current[name]) for name in averaged)
    again = evaluate(
        compose_config(
            "evaluate",
            [
                f"ckpt_path={tmp_path / 'run/checkpoints/best.ckpt'}",
                f"output_dir={tmp_path / 'again'}",
                "trainer.accelerator=cpu",
                "report=false",
            ],
        )
    )
    assert again == metrics
    for name in ("metrics.json", "predictions.json"):
        assert (tmp_path / "again" / name).read_text() == (tmp_path / "run" / name).read_text()


@pytest.mark.parametrize("callbacks", [[], [WeightEMA()]], ids=["plain", "averaging"])
def test_lightning_by_itself_tests_the_averaged_weights(run: Run, callbacks: list[Any]) -> None:
    """Also with callbacks of its own, and with the one that averages while it trains."""
    file = run.folder / "checkpoints" / "best.ckpt"
    checkpoint = torch.load(file, weights_only=True)
    module, data = load_module(file), instantiate(run.config.data)
    data.prepare()
    averaged = {name: value.clone() for name, value in module.state_dict().items()}
    module.load_state_dict(checkpoint["current_model_state"])
    trainer = lightning.Trainer(accelerator="cpu", logger=False, callbacks=callbacks)
    (tested,) = trainer.test(module, data, ckpt_path=str(file), verbose=False, weights_only=True)
    assert any(
        not torch.equal(averaged[k], v) for k, v in checkpoint["current_model_state"].items()
    )
    assert all(torch.equal(averaged[name], value) for name, value in module.state_dict().items())
    assert tested["test/mAP"] == pytest.approx(run.metrics["mAP"], abs=1e-6)


@pytest.mark.parametrize(
    ("attention", "correspondence"),
    [("none", "diagonal"), ("global", "softened"), ("fixed", "fixed_gaussian"), ("cdp", "none")],
)
def test_every_attention_and_correspondence_trains(
    tiny: Composer, attention: str, correspondence: str
) -> None:
    metrics = train(
        tiny(
            f"attention={attention}",
            f"correspondence={correspondence}",
            "trainer.max_epochs=1",
            "+trainer.limit_train_batches=1",
        )
    )
    assert 0 <= metrics["mAP"] <= 1


@pytest.mark.slow
def test_validation_every_other_epoch(tiny: Composer, tmp_path: Path) -> None:
    train(tiny("trainer.max_epochs=3", "trainer.check_val_every_n_epoch=2"))
    assert len(logged(tmp_path / "run")["val/mAP"]) == 1
    last = torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)
    assert last["epoch"] == 2


@pytest.mark.slow
def test_seeds_decide_everything(tiny: Composer) -> None:
    few = ["trainer.max_epochs=1", "+trainer.limit_train_batches=1"]
    first, second, other = (
        train(tiny(f"seed={seed}", *few, output=name))
        for seed, name in ((1, "a"), (1, "b"), (2, "c"))
    )
    assert first == second
    assert first != other


@pytest.mark.slow
def test_tensorboard_gets_the_same(tiny: Composer, tmp_path: Path) -> None:
    train(tiny("logger=tensorboard", "trainer.max_epochs=1"))
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out.tfevents.*"))


@pytest.mark.parametrize(
    ("layout", "visual", "audio"),
    [("unav100_i3d_vggish", [6, 5], [4]), ("unav100_onepeace", [7], [7])],
)
def test_the_layouts_of_unav100_train(
    tmp_path: Path, layout: str, visual: list[int], audio: list[int]
) -> None:
    """Files of a real layout, read by the config for it."""
    overrides = [
        f"data={layout}",
        f"data.root={tmp_path / 'data' / 'features'}",
        f"data.annotations={tmp_path / 'data' / 'annotations.json'}",
        "data.num_workers=0",
        "data.batch_size=4",
        "trainer.max_epochs=1",
        f"output_dir={tmp_path / 'run'}",
        *TINY_MODEL,
        *QUIET,
    ]
    config = compose_config("train", overrides)
    make_synthetic(
        tmp_path / "data",
        instantiate(config.data.layout),
        SyntheticConfig(
            num_videos=(8, 4, 4), num_classes=3, visual_channels=visual, audio_channels=audio
        ),
    )
    assert 0 <= train(config)["mAP"] <= 1


def test_a_few_batches_of_everything(tiny: Composer, tmp_path: Path) -> None:
    train(tiny("+trainer.fast_dev_run=true"))
    written = json.loads((tmp_path / "run" / "predictions.json").read_text())
    assert len(written["database"]) == 4  # one batch


def test_resuming_from_nothing_is_an_error(tiny: Composer, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no last\.ckpt"):
        train(tiny(f"ckpt_path={tmp_path}"))
    with pytest.raises(CheckpointError, match="expected a checkpoint or a run's folder"):
        train(tiny(f"ckpt_path={tmp_path / 'nowhere'}"))


def test_missing_annotations_are_an_error(tmp_path: Path) -> None:
    config = compose_config(
        "train",
        ["data=unav100_onepeace", f"data.annotations={tmp_path / 'no.json'}",
         f"output_dir={tmp_path}"],
    )  # fmt: skip
    with pytest.raises(AnnotationError, match=r"no\.json"):
        train(config)


def test_a_diverging_training_says_so(tiny: Composer) -> None:
    with pytest.raises(TrainingError, match=r"not finite in epoch \d+, batch \d+"):
        train(tiny("optimizer.lr=1e30", "trainer.gradient_clip_val=null"))
