"""Training callbacks that Lightning lacks."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import ModelCheckpoint, ModelSummary, WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from rich.console import Console
from rich.table import Table
from torch import Tensor

from loco.errors import check_number
from loco.files import replacing

log = logging.getLogger(__name__)


class EpochTimer(lightning.Callback):
    """Times the training of each epoch, without its validation."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        """Of each epoch that was trained whole in this process."""
        self._began = 0.0
        self._whole = False  # one that is gone on with has no start

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        self._began = time.perf_counter()

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx == 0:
            self._whole = True

    def on_train_batch_end(
        self, trainer: lightning.Trainer, module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches and self._whole:
            self.seconds.append(time.perf_counter() - self._began)
            self._whole = False


class WeightEMA(WeightAveraging):
    """Moving average of the weights, which is what validation, the test and checkpoints see.

    Buffers are averaged like weights; those of integers, such as BatchNorm's count of batches, are
    copied. The decay at step n is min(decay, (1 + n) / (10 + n)): a plain 0.999 would ruin short
    runs, whose average would still be full of the first steps.
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_number("decay", decay, 0, 1, without="high")

        def average(averaged: Tensor, current: Tensor, num_averaged: Tensor | int) -> Tensor:
            if not averaged.is_floating_point():
                return current
            warm = (1 + float(num_averaged)) / (10 + float(num_averaged))
            return averaged.lerp(current, 1 - min(decay, warm))

        super().__init__(avg_fn=average)

    def on_load_checkpoint(
        self, trainer: lightning.Trainer, pl_module: Any, checkpoint: dict[str, Any]
    ) -> None:
        """Go on with the training; a test has the averaged weights already."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)


class BestCheckpoint(ModelCheckpoint):
    """Keeps the checkpoint of the best validation mAP as `best.ckpt`.

    An epoch whose mAP is NaN, since no event was validated on, is never the best one. A resumed run
    that writes elsewhere takes the best one so far along, so that it tests the best of the whole
    training.

    Args:
        dirpath: where it is kept.
        monitor: the logged value that decides, the higher the better.
    """

    def __init__(self, dirpath: str, monitor: str = "val/mAP") -> None:
        super().__init__(
            dirpath=dirpath,
            filename="best",
            monitor=monitor,
            mode="max",
            save_on_train_epoch_end=False,
            save_on_exception=False,
            enable_version_counter=False,
        )

    def check_monitor_top_k(
        self, trainer: lightning.Trainer, current: Tensor | None = None
    ) -> bool:
        """Whether this is the best so far."""
        if current is not None and current.isnan():
            return False
        return super().check_monitor_top_k(trainer, current)

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Take the best checkpoint of the run that is resumed along."""
        if self.best_model_score is None or Path(self.best_model_path).is_file():
            return
        best = Path(str(self.dirpath)) / "best.ckpt"
        # beside the one that is resumed from, a task's in its folder: the run may have been moved
        beside = Path(str(trainer.ckpt_path)).parent
        for earlier in (beside / best.parent.name / best.name, beside / best.name, self._noted):
            if earlier.is_file():
                if trainer.is_global_zero and best.resolve() != earlier.resolve():
                    with replacing(best) as unfinished:
                        shutil.copyfile(earlier, unfinished)
                self.best_model_path = self.kth_best_model_path = str(best)
                self.best_k_models = {str(best): self.best_model_score}
                return
        log.warning(
            "the best checkpoint so far (%s %.4f) is gone: the best of the epochs from here on "
            "will count", self.monitor, float(self.best_model_score),
        )  # fmt: skip
        self.best_model_score = None

    _noted = Path()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Read what a checkpoint notes; its file is looked for when the training starts."""
        dirpath = self.dirpath
        super().load_state_dict(state_dict | {"dirpath": dirpath})
        self._noted = Path(state_dict["best_model_path"])
        self.best_model_path = self.kth_best_model_path = ""
        self.best_k_models = {}


class LastCheckpoint(ModelCheckpoint):
    """Keeps the state at the end of every epoch as `last.ckpt`, which a run resumes from."""

    def __init__(self, dirpath: str) -> None:
        super().__init__(
            dirpath=dirpath,
            filename="last",
            save_on_train_epoch_end=True,
            save_on_exception=False,
            every_n_epochs=1,
            enable_version_counter=False,
        )

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Nothing to restore: the checkpoint resumed from is another run's, and stays."""


class PartsSummary(ModelSummary):
    """The model's parts and their parameters, before training.

    Lightning's own tables also count operations, as 0 where a model takes no example tensor;
    `loco.runs.cost` measures them.
    """

    @staticmethod
    def summarize(
        summary_data: list[tuple[str, list[str]]],
        total_parameters: int,
        *args: Any,
        **kwargs: Any,
    ) -> None:
        """Print the table; called by Lightning with what it found."""
        columns = dict(summary_data)
        table = Table(title=f"{total_parameters:,} parameters")
        table.add_column("part")
        table.add_column("type")
        table.add_column("parameters", justify="right")
        for row in zip(columns["Name"], columns["Type"], columns["Params"], strict=True):
            table.add_row(*row)
        Console().print(table)
