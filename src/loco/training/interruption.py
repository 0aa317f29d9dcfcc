"""A training that is told to stop ends between two batches, with its state saved.

Ctrl-C, a cluster's SIGTERM and SLURM's SIGUSR1 come at any moment, also within a step of the
optimiser, whose half is no state to go on from. So does the signal of submitit (SIGUSR2), which
queues its jobs again itself.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import lightning
from lightning.pytorch.callbacks import WeightAveraging

from loco.errors import Interrupted
from loco.training.callbacks import LastCheckpoint

log = logging.getLogger(__name__)

USER_SIGNALS = [
    getattr(signal, name) for name in ("SIGUSR1", "SIGUSR2") if hasattr(signal, name)
]  # fmt: skip


class Interruption(lightning.Callback):
    """Ends a training at the next batch after a signal, with `last.ckpt` as it is there.

    A run that resumes from it is the run that was never stopped, also from within an epoch: what
    validates is validated again as a whole. A second Ctrl-C ends it at once, without saving. With
    several processes all of them stop at the same batch. A launcher that listens to a user's
    signal gets it once the state is saved. Stands after the averaging in the list of callbacks,
    whose update belongs to the batch.

    Raises:
        Interrupted: from within the fit, once the state is saved.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._validation_due = False
        self._launchers: dict[int, Any] = {}

    def setup(self, *_: Any, **__: Any) -> None:
        """See which user's signals a launcher listens to, before Lightning does itself."""
        handlers = {number: signal.getsignal(number) for number in USER_SIGNALS}
        self._launchers = {
            number: handler for number, handler in handlers.items() if callable(handler)
        }

    def on_train_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Listen; Lightning puts back what was there before when the fit ends."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in (signal.SIGINT, signal.SIGTERM, *self._launchers):
            signal.signal(number, self._note)
        if in_slurm() and hasattr(signal, "SIGUSR1"):
            signal.signal(signal.SIGUSR1, self._note)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and self.received == signal.SIGINT:
            raise KeyboardInterrupt
        if self.received is None:
            self.received = number
            name = signal.Signals(number).name
            print(f"\n{name}: ends after this batch, and saves", file=sys.stderr, flush=True)

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop here, unless a validation or the end of the epoch belongs to this batch."""
        if not self._told(trainer):
            return
        loop = trainer.fit_loop.epoch_loop
        fetcher = trainer.fit_loop._data_fetcher
        assert fetcher is not None
        last = loop._num_ready_batches_reached() or loop._should_check_val_fx(fetcher)
        if not last and not loop._should_accumulate():
            self._stop(trainer)

    def on_validation_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop before a validation, which is then done when the run resumes."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._told(trainer):
            self._stop(trainer, validation_due=True)

    def on_validation_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, *_: Any
    ) -> None:
        """Stop within a validation, which is then done anew."""
        if trainer.state.fn == "fit" and not trainer.sanity_checking and self._told(trainer):
            for callback in trainer.callbacks:  # type: ignore[attr-defined]
                if isinstance(callback, WeightAveraging):
                    # trained weights and averages are exchanged during a validation
                    callback.on_validation_epoch_end(trainer, pl_module)
            self._stop(trainer, validation_due=True)

    def on_train_epoch_start(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop between two epochs, where the state was saved just now."""
        if self._told(trainer):
            self._end(trainer)

    def on_train_end(self, trainer: lightning.Trainer, *_: Any) -> None:
        """Stop before the test, likewise."""
        if self._told(trainer):
            self._end(trainer)

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Note a validation that is due as one that was left in its first batch."""
        if self._validation_due:
            loops = checkpoint["loops"]["fit_loop"]
            progress = loops["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts |= {"ready": 1, "started": 1, "processed": 0, "completed": 0}
            progress["is_last_batch"] = False

    def _told(self, trainer: lightning.Trainer) -> bool:
        """Whether any process was told to stop."""
        told = self.received is not None
        if trainer.world_size > 1:
            told = trainer.strategy.reduce_boolean_decision(told, all=False)
        return told

    def _stop(self, trainer: lightning.Trainer, validation_due: bool = False) -> None:
        last = next(
            (c for c in trainer.checkpoint_callbacks if isinstance(c, LastCheckpoint)), None
        )
        if last is not None and last.dirpath is not None:
            self._validation_due = validation_due
            trainer.save_checkpoint(Path(last.dirpath) / "last.ckpt", weights_only=False)
        self._end(trainer)

    def _end(self, trainer: lightning.Trainer) -> None:
        number = signal.SIGTERM if self.received is None else self.received
        if number in self._launchers:
            self._launchers[number](number, None)
        elif in_slurm() and number == getattr(signal, "SIGUSR1", None) and trainer.is_global_zero:
            requeue()
        raise Interrupted(number)


def in_slurm() -> bool:
    """Whether this is a job of SLURM."""
    return "SLURM_JOB_ID" in os.environ


def requeue() -> None:
    """Ask SLURM to start this job again, since its time is over; it is told how that went."""
    array, task = (os.environ.get(f"SLURM_ARRAY_{name}_ID") for name in ("JOB", "TASK"))
    job = f"{array}_{task}" if array and task else os.environ["SLURM_JOB_ID"]
    try:
        code = subprocess.run(["scontrol", "requeue", job], check=False).returncode
    except OSError as error:
        log.warning("job %s cannot be queued again: scontrol: %s", job, error.strerror)
        return
    if code:
        log.warning("job %s was not queued again: scontrol ended with code %d", job, code)
    else:
        log.info("job %s is queued again", job)
