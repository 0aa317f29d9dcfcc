"""A whole training from a composed config: fit, test the best checkpoint, leave the results."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import lightning
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from loco.data.datamodule import AVDataModule, Stage
from loco.data.tasks import MultiTaskDataModule
from loco.errors import SettingError
from loco.files import write_text
from loco.runs.callbacks import build_callbacks, call_on_results
from loco.runs.checkpoints import (
    build_module,
    check_resumes,
    find_checkpoint,
    load_checkpoint,
    load_tested,
    start_from,
)
from loco.runs.command.hydra_notes import in_sweep, keep_hydra_notes
from loco.runs.command.quoting import plain_without_secrets
from loco.runs.cost import training_cost
from loco.runs.decoding_choice import check_choice, choose_decoding
from loco.runs.entry import naming_settings
from loco.runs.folders import requeued, set_aside
from loco.runs.job_status import FAILED, settings_hash
from loco.runs.logs import build_loggers, closing_wandb, continue_log
from loco.runs.part_checks import check_parts
from loco.runs.provenance import noting
from loco.runs.results import (
    show_beside_baselines,
    tell_incomplete,
    test_metrics,
    tested_videos,
    write_results,
)
from loco.runs.settings import absolute_paths, check_numbers, only_used_groups, plain_config
from loco.training.callbacks import EpochTimer
from loco.training.interruption import Interruption
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

COST_STEPS = 224
"""Length of the video that operations are counted of, where training videos may have any."""


STAGES: tuple[Stage, ...] = ("train", "validation", "test")
"""Whose files a training reads."""


@naming_settings()
@closing_wandb()
def train(config: DictConfig) -> dict[str, float]:
    """Train, test the best checkpoint, and leave metrics, predictions and checkpoints.

    Returns:
        the test metrics, fractions in [0, 1].

    Raises:
        IncompleteError: at the end, where a test video turned out to be unusable.
    """
    began = time.perf_counter()
    check_numbers(config)
    if "sets" in config.data:
        raise SettingError("data.sets: several tasks take task=loco.runs.train_tasks.train")
    check_parts(config)
    given, config = config, only_used_groups(absolute_paths(config))
    output = Path(config.output_dir)
    resume, start = where_from(config, output)
    if resume:
        log.info("resuming from %s", resume)
    loggers = build_loggers(config)  # a missing login is told before the data is read
    optimizer = instantiate(config.optimizer)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    timer = EpochTimer()
    callbacks = [*build_callbacks(config), timer, Interruption()]
    trainer: lightning.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    data: AVDataModule = instantiate(config.data)
    data.prepare_data()
    data.prepare()
    kept = kept_settings(config, data)
    if data.extraction is not None:
        kept["extraction"] = data.extraction.without_videos()
    module = build_module(kept, optimizer=optimizer, seed=config.seed)
    choice = {k: list(v) for k, v in (config.get("decoding_choice") or {}).items() if v is not None}
    if choice:
        check_choice(choice, module.detector, trainer)
    if resume:
        done = check_resumes(resume, module, kept, config.trainer.max_epochs)
    elif start:
        log.info("starting from %s: the weights of %s", start, start_from(module, start))
    earlier = resume.parent.parent if resume else None
    if trainer.is_global_zero:
        begin_folder(given, config, resume)
        if earlier:
            continue_log(trainer.loggers, earlier, *done)
    settings = settings_hash(config)
    with noting(
        output, trainer, data, STAGES, seed=config.seed, settings=settings, resumed=earlier
    ) as finished:
        fit(trainer, module, data, resume)
        tested = load_tested(module, callbacks, resume)
        if choice:
            tested += choose_decoding(module, data, choice, output, trainer)
        trainer.test(module, datamodule=data, verbose=False)
        metrics = test_metrics(module)
        if trainer.is_global_zero:
            test = tested_videos(data, module)
            if config.results:
                write_results(output, module, metrics, test)
            show_beside_baselines(data, test, {"this run": metrics}, "test mAP", tested)
            if not config.results:
                log.info("%s: no results are left there, as results=false", output)
                finished()
                return metrics
            log.info("%s: metrics.json, predictions.json, config.yaml, checkpoints", output)
            channels = (data.visual_channels, data.audio_channels)
            length = data.crop.max_length or COST_STEPS
            finished(
                cost=training_cost(module.detector, channels, length, data.grid, timer.seconds)
            )
            call_on_results(callbacks, output, module, data)
            log.info("took %.0f s", time.perf_counter() - began)
            if trainer.limit_test_batches == 1 and data.missing == "error":
                tell_incomplete(data, "test", module.detections)
    return metrics


def fit(
    trainer: lightning.Trainer,
    module: LocalizationModule,
    data: lightning.LightningDataModule,
    resume: Path | None,
) -> None:
    """Train, or go on with it; an interruption stays one."""
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume and str(resume), weights_only=True)
    except SystemExit as end:  # Lightning's answer to Ctrl-C; or a launcher's, see `Interruption`
        if isinstance(end.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from end
        raise


def where_from(config: DictConfig, output: Path) -> tuple[Path | None, Path | None]:
    """The checkpoint to go on with, else the one to take the weights from, if there is one.

    A job that a cluster starts again into its folder goes on with its own. A damaged one is told
    here, before data are made.

    Raises:
        CheckpointError: there is no such checkpoint, or it is damaged.
    """
    own, resume, start = output / "checkpoints" / "last.ckpt", None, None
    if requeued() and own.is_file():
        resume = own
    elif config.ckpt_path is not None:
        resume = find_checkpoint(config.ckpt_path)
    elif config.init_from is not None:
        start = find_checkpoint(config.init_from, True, "init_from")
    for file in (resume, start):
        if file is not None:
            load_checkpoint(file)
    return resume, start


def kept_settings(config: DictConfig, data: AVDataModule | MultiTaskDataModule) -> dict[str, Any]:
    """What a checkpoint keeps of the configuration and the data, to build its module again."""
    return plain_without_secrets(plain_config(config)) | {
        "visual_channels": data.visual_channels,
        "audio_channels": data.audio_channels,
        "class_names": data.class_names,
    }


def begin_folder(given: DictConfig, config: DictConfig, resume: Path | None) -> None:
    """Note a configuration, as it was given too; another run in its folder is moved aside."""
    output = Path(config.output_dir)
    own = resume is not None and output.resolve() in resume.resolve().parents
    if not (own or requeued() or in_sweep()) and (earlier := set_aside(output)):
        log.warning("%s held another run, which is %s now", output, earlier)
    (output / FAILED).unlink(missing_ok=True)  # of a sweep's job that is gone on with by itself
    keep_hydra_notes(given, begins=True)
    write_config(output, plain_config(config))


def write_config(folder: Path, settings: dict[str, Any]) -> None:
    """config.yaml, without what is secret."""
    shown = OmegaConf.create(plain_without_secrets(settings))
    write_text(folder / "config.yaml", OmegaConf.to_yaml(shown))
