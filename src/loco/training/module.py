"""The LightningModule: wires a detector to its data, optimiser, metric and log, and knows no more.

A detector is any `nn.Module` with

    losses(batch) -> dict[str, Tensor]    the sum of `loss_…` is minimised, the rest is only logged
    detect(batch) -> list[Events]         one for each video, by descending score

Among the rest `normalizer` is what a batch's losses were divided by: its weight in a mean over
the batches of a split, which are otherwise weighted by their videos. So are the losses that the
detector names in `losses_by_video`.

A part of it that changes over a training has `schedule(progress)`, and hears before each step, and
each validation, how much of it is done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast, runtime_checkable

import lightning
import numpy as np
import torch
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from numpy.typing import ArrayLike
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from loco.data.dataset import checked_features, collate, one_modality
from loco.errors import TrainingError
from loco.evaluation.metrics import DetectionMAP
from loco.structures import Batch, Events, Sample, TimeGrid
from loco.training.contract import checked_detections, checked_losses
from loco.training.gather import averaged, everywhere, merged
from loco.training.means import RunningMeans
from loco.training.optim import OptimizerFactory, clip_gradients


class Detector(Protocol):
    """What the module asks of a detector."""

    def losses(self, batch: Batch) -> dict[str, Tensor]: ...

    def detect(self, batch: Batch) -> list[Events]: ...


@runtime_checkable
class Scheduled(Protocol):
    """A part of a detector that wants to know how far the training is."""

    def schedule(self, progress: float) -> None: ...


class LocalizationModule(lightning.LightningModule):
    """Trains and evaluates a detector.

    Args:
        detector: an `nn.Module` with `losses` and `detect`.
        class_names: names of the K classes.
        optimizer: makes the optimiser and its schedule; needed for training alone.
        seed: with the epoch, the batch and the rank, it decides all randomness of a training step.
        config: plain values kept in every checkpoint, from which
            `loco.runs.checkpoints.load_module` builds the detector again.
    """

    def __init__(
        self,
        detector: nn.Module,
        class_names: Sequence[str],
        *,
        optimizer: OptimizerFactory | None = None,
        seed: int = 0,
        config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters(config or {})
        self.detector = detector
        self.class_names = list(class_names)
        self.optimizer_factory = optimizer
        self.seed = seed
        self._training_losses: Callable[[Batch], dict[str, Tensor]] | None = None
        self._epoch = RunningMeans()
        self._validation = RunningMeans()
        self.metric = DetectionMAP(len(self.class_names))
        self.detections: dict[str, Events] = {}
        """Of the last test: video id → detections, on the CPU."""
        self._total_steps: int | None = None  # None where time alone ends the training

    @property
    def _detector(self) -> Detector:
        return cast(Detector, self.detector)

    # -- training ---------------------------------------------------------------------------------

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Draw drop path from (seed, epoch, batch, rank), so that a resumed run draws the same.

        And tell the parts that ask how far the training is.
        """
        if batch_idx == 0:
            self._epoch.clear()  # later ones go on with what a checkpoint brought along
        key = (self.seed, self.current_epoch, batch_idx, self.global_rank)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1)[0]))
        self._tell_progress()

    def _tell_progress(self) -> None:
        if self._total_steps is not None:
            progress = min(self.trainer.global_step / max(self._total_steps, 1), 1.0)
            for part in self.detector.modules():
                if isinstance(part, Scheduled):
                    part.schedule(progress)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The total loss; everything that the detector returns is logged, its mean over processes.

        Raises:
            TrainingError: the loss is not finite.
        """
        losses = checked_losses(
            self._detector, (self._training_losses or self._detector.losses)(batch)
        )
        parts = {name: value for name, value in losses.items() if name.startswith("loss_")}
        total = torch.stack(list(parts.values())).sum()
        if not total.isfinite():
            shown = ", ".join(f"{name} {value.item():.3g}" for name, value in parts.items())
            raise TrainingError(
                f"the loss is not finite in epoch {self.current_epoch + 1}, batch {batch_idx + 1} "
                f"({shown}); a lower optimizer.lr or a longer optimizer.warmup_epochs may help"
            )
        logged = {"train/loss": total.detach()}
        logged |= {f"train/{name}": value.detach() for name, value in parts.items()}
        logged |= {name: value.detach() for name, value in losses.items() if name not in parts}
        logged = averaged(logged)
        values: dict[str, Tensor | float] = {**logged, "train/lr": self._learning_rate()}
        self.log_dict(values, batch_size=len(batch))
        self._epoch.add({f"epoch/{name}": value for name, value in values.items()}, len(batch))
        self.log("loss", logged["train/loss"], prog_bar=True, logger=False, batch_size=len(batch))
        return total

    def on_train_epoch_end(self) -> None:
        """Log the epoch's means: it can be shorter than what the trainer logs of its steps."""
        self.log_dict(self._epoch.means(), sync_dist=True)
        self._epoch.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what the epoch's means are made of, for a run that goes on within it."""
        checkpoint["epoch_sums"] = self._epoch.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on from there; a training without the average from the weights that were trained."""
        self._epoch.load_state_dict(checkpoint.get("epoch_sums", {}))
        if self._trainer is None or self.trainer.state.fn != TrainerFn.FITTING:
            return
        callbacks = self.trainer.callbacks  # type: ignore[attr-defined]
        averages = any(isinstance(callback, WeightAveraging) for callback in callbacks)
        if "current_model_state" in checkpoint and not averages:
            checkpoint["state_dict"] = checkpoint["current_model_state"]

    def _learning_rate(self) -> float:
        """Of the first group of parameters; those of the others are multiples of it."""
        return float(self.trainer.optimizers[0].param_groups[0]["lr"])

    def configure_optimizers(self) -> Any:
        if self.optimizer_factory is None:
            raise ValueError("training needs an optimizer: LocalizationModule(..., optimizer=…)")
        self._total_steps, steps_per_epoch = training_length(self.trainer)
        optimizer, scheduler = self.optimizer_factory(
            self.detector, total_steps=self._total_steps, steps_per_epoch=steps_per_epoch
        )
        self._given = [
            {key: value for key, value in group.items() if key not in ("params", "lr")}
            for group in optimizer.param_groups
        ]
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": scheduler, "interval": "step"},
        }

    def on_train_start(self) -> None:
        """A checkpoint brings its optimiser's settings along; those that are given now count.

        Another schedule than a `LambdaLR` goes on from the rate that it restored.
        """
        if getattr(self.trainer, "compiles", False):  # batches differ in length: no fixed shapes
            self._training_losses = torch.compile(self._detector.losses, dynamic=True)
        scheduler = self.trainer.lr_scheduler_configs[0].scheduler
        for group, given in zip(self.trainer.optimizers[0].param_groups, self._given, strict=True):
            group.update(given)
        if isinstance(scheduler, LambdaLR):
            scheduler.base_lrs = [group["initial_lr"] for group in self._given]
            step = scheduler.last_epoch
            groups = zip(scheduler.optimizer.param_groups, scheduler.lr_lambdas, strict=True)
            for group, factor in groups:
                group["lr"] = group["initial_lr"] * factor(step)

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """As the trainer says; by norm, groups with `clip_apart` are clipped on their own."""
        if gradient_clip_val and gradient_clip_algorithm in (None, "norm"):
            clip_gradients(optimizer, float(gradient_clip_val))
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    # -- evaluation -------------------------------------------------------------------------------

    def detect(self, batch: Batch, num_classes: int | None = None) -> list[Events]:
        """Detections of each video of a batch, on the CPU; of a task with other classes, K."""
        count = len(self.class_names) if num_classes is None else num_classes
        return checked_detections(self._detector, self._detector.detect(batch), batch, count)

    @torch.no_grad()
    def detect_arrays(
        self,
        visual: ArrayLike,
        audio: ArrayLike,
        grid: TimeGrid,
        duration: float | None = None,
    ) -> Events:
        """Detections in one video, from its features.

        A model of one modality (`data.modality`) reads zeros in place of the other.

        Args:
            visual: (T, C_visual); several files of a layout side by side. Where the lengths differ
                by a few steps, the shorter one counts.
            audio: (T, C_audio).
            grid: where the steps lie in time; the one that the model was trained on.
            duration: seconds, the latest end of an event; None is the end of the last step.

        Raises:
            ValueError: the arrays are no such arrays, hold NaN, infinity or values beyond ±1e8, or
                differ in length by more steps than the data of the training could.
        """
        data = self.hparams.get("data", {})
        channels = [self.hparams.get(f"{name}_channels") for name in ("visual", "audio")]
        features = checked_features(visual, audio, channels, data.get("max_length_difference", 8))
        features = one_modality(data.get("modality", "both"), *features)
        steps = len(features[0])
        duration = grid.end_seconds(steps) if duration is None else duration
        sample = Sample("", 0, *features, duration, Events.empty())
        training = self.training
        try:
            return self.eval().detect(collate([sample], grid).to(self.device))[0]
        finally:
            self.train(training)

    def on_validation_epoch_start(self) -> None:
        self._tell_progress()  # also where a resumed run begins with it
        self._validation.clear()
        self.metric.reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._validate(batch, "val", self.metric)

    def _validate(self, batch: Batch, prefix: str, metric: DetectionMAP) -> None:
        """Log a batch's losses below a prefix, and let a metric see its detections."""
        readable = len(batch) > 0  # else none of its videos could be read
        if everywhere(readable, self.device):  # a loss may wait for other processes
            losses = checked_losses(self._detector, self._detector.losses(batch))
            # what they were divided by, for the mean over the batches to be that of the split
            weight = max(int(losses.get("normalizer", len(batch))), 1)
            by_video = getattr(self._detector, "losses_by_video", ())
            for name, value in losses.items():
                if name.startswith("loss_"):
                    own = len(batch) if name in by_video else weight
                    self._validation.add({f"{prefix}/{name}": value.detach()}, own)
        if readable:
            found = self.detect(batch, metric.num_classes)
            metric.update(found, batch.events, batch.indices)

    def on_validation_epoch_end(self) -> None:
        self._log_validation_losses()
        self._log_metric("val", prog_bar=True)

    def _log_validation_losses(self) -> None:
        """Log the means over the split, and of each task their sum, which is its loss."""
        means = self._validation.of_all_processes(self.device)
        for name, value in list(means.items()):
            total = f"{name.rpartition('/')[0]}/loss"
            means[total] = means.get(total, 0.0) + value
        self.log_dict(means)

    def on_test_epoch_start(self) -> None:
        self.metric.reset()
        self.detections = {}

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        if not len(batch):
            return
        detections = self.detect(batch)
        self.metric.update(detections, batch.events, batch.indices)
        self.detections.update(zip(batch.video_ids, detections, strict=True))

    def on_test_epoch_end(self) -> None:
        self.detections = merged(self.detections)
        self._log_metric("test")

    def _log_metric(self, stage: str, prog_bar: bool = False) -> None:
        for name, value in self.metric.compute().items():
            self.log(f"{stage}/{name}", value.float(), prog_bar=prog_bar and name == "mAP")

    def predict_step(self, batch: Batch, batch_idx: int) -> dict[str, Events]:
        if not len(batch):
            return {}
        return dict(zip(batch.video_ids, self.detect(batch), strict=True))


def training_length(trainer: lightning.Trainer) -> tuple[int | None, int]:
    """Optimiser steps of the whole training, None where time alone ends it, and of an epoch.

    Counted from a loader that is thrown away: the trainer's own, once made, would not read from a
    checkpoint how far it had come within an epoch.
    """
    data = getattr(trainer, "datamodule", None)
    if data is None:
        total = trainer.estimated_stepping_batches
        if trainer.train_dataloader is None:
            trainer.fit_loop.setup_data()
        batches: float = trainer.num_training_batches
    else:
        batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        total = math.inf if trainer.max_steps == -1 else trainer.max_steps
    steps_per_epoch = max(math.ceil(batches / trainer.accumulate_grad_batches), 1)
    if trainer.max_epochs is not None and trainer.max_epochs >= 0:
        total = min(total, steps_per_epoch * max(trainer.max_epochs, 1))
    return (None if math.isinf(total) else int(total)), steps_per_epoch
