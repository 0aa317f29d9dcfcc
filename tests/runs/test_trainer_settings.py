"""Lightning's switches for debugging and for saving time: each works, or is refused in a line."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest

from helpers import Composer
from loco.errors import SettingError
from loco.runs.entry import USER_ERRORS, readable
from loco.runs.train import train

SEEN = "+callbacks.seen._target_=helpers.Seen"

WORKING = [
    "+trainer.overfit_batches=0.4 data.eval_batch_size=1",
    "+trainer.fast_dev_run=true",
    "+trainer.fast_dev_run=2",
    "+trainer.limit_train_batches=0",
    "+trainer.limit_train_batches=1",
    "+trainer.limit_train_batches=0.5",
    "+trainer.limit_val_batches=0",
    "+trainer.limit_val_batches=1",
    "+trainer.limit_test_batches=1",
    "+trainer.limit_test_batches=0.5",
    "+trainer.detect_anomaly=true",
    "+trainer.profiler=simple",
    "trainer.num_sanity_val_steps=2",
    "trainer.num_sanity_val_steps=-1",
    "+trainer.val_check_interval=1",
    "+trainer.val_check_interval=0.5",
    "trainer.check_val_every_n_epoch=5",
    "trainer.check_val_every_n_epoch=null +trainer.val_check_interval=2",
    "trainer.max_epochs=0",
    "+trainer.max_steps=0",
    "+trainer.max_steps=1",
    "+trainer.max_time=00:00:00:01",
    "trainer.accumulate_grad_batches=2",
    "trainer.gradient_clip_val=0",
    "+trainer.gradient_clip_algorithm=value",
    "+trainer.reload_dataloaders_every_n_epochs=1",
    "+trainer.enable_checkpointing=false",
    "trainer.precision=bf16-mixed",
]
REFUSED = {
    "+trainer.limit_test_batches=0": "trainer.limit_test_batches=0: expected 1 or more",
    "+trainer.overfit_batches=-1": "trainer.overfit_batches=-1: expected a number from 0",
    "+trainer.limit_train_batches=1.5": "trainer: You have passed invalid value 1.5",
    "+trainer.limit_val_batches=-1": "trainer: You have passed invalid value -1",
    "trainer.gradient_clip_val=-1": "trainer.gradient_clip_val=-1: expected a number from 0",
    "trainer.precision=64-true": "trainer.precision=64-true: expected one of 32-true",
    "+trainer.barebones=true": "trainer: .*barebones=True",
    "trainer.accelerator=abacus": "trainer: .*abacus",
    "+model.pad_token=left": "model.pad_token: is named as a secret is",
}
REFUSED_BY_THE_DATA = {
    "+trainer.overfit_batches=0.1": "trainer: You requested to check 0.1 of the",
    "+trainer.limit_val_batches=0.01": "trainer: You requested to check 0.01 of the",
    "+trainer.val_check_interval=100": "trainer: `val_check_interval`",
}


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_same_batch_in_every_epoch(tiny: Composer, tmp_path: Path, workers: int) -> None:
    words = ["+trainer.overfit_batches=1", f"data.num_workers={workers}", SEEN]
    train(tiny(*words, "trainer.log_every_n_steps=1", "optimizer.warmup_epochs=0"))
    first, second = (tmp_path / "run" / "seen.txt").read_text("utf-8").splitlines()
    assert first == second
    assert len(first.split()) == 4
    with (tmp_path / "run" / "logs" / "metrics.csv").open(encoding="utf-8") as file:
        losses = [float(row["train/loss"]) for row in csv.DictReader(file) if row["train/loss"]]
    assert len(losses) == 2


@pytest.mark.slow
@pytest.mark.parametrize("words", WORKING)
def test_switches_that_work(tiny: Composer, tmp_path: Path, words: str) -> None:
    metrics = train(tiny(*words.split()))
    written = json.loads((tmp_path / "run" / "metrics.json").read_text("utf-8"))
    assert 0 <= metrics["mAP"] == written["mAP"] <= 1


@pytest.mark.parametrize(("words", "message"), REFUSED.items())
def test_switches_that_are_refused(
    tiny: Composer, tmp_path: Path, words: str, message: str
) -> None:
    """Before anything is read or made."""
    with pytest.raises(USER_ERRORS) as caught:
        train(tiny(f"data.root={tmp_path / 'new'}", *words.split()))
    assert re.match(message, readable(caught.value))
    assert "\n" not in readable(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("words", "message"), REFUSED_BY_THE_DATA.items())
def test_switches_that_do_not_suit_the_data(tiny: Composer, words: str, message: str) -> None:
    with pytest.raises(SettingError, match=re.escape(message)):
        train(tiny(words))
