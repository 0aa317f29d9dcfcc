"""The LightningModule of a training of several tasks: a metric for each."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from loco.errors import LocoError
from loco.evaluation.metrics import DetectionMAP
from loco.structures import Batch
from loco.training.gather import averaged
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)


class MultiTaskModule(LocalizationModule):
    """Trains and validates a detector on batches that name their task.

    `val/{task}/mAP` decides about each task's best checkpoint, and about whose turn it is;
    `val/mAP` is the mean of all. The test of a task is that of its own part, an ordinary module.

    Args:
        detector: an `nn.Module` with `losses` and `detect`, which reads `batch.task`.
        class_names: names of the K classes, of each task.
        **settings: of the `LocalizationModule`.
    """

    def __init__(
        self, detector: nn.Module, class_names: Mapping[str, Sequence[str]], **settings: Any
    ) -> None:
        super().__init__(detector, next(iter(class_names.values())), **settings)
        del self.metric
        self.metrics = nn.ModuleDict(
            {task: DetectionMAP(len(names)) for task, names in class_names.items()}
        )
        self._scores: dict[str, float] = {}

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The total loss of a batch of one task."""
        total = super().training_step(batch, batch_idx)
        of_task = averaged({f"epoch/train/{batch.task}/loss": total.detach()})
        self._epoch.add(of_task, len(batch))
        return total

    def on_validation_epoch_start(self) -> None:
        self._tell_progress()
        self._validation.clear()
        for metric in self._metrics().values():
            metric.reset()

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._validate(batch, f"val/{batch.task}", self._metrics()[batch.task])

    def on_validation_epoch_end(self) -> None:
        self._log_validation_losses()
        of_tasks = {task: metric.compute() for task, metric in self._metrics().items()}
        for task, values in of_tasks.items():
            for name, value in values.items():
                self.log(f"val/{task}/{name}", value.float(), prog_bar=name == "mAP")
        mean = torch.stack([values["mAP"].float() for values in of_tasks.values()]).mean()
        self.log("val/mAP", mean)
        self._scores = {task: float(values["mAP"]) for task, values in of_tasks.items()}

    def on_train_epoch_end(self) -> None:
        """Decide whose turn it is in the next epoch, before the checkpoint of this one."""
        super().on_train_epoch_end()
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        before = data.turns.stopped
        trained = self.trainer.fit_loop.epoch_loop.batch_progress.current.completed
        data.turns.end_epoch(trained, self._scores)  # fewer than planned where something ends it
        self._scores = {}
        if data.turns.stopped != before and self.trainer.is_global_zero:
            now = ", ".join(data.turns.stopped) or "none"
            log.info("stopped tasks, trained in every fourth round only: %s", now)

    def on_test_epoch_start(self) -> None:
        raise LocoError(
            "several tasks are not tested as one: each has a folder of its own in the run's, with "
            "a checkpoint of its part"
        )

    def _metrics(self) -> dict[str, DetectionMAP]:
        return dict(self.metrics.items())  # type: ignore[arg-type]
