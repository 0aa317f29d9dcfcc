"""A training of several tasks in one net, of which each leaves a run folder of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import DictConfig, OmegaConf

from loco.data.datamodule import AVDataModule
from loco.data.tasks import MultiTaskDataModule
from loco.errors import SettingError
from loco.runs.callbacks import build_callbacks, call_on_results
from loco.runs.checkpoints import (
    MODEL_KEYS,
    build_module,
    check_resumes,
    load_checkpoint,
    load_tested,
    start_from,
)
from loco.runs.entry import naming_settings
from loco.runs.job_status import settings_hash
from loco.runs.logs import build_loggers, closing_wandb, continue_log
from loco.runs.part_checks import check_parts
from loco.runs.provenance import noting
from loco.runs.results import (
    json_number,
    metrics_table,
    show,
    show_beside_baselines,
    tell_incomplete,
    test_metrics,
    tested_videos,
    write_json,
    write_results,
)
from loco.runs.settings import absolute_paths, check_numbers, only_used_groups
from loco.runs.train import STAGES, begin_folder, fit, kept_settings, where_from, write_config
from loco.training.callbacks import BestCheckpoint
from loco.training.checkpoint_io import AtomicCheckpointIO
from loco.training.interruption import Interruption
from loco.training.module import LocalizationModule
from loco.training.tasks import MultiTaskModule

log = logging.getLogger(__name__)


@naming_settings()
@closing_wandb()
def train(config: DictConfig) -> dict[str, float]:
    """Train all tasks, then test the best checkpoint of each.

    A task's folder, below the run's, is that of an ordinary run: metrics, predictions,
    configuration and `best.ckpt`, its part of the net with the weights of its own best epoch. They
    can be evaluated, predicted with, and trained on (`init_from`). The run's own metrics.json has
    the means over the tasks, and each task's under `tasks`.

    Returns:
        the means over the tasks, fractions in [0, 1].

    Raises:
        IncompleteError: at the end, where a test video turned out to be unusable.
    """
    began = time.perf_counter()
    check_numbers(config)
    check_parts(config)
    if config.get("decoding_choice"):
        raise SettingError("decoding_choice: several tasks have a decoding each, none is chosen")
    if config.trainer.get("overfit_batches"):
        raise SettingError(
            "trainer.overfit_batches (debug=overfit): a training of several tasks draws a task for "
            "each step and cannot repeat batches; overfit one task alone"
        )
    given, config = config, only_used_groups(absolute_paths(config))
    output = Path(config.output_dir)
    resume, start = where_from(config, output)
    loggers = build_loggers(config)
    optimizer = instantiate(config.optimizer)
    lightning.seed_everything(config.seed, workers=True, verbose=False)
    data = instantiate(config.data)
    if not isinstance(data, MultiTaskDataModule):
        raise SettingError("a training of several tasks needs several data sets: data.sets")
    data.prepare_data()
    data.prepare()
    kept = kept_settings(config, data)
    module = _build(kept, data, optimizer=optimizer, seed=config.seed)
    if resume:
        log.info("resuming from %s", resume)
        done = check_resumes(resume, module, kept, config.trainer.max_epochs)
    elif start:
        log.info("starting from %s: the weights of %s", start, start_from(module, start))
    best = {
        task: BestCheckpoint(str(output / "checkpoints" / task), f"val/{task}/mAP")
        for task in data.sets
    }
    others = [one for one in build_callbacks(config) if not isinstance(one, BestCheckpoint)]
    pages = [one for one in others if hasattr(one, "on_results")]  # they show one task
    callbacks = [*(one for one in others if one not in pages), *best.values(), Interruption()]
    trainer: lightning.Trainer = instantiate(config.trainer, callbacks=callbacks, logger=loggers)
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
        parts = {
            task: _test(task, config, kept, module, own, best[task], others)
            for task, own in data.sets.items()
        }
        metrics = {task: test_metrics(part) for task, part in parts.items()}
        mean = {
            name: sum(of[name] for of in metrics.values()) / len(metrics)
            for name in next(iter(metrics.values()))
        }
        if trainer.is_global_zero and not config.results:
            finished()
        elif trainer.is_global_zero:
            _write_means(output, mean, metrics)
            finished()
            log.info("took %.0f s", time.perf_counter() - began)
            for task, own in data.sets.items():
                if trainer.limit_test_batches == 1 and own.missing == "error":
                    tell_incomplete(own, "test", parts[task].detections)
    return mean


def _write_means(
    output: Path, mean: dict[str, float], metrics: dict[str, dict[str, float]]
) -> None:
    """metrics.json of the run, and a table of the tasks."""
    headline, *tasks = (
        {name: json_number(value) for name, value in of.items()} for of in (mean, *metrics.values())
    )
    content = headline | {"tasks": dict(zip(metrics, tasks, strict=True))}
    write_json(output / "metrics.json", content)
    show(metrics_table(metrics | {"mean": mean}, "test mAP of each task"))
    log.info("%s: a folder for each task: %s", output, ", ".join(metrics))


def _build(kept: dict[str, Any], data: MultiTaskDataModule, **settings: Any) -> MultiTaskModule:
    parts = OmegaConf.create({key: kept[key] for key in MODEL_KEYS if key in kept})
    detector = instantiate(
        parts.model,
        visual_channels=data.visual_channels,
        audio_channels=data.audio_channels,
        num_classes=data.num_classes,
    )
    return MultiTaskModule(detector, data.class_names, config=kept, **settings)


def part_of(task: str, kept: Mapping[str, Any], class_names: list[str]) -> dict[str, Any]:
    """The configuration of one task alone: its settings of the model, its data set, its classes."""
    model = {**kept["model"], "tasks": {task: kept["model"]["tasks"][task]}}
    data = {**kept["data"]["sets"][task], "task": task}
    return {**kept, "model": model, "data": data, "class_names": class_names,
            "task": "loco.runs.train.train"}  # fmt: skip


def _test(
    task: str,
    config: DictConfig,
    kept: dict[str, Any],
    trained: MultiTaskModule,
    own: AVDataModule,
    best: BestCheckpoint,
    others: list[Callback],
) -> LocalizationModule:
    """Cut a task's part out of its best checkpoint, test it, and leave it in a folder."""
    of_task = Path(config.output_dir) / task
    tested = load_tested(trained, [best, *others])
    settings = part_of(task, kept, own.class_names) | {"output_dir": str(of_task)}
    if own.extraction is not None:
        settings["extraction"] = own.extraction.without_videos()
    module = build_module(settings)
    weights = trained.state_dict()
    module.load_state_dict({name: weights[name] for name in module.state_dict()})
    trainer: lightning.Trainer = instantiate(config.trainer, callbacks=[], logger=False)
    trainer.test(module, datamodule=own, verbose=False)
    metrics = test_metrics(module)
    if trainer.is_global_zero:
        test = tested_videos(own, module)
        if config.results:
            _write_part(of_task, settings, module, Path(best.best_model_path))
            write_results(of_task, module, metrics, test)
        show_beside_baselines(own, test, {"this run": metrics}, f"{task}: test mAP", tested)
        if config.results:
            call_on_results(others, of_task, module, own)
    return module


def _write_part(
    folder: Path, settings: dict[str, Any], module: LocalizationModule, best: Path
) -> None:
    """config.yaml and checkpoints/best.ckpt, which is read like any other run's."""
    write_config(folder, settings)
    if not best.is_file():
        return
    whole = load_checkpoint(best)
    part = {key: whole[key] for key in ("epoch", "global_step", "pytorch-lightning_version")}
    if "averaging_state" in whole:
        part["averaging_state"] = {}
    part |= {"hyper_parameters": settings, "state_dict": module.state_dict()}
    AtomicCheckpointIO().save_checkpoint(part, folder / "checkpoints" / "best.ckpt")
