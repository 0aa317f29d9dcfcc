"""A whole training from a composed config: fit, test the best checkpoint, leave the results."""

from __future__ import annotations

import logging
import time
from pathlib import Path

import lightning
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from loco.data.datamodule import AVDataModule
from loco.evaluation.baselines import baseline_metrics
from loco.runs.callbacks import build_callbacks, call_on_results
from loco.runs.checkpoints import build_module, check_resumes, find_checkpoint, load_tested
from loco.runs.entry import naming_settings
from loco.runs.files import write_text
from loco.runs.logs import build_loggers, closing_wandb, continue_log
from loco.runs.parts import check_parts
from loco.runs.results import (
    metrics_table,
    show,
    tell_incomplete,
    test_metrics,
    tested_videos,
    videos_of,
    write_results,
)
from loco.runs.settings import absolute_paths, check_numbers, plain_config

log = logging.getLogger(__name__)


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
    check_parts(config)
    config = absolute_paths(config)
    output = Path(config.output_dir)
    resume = find_checkpoint(config.ckpt_path) if config.ckpt_path else None
    if resume:
        log.info("resuming from %s", resume)
    loggers = build_loggers(config)  # a missing login is told before the data is read
    optimizer = instantiate(config.optimizer)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    callbacks = build_callbacks(config)
    trainer: lightning.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
    data: AVDataModule = instantiate(config.data)
    data.prepare_data()
    data.prepare()
    kept = plain_config(config) | {
        "visual_channels": data.visual_channels,
        "audio_channels": data.audio_channels,
        "class_names": data.class_names,
    }
    module = build_module(kept, optimizer=optimizer, seed=config.seed)
    if resume:
        steps = check_resumes(resume, module, kept)
    if trainer.is_global_zero:
        output.mkdir(parents=True, exist_ok=True)
        write_text(output / "config.yaml", OmegaConf.to_yaml(config, resolve=True))
        if resume:
            continue_log(trainer.loggers, resume.parent.parent, steps)
    try:
        trainer.fit(module, datamodule=data, ckpt_path=resume and str(resume), weights_only=True)
    except SystemExit as end:  # Lightning's answer to Ctrl-C, as to an error
        if trainer.interrupted:
            raise KeyboardInterrupt from end
        raise
    tested = load_tested(module, callbacks, resume)
    trainer.test(module, datamodule=data, verbose=False)
    metrics = test_metrics(module)
    if trainer.is_global_zero:
        test = tested_videos(data, module)
        write_results(output, module, metrics, test)
        rows = baseline_metrics(videos_of(data, "train"), test, data.num_classes)
        title = f"test mAP, {len(test)} videos"
        show(metrics_table(rows | {"this run": metrics}, title, tested=tested))
        log.info("%s: metrics.json, predictions.json, config.yaml, checkpoints", output)
        call_on_results(callbacks, output, module, data)
        log.info("took %.0f s", time.perf_counter() - began)
        if trainer.limit_test_batches == 1 and data.missing == "error":
            tell_incomplete(data, "test", module.detections)
    return metrics
