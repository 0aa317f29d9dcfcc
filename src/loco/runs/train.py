"""Whole runs from a composed config: train, evaluate, predict, and what they leave in a folder."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, Literal

import lightning
import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers import WandbLogger
from omegaconf import DictConfig, OmegaConf

from loco.data.annotations import Video
from loco.data.datamodule import AVDataModule
from loco.errors import CheckpointError, IncompleteError
from loco.evaluation.baselines import baseline_metrics
from loco.reporting.report import write_report
from loco.runs.export import above, check_formats, write_predictions
from loco.runs.jobs import flat
from loco.runs.logs import continue_log
from loco.runs.processes import merged
from loco.runs.results import (
    detailed_metrics,
    detections_table,
    diagnosis_table,
    json_number,
    metrics_table,
    mistakes_line,
    predictions_json,
    show,
    write_json,
)
from loco.structures import Events
from loco.training.callbacks import BestCheckpoint
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

MODEL_KEYS = ("model", "attention", "correspondence")
FILE_KEYS = ("layout", "max_length_difference", "eval_batch_size", "batch_size", "num_workers")


def find_checkpoint(path: str | Path, best: bool = False) -> Path:
    """A checkpoint file, or a run's folder: its newest `last.ckpt`.

    Args:
        path: of either.
        best: in a folder, rather the newest `best.ckpt`, which is what a run tests.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"ckpt_path={path}: expected a checkpoint or a run's folder")
    for name in ("best.ckpt", "last.ckpt") if best else ("last.ckpt",):
        found = sorted(path.rglob(name), key=lambda file: file.stat().st_mtime)
        if found:
            return found[-1]
    raise CheckpointError(f"ckpt_path={path}: no last.ckpt in this folder")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint at a path, its tensors on the CPU; only plain values are unpickled."""
    file = find_checkpoint(path)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(
            f"{file}: expected a checkpoint that this suite wrote, but reading it failed "
            f"({str(error).splitlines()[0][:100]})"
        ) from error
    if not isinstance(checkpoint, dict) or "model" not in checkpoint.get("hyper_parameters", {}):
        raise CheckpointError(f"{file}: a checkpoint, but not one that this suite wrote")
    return checkpoint


def build_module(config: dict[str, Any], **kwargs: Any) -> LocalizationModule:
    """A module from what a checkpoint keeps of its config: parts, channels and class names."""
    parts = OmegaConf.create({key: config[key] for key in MODEL_KEYS})
    detector = instantiate(
        parts.model,
        visual_channels=config["visual_channels"],
        audio_channels=config["audio_channels"],
        num_classes=len(config["class_names"]),
    )
    return LocalizationModule(detector, config["class_names"], config=config, **kwargs)


def load_module(path: str | Path) -> LocalizationModule:
    """The trained module in a checkpoint, or in a run's folder its best one.

    It is in evaluation mode and has the averaged weights.
    """
    checkpoint = load_checkpoint(find_checkpoint(path, best=True))
    module = build_module(checkpoint["hyper_parameters"])
    module.load_state_dict(checkpoint["state_dict"])
    return module.eval()


def train(config: DictConfig) -> dict[str, float]:
    """Train, test the best checkpoint, and leave metrics, predictions and checkpoints.

    Returns:
        the test metrics, fractions in [0, 1].
    """
    began = time.perf_counter()
    output = Path(config.output_dir)
    resume = find_checkpoint(config.ckpt_path) if config.ckpt_path else None
    if resume:
        log.info("resuming from %s", resume)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    data: AVDataModule = instantiate(config.data)
    data.prepare_data()
    data.prepare()
    kept = plain_config(config) | {
        "visual_channels": data.visual_channels,
        "audio_channels": data.audio_channels,
        "class_names": data.class_names,
    }
    module = build_module(kept, optimizer=instantiate(config.optimizer), seed=config.seed)
    if resume:
        steps = check_resumes(resume, module, kept)
    callbacks = build_callbacks(config)
    trainer: lightning.Trainer = instantiate(
        config.trainer, callbacks=callbacks, logger=instantiate(config.logger)
    )
    if trainer.is_global_zero:
        output.mkdir(parents=True, exist_ok=True)
        OmegaConf.save(config, output / "config.yaml", resolve=True)
        if resume:
            continue_log(trainer.loggers, resume.parent.parent, steps)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume and str(resume), weights_only=True)
    except SystemExit as end:  # Lightning's answer to Ctrl-C, as to an error
        if trainer.interrupted:
            raise KeyboardInterrupt from end
        raise
    best = next(c.best_model_path for c in callbacks if isinstance(c, BestCheckpoint))
    if best:
        # Loaded here and not by the trainer: with its weight averaging callback at hand the trainer
        # would test the weights of the last step instead of the averaged ones.
        module.load_state_dict(load_checkpoint(best)["state_dict"])
    trainer.test(module, datamodule=data, verbose=False)
    metrics = test_metrics(module)
    if trainer.is_global_zero:
        test = tested_videos(data, module)
        write_results(output, module, metrics, test)
        if any(isinstance(logger, WandbLogger) for logger in trainer.loggers):
            from loco.reporting import wandb_logging  # slow to import, and few need it

            wandb_logging.finish(trainer, module, test, output)
        rows = baseline_metrics(videos_of(data, "train"), test, data.num_classes)
        show(metrics_table(rows | {"this run": metrics}, f"test mAP, {len(test)} videos"))
        log.info("%s: metrics.json, predictions.json, config.yaml, checkpoints", output)
        if config.report:
            log.info("%s: open it in a browser", write_report(output, module=module))
        log.info("took %.0f s", time.perf_counter() - began)
    return metrics


def evaluate(config: DictConfig) -> dict[str, float]:
    """Repeat the test of a checkpoint, which knows its model and its data."""
    file = find_checkpoint(config.ckpt_path, best=True)
    log.info("evaluating %s", file)
    module = load_module(file)
    data: AVDataModule = instantiate(merged_data(module.hparams["data"], config.data))
    data.prepare_data()
    data.setup("test")
    check_fits(file, module, data)
    trainer: lightning.Trainer = instantiate(config.trainer, logger=False)
    trainer.test(module, datamodule=data, verbose=False)
    metrics = test_metrics(module)
    if trainer.is_global_zero:
        test = tested_videos(data, module)
        write_results(Path(config.output_dir), module, metrics, test)
        show(metrics_table({file.name: metrics}, f"{data.test_split} mAP, {len(test)} videos"))
        log.info("%s: metrics.json, predictions.json", config.output_dir)
    return metrics


def predict(config: DictConfig) -> dict[str, Events]:
    """Write the detections of every video in a folder of feature files.

    Raises:
        IncompleteError: at the end, where videos had to be left out; it names them.
    """
    check_formats(config.formats)
    _ = config.data.root  # where it is missing that is told before a checkpoint is loaded
    file = find_checkpoint(config.ckpt_path, best=True)
    log.info("predicting with %s", file)
    module = load_module(file)
    kept = {key: module.hparams["data"].get(key) for key in FILE_KEYS}
    settings = merged_data(kept, config.data)
    settings.annotations = config.data.annotations
    given = {str(key): value for key, value in settings.items() if value is not None}
    given["layout"] = instantiate(settings.layout)
    data = AVDataModule(**{"annotations": None, "batch_size": 1} | given)
    data.setup("predict")
    check_fits(file, module, data)
    trainer: lightning.Trainer = instantiate(config.trainer, logger=False)
    batches = trainer.predict(module, datamodule=data) or []
    detections = {video: events for batch in batches for video, events in batch.items()}  # type: ignore[union-attr]
    detections = merged(detections)
    if not trainer.is_global_zero:
        return detections
    written = write_predictions(
        config.output_dir, detections, module.class_names, config.formats, config.min_score
    )
    detections = {video: above(events, config.min_score) for video, events in detections.items()}
    for video in sorted(detections)[: config.show]:
        show(detections_table(video, detections[video], module.class_names))
    if len(detections) > config.show:
        log.info("… and %d more videos (show=N shows more of them)", len(detections) - config.show)
    for path in written:
        log.info("%s: detections of %d videos", path, len(detections))
    lost = data.unusable(set(data.dataset("predict").video_ids) - set(detections))
    if lost:
        raise IncompleteError(
            f"{len(lost)} of {len(lost) + len(detections)} videos could not be used:\n"
            + "\n".join(f"  {lost[video]}" for video in sorted(lost))
        )
    return detections


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain values, which a checkpoint can hold."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def merged_data(kept: dict[str, Any], overrides: DictConfig) -> DictConfig:
    """A checkpoint's data settings with what the user set differently (null: as they were)."""
    given = {key: value for key, value in overrides.items() if value is not None}
    merged = OmegaConf.merge(OmegaConf.create(kept), given)
    assert isinstance(merged, DictConfig)
    return merged


def build_callbacks(config: DictConfig) -> list[Callback]:
    """The callbacks of the config, those that are not set to null."""
    return [instantiate(callback) for callback in config.callbacks.values() if callback]


def check_resumes(file: Path, module: LocalizationModule, config: dict[str, Any]) -> int:
    """Refuse to go on with other weights than a checkpoint's; tell what else is different.

    Returns:
        the optimiser steps that were done.

    Raises:
        CheckpointError: the weights do not fit; names the settings that differ.
    """
    checkpoint = load_checkpoint(file)
    kept, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    then, now = (flat(OmegaConf.create(settings)) for settings in (kept, config))
    differing = {
        key: key if key == "class_names" else f"{key} {then.get(key)} → {now.get(key)}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(("data.root", "data.num_workers"))
    }
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    if shapes != {name: value.shape for name, value in state.items()}:
        parts = (*MODEL_KEYS, "visual_channels", "audio_channels", "class_names")
        changed = [text for key, text in differing.items() if key.partition(".")[0] in parts]
        raise CheckpointError(
            f"{file}: cannot go on with another model; give the overrides of its run again "
            f"(it had → now: {', '.join(changed)})"
        )
    if differing:
        log.warning("going on with other settings than before: %s", ", ".join(differing.values()))
    return int(checkpoint["global_step"])


def check_fits(file: Path, module: LocalizationModule, data: AVDataModule) -> None:
    """Refuse data whose channels or classes are not those that a checkpoint was trained on.

    Raises:
        CheckpointError: names what differs.
    """
    trained = module.hparams
    for name in ("visual_channels", "audio_channels"):
        if getattr(data, name) != trained[name]:
            raise CheckpointError(
                f"{file}: trained on {trained[name]} {name.replace('_', ' ')}, "
                f"but the files in {data.root} have {getattr(data, name)}"
            )
    if data.annotations is not None and data.class_names != module.class_names:
        raise CheckpointError(
            f"{file}: its {len(module.class_names)} classes are not the {data.num_classes} "
            f"of {data.annotations_path}"
        )


def videos_of(data: AVDataModule, stage: Literal["train", "test"]) -> list[Video]:
    """The annotated videos that a stage uses."""
    annotations: dict[str, Video] = data.annotations or {}
    return [annotations[video_id] for video_id in data.dataset(stage).video_ids]


def tested_videos(data: AVDataModule, module: LocalizationModule) -> list[Video]:
    """The videos of the last test: all of the split, unless the trainer was told to do fewer."""
    return [video for video in videos_of(data, "test") if video.id in module.detections]


def test_metrics(module: LocalizationModule) -> dict[str, float]:
    """What the module's metric says of the last test, in float64."""
    return {name: float(value) for name, value in module.metric.compute().items()}


def write_results(
    output: Path, module: LocalizationModule, metrics: dict[str, float], videos: list[Video]
) -> None:
    """metrics.json and predictions.json in a run's folder; says where mAP is lost."""
    detailed = detailed_metrics(module.detections, videos, module.class_names)
    headline = {name: json_number(value) for name, value in metrics.items()}
    write_json(output / "metrics.json", headline | detailed)
    write_json(output / "predictions.json", predictions_json(module.detections, module.class_names))
    show(diagnosis_table(detailed["diagnosis"]))
    print(mistakes_line(detailed["diagnosis"]))
