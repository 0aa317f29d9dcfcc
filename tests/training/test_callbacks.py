"""The moving average of the weights, and what a resumed run knows of the best checkpoint."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.demos.boring_classes import BoringModel

from loco.training.callbacks import (
    BestCheckpoint,
    EpochTimer,
    LastCheckpoint,
    PartsSummary,
    WeightEMA,
)


def test_the_average_follows_its_formula() -> None:
    """Decay min(0.9, (1 + n) / (10 + n)) at step n, from a copy of the first weights."""
    callback = WeightEMA(decay=0.9)
    average = callback._kwargs["avg_fn"]
    averaged = expected = torch.tensor([1.0, -2.0], dtype=torch.float64)
    for n in range(1, 200):
        current = torch.tensor([n * 0.1, 3.0], dtype=torch.float64)
        decay = min(0.9, (1 + n) / (10 + n))
        expected = decay * expected + (1 - decay) * current
        averaged = average(averaged, current, torch.tensor(n))
    assert torch.allclose(averaged, expected, rtol=1e-12)
    with pytest.raises(ValueError, match="decay"):
        WeightEMA(decay=1.0)


class WithBatchNorm(BoringModel):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Sequential(torch.nn.Linear(32, 2), torch.nn.BatchNorm1d(2))


def test_integer_buffers_are_copied(tmp_path: Path) -> None:
    """BatchNorm counts its batches in an integer, which has no average."""
    trainer = lightning.Trainer(
        max_steps=5, accelerator="cpu", callbacks=[WeightEMA()], logger=False,
        default_root_dir=tmp_path, limit_val_batches=0, enable_progress_bar=False,
        enable_model_summary=False, enable_checkpointing=False,
    )  # fmt: skip
    loader = torch.utils.data.DataLoader(torch.randn(20, 32), batch_size=4)
    trainer.fit(WithBatchNorm(), loader)
    average = trainer.callbacks[0]._average_model  # type: ignore[attr-defined]
    assert average.module.layer[1].num_batches_tracked == 5
    assert not torch.equal(average.module.layer[1].running_mean, torch.zeros(2))


@pytest.mark.parametrize("folder", ["checkpoints", "checkpoints/sed"])
def test_a_moved_run_has_its_best_checkpoint_beside_the_last(tmp_path: Path, folder: str) -> None:
    """Of one task in the same folder, of each of several in the task's."""
    old = BestCheckpoint(str(tmp_path / "old" / folder))
    old.best_model_score, old.best_model_path = torch.tensor(0.5), str(tmp_path / "old" / "best")
    moved = tmp_path / "moved"
    (moved / folder).mkdir(parents=True)
    (moved / folder / "best.ckpt").write_bytes(b"the best one")
    new = BestCheckpoint(str(tmp_path / "new" / folder))
    new.load_state_dict(old.state_dict())
    trainer = SimpleNamespace(ckpt_path=moved / "checkpoints" / "last.ckpt", is_global_zero=True)
    new.on_fit_start(trainer, None)  # type: ignore[arg-type]
    assert new.best_model_score == 0.5
    assert Path(new.best_model_path) == tmp_path / "new" / folder / "best.ckpt"
    assert Path(new.best_model_path).read_bytes() == b"the best one"


def test_the_last_checkpoint_of_another_run_is_left_alone(tmp_path: Path) -> None:
    first, second = (LastCheckpoint(str(tmp_path / name)) for name in ("first", "second"))
    first.best_model_path = str(tmp_path / "first" / "last.ckpt")
    second.load_state_dict(first.state_dict())
    assert second.best_model_path == ""
    assert first.state_key != BestCheckpoint(str(tmp_path)).state_key


@pytest.mark.parametrize("begun", [0, 2])
def test_every_epoch_that_was_trained_whole_is_timed(tmp_path: Path, begun: int) -> None:
    """Not that within which a checkpoint was written."""
    loader = torch.utils.data.DataLoader(torch.randn(6, 32), batch_size=2)
    settings: dict[str, Any] = {
        "accelerator": "cpu", "logger": False, "enable_progress_bar": False,
        "enable_model_summary": False, "default_root_dir": tmp_path, "limit_val_batches": 0,
    }  # fmt: skip
    every = ModelCheckpoint(tmp_path, "{step}", every_n_train_steps=1, save_top_k=-1)
    first = lightning.Trainer(max_epochs=1, callbacks=[every], **settings)
    first.fit(BoringModel(), loader)
    timer = EpochTimer()
    trainer = lightning.Trainer(
        max_epochs=4, callbacks=[timer], enable_checkpointing=False, **settings
    )
    trainer.fit(BoringModel(), loader, ckpt_path=tmp_path / f"step={begun}.ckpt" if begun else None)
    assert len(timer.seconds) == (3 if begun else 4)
    assert min(timer.seconds) > 0


def test_the_summary_names_parts_and_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    trainer = lightning.Trainer(
        fast_dev_run=True, accelerator="cpu", callbacks=[PartsSummary(max_depth=1)],
        enable_progress_bar=False, logger=False,
    )  # fmt: skip
    trainer.fit(BoringModel())
    printed = capsys.readouterr().out
    assert re.search(r"66 parameters\s*\n", printed)
    assert "│ layer │ Linear │         66 │" in printed
    assert "FLOP" not in printed
