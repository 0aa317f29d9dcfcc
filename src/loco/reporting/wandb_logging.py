"""What a W&B run shows beyond scalars: tables, curves and pictures of the same few videos.

All of it works offline (`WANDB_MODE=offline`): `wandb sync` uploads the run's folder later.
"""

from __future__ import annotations

import io
import logging
import os
from difflib import get_close_matches
from inspect import signature
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from loco.data.datamodule import AVDataModule
from loco.errors import LocoError, check_number
from loco.evaluation.matching import Columns
from loco.evaluation.metrics import DEFAULT_THRESHOLDS, average_precision, precision_recall
from loco.reporting.figures import plot_similarity, plot_timeline
from loco.reporting.inspection import (
    SPACE_NAMES,
    cross_similarity,
    has_windows,
    left_out,
    spaces,
    target_windows,
)
from loco.runs.results import evaluation_columns, tested_videos
from loco.structures import Batch
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)


def wandb_logger(save_dir: str | Path, **settings: Any) -> WandbLogger:
    """Lightning's logger, the run named by its folder and grouped by the folder around it.

    In a sweep these are the job's overrides and the sweep.

    Args:
        save_dir: the run's folder.
        **settings: of the `WandbLogger`, such as `project` and `offline`.

    Raises:
        LocoError: W&B knows no account, and is not told to work without; or a setting is none.
    """
    known = {*signature(WandbLogger).parameters, *signature(wandb.init).parameters}
    if unknown := sorted(settings.keys() - known):
        close = get_close_matches(unknown[0], known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        raise LocoError(f"logger.wandb: W&B takes no {', '.join(unknown)}{hint}")
    if not settings.get("offline") and os.environ.get("WANDB_MODE", "online") == "online":
        _check_login()
    folder = Path(save_dir)
    Path(folder).mkdir(parents=True, exist_ok=True)
    return WandbLogger(
        save_dir=folder, **{"name": folder.name, "group": folder.parent.name} | settings
    )


def _check_login() -> None:
    way_out = "WANDB_MODE=offline writes the run to its folder, and `wandb sync` uploads it later"
    try:
        known = wandb.login(prompt=False)
    except wandb.errors.Error as error:  # a wrong key, or no network
        reason = str(error).splitlines()[0]
        raise LocoError(f"logger=wandb: {reason}; {way_out}") from error
    if not known:
        raise LocoError(
            f"logger=wandb needs an account: `wandb login`, or WANDB_API_KEY; without, {way_out}"
        )


def wandb_run(trainer: lightning.Trainer) -> Any:
    """The trainer's W&B run on the first process, else None."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger) and trainer.is_global_zero:
            return logger.experiment
    return None


class WandbMedia(lightning.Callback):
    """Logs per-class AP, PR curves, pictures of fixed validation videos, and target windows.

    At the end of the run it logs the test, and closes the W&B run.

    Args:
        num_videos: validation videos that are drawn, always the same.
        every_n_validations: how often they are drawn; the last validation always is.
        min_score: detections below it are left out of the timelines.
    """

    def __init__(
        self, num_videos: int = 3, every_n_validations: int = 5, min_score: float = 0.2
    ) -> None:
        check_number("num_videos", num_videos, 0, whole=True)
        check_number("every_n_validations", every_n_validations, 1, whole=True)
        check_number("min_score", min_score, 0, 1)
        self.num_videos = num_videos
        self.every_n_validations = every_n_validations
        self.min_score = min_score
        self.validations = 0

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Curves of validation and test have epochs as x, those of training have steps."""
        run = wandb_run(trainer)
        if run is not None:
            run.define_metric("trainer/global_step")
            run.define_metric("epoch")
            for names, step in (
                ("train/*", "trainer/global_step"),
                ("lcc/*", "trainer/global_step"),
                ("val/*", "epoch"),
                ("test/*", "epoch"),
                ("windows/*", "epoch"),
            ):
                run.define_metric(names, step_metric=step)
            if lacks := left_out(pl_module):
                log.info("W&B gets no %s", "; no ".join(lacks))

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """Draw while the averaged weights are in place; the metric is complete by now."""
        per_class = pl_module.metric.per_class()  # in several processes all must call it
        run = wandb_run(trainer)
        if run is None or trainer.sanity_checking:
            return
        next_epoch = trainer.current_epoch + (trainer.check_val_every_n_epoch or 1)
        is_last = next_epoch >= (trainer.max_epochs or 0)
        is_due = self.validations % self.every_n_validations == 0
        self.validations += 1
        if not is_due and not is_last:
            return
        table = {"val/per_class": per_class_table(per_class, pl_module.class_names)}
        contents = {"table": lambda: table, "pictures": lambda: self.pictures(trainer, pl_module)}
        for what, make in contents.items():
            try:
                run.log(make() | {"epoch": trainer.current_epoch})
            except Exception as error:  # a picture that cannot be drawn or sent ends no training
                log.warning("no W&B %s: %s: %s", what, type(error).__name__, error)

    def pictures(self, trainer: lightning.Trainer, module: LocalizationModule) -> dict[str, Any]:
        """Timelines, cross-similarity matrices and window sizes of the fixed videos."""
        data = trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, AVDataModule) or self.num_videos == 0:
            return {}
        batch = fixed_batch(data, self.num_videos).to(module.device)
        content: dict[str, Any] = {}
        with torch.no_grad():
            detections = module.detect(batch)
        for video_id, found, true, duration in zip(
            batch.video_ids, detections, batch.events, batch.durations.tolist(), strict=True
        ):
            content[f"timeline/{video_id}"] = picture(
                plot_timeline(
                    true,
                    {type(module.detector).__name__: found},
                    module.class_names,
                    duration,
                    self.min_score,
                    video_id,
                )
            )
        similarity = {
            SPACE_NAMES[space]: cross_similarity(module, batch, space) for space in spaces(module)
        }
        for i, video_id in enumerate(batch.video_ids if similarity else ()):
            figure = plot_similarity(
                {name: matrices[i] for name, matrices in similarity.items()},
                batch.grid,
                batch.events[i],
                module.class_names,
                video_id,
                share_scale=False,
            )
            content[f"similarity/{video_id}"] = picture(figure)
        if has_windows(module):
            content |= window_histograms(module, batch)
        return content

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        """Log what the test says, add its files as an artifact, and close the run.

        A run that is closed here leaves the next job of a sweep to open its own.
        """
        trainer = module.trainer
        run = wandb_run(trainer)
        if run is None:
            return
        try:
            columns = evaluation_columns(module.detections, tested_videos(data, module))
            matrix = average_precision(
                **columns,
                tiou_thresholds=DEFAULT_THRESHOLDS,
                num_classes=len(module.class_names),
            )
            run.log(
                {
                    "test/per_class": per_class_table(matrix, module.class_names),
                    "test/precision_recall": precision_recall_chart(columns, module.class_names),
                    "epoch": trainer.current_epoch,
                }
            )
            artifact = wandb.Artifact(f"predictions-{run.id}", type="predictions")
            for name in ("predictions.json", "metrics.json", "config.yaml"):
                artifact.add_file(str(folder / name))
            run.log_artifact(artifact)
        finally:
            run.finish()


def picture(figure: Figure) -> wandb.Image:
    """A figure sharp enough for a dashboard."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=150)
    return wandb.Image(Image.open(stream))


def fixed_batch(data: AVDataModule, num_videos: int) -> Batch:
    """The first validation videos by name."""
    dataset = data.dataset("validation")
    order = np.argsort(dataset.video_ids)[:num_videos]
    return dataset[[(0, int(index)) for index in order]]


def per_class_table(matrix: np.ndarray, class_names: list[str]) -> wandb.Table:
    """AP in percent of each class, averaged over tIoU and at 0.5 and 0.9."""
    half, strict = (len(matrix) - 1) // 2, len(matrix) - 1
    rows = [
        [name, 100 * float(column.mean()), 100 * float(column[half]), 100 * float(column[strict])]
        for name, column in zip(class_names, matrix.T, strict=True)
        if not np.isnan(column).any()
    ]
    return wandb.Table(columns=["class", "AP", "AP@0.5", "AP@0.9"], data=rows)


def precision_recall_chart(columns: Columns, class_names: list[str], max_classes: int = 12) -> Any:
    """Precision against recall at tIoU 0.5: the mean of the classes, and the first of them."""
    curves = precision_recall(columns, len(class_names), tiou=0.5)
    rated = np.flatnonzero(~np.isnan(curves[:, 0]))
    lines = {"mean": curves[rated].mean(0)} if len(rated) else {}
    lines |= {class_names[k]: curves[k] for k in rated[:max_classes]}
    return wandb.plot.line_series(
        xs=np.linspace(0, 1, curves.shape[1]).tolist(),
        ys=[line.tolist() for line in lines.values()],
        keys=list(lines),
        title="precision against recall, tIoU 0.5",
        xname="recall",
    )


def window_histograms(module: LocalizationModule, batch: Batch) -> dict[str, Any]:
    """Widths of the target windows relative to their base windows, by level: 1 is unadapted."""
    ratios: dict[int, list[float]] = {}
    for of_video in target_windows(module, batch):
        for windows in of_video:
            base = windows.base[:, 1] - windows.base[:, 0]
            wide = base > 0
            target = (windows.target[..., 1] - windows.target[..., 0])[:, wide]
            ratios.setdefault(windows.level, []).extend((target / base[wide]).ravel().tolist())
    content: dict[str, Any] = {}
    for level, values in ratios.items():
        if values:
            content[f"windows/size_level_{level}"] = wandb.Histogram(values)
            content[f"windows/mean_size_level_{level}"] = float(Tensor(values).mean())
    return content
