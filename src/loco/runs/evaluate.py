"""The test of checkpoints once more, on their own data or on other data of the same classes."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import lightning
from hydra.utils import instantiate
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import DictConfig, OmegaConf

from loco.data.annotations import Video
from loco.data.datamodule import AVDataModule
from loco.errors import IncompleteError, SettingError
from loco.files import write_text
from loco.runs.callbacks import build_callbacks, call_on_results
from loco.runs.checkpoints import (
    check_fits,
    describe_checkpoint,
    load_checkpoint,
    restore_module,
)
from loco.runs.command.named_files import checkpoint_paths, find_checkpoint
from loco.runs.entry import naming_settings
from loco.runs.folders import refuse_training
from loco.runs.paired import same_events
from loco.runs.provenance import noting
from loco.runs.results import (
    metrics_table,
    show,
    show_beside_baselines,
    tell_incomplete,
    test_metrics,
    tested_videos,
    write_results,
)
from loco.runs.settings import absolute_paths, check_numbers, names_in, reading_data
from loco.runs.text import one_line
from loco.runs.trusted import build_trusted
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)


class Tested(NamedTuple):
    """What the test of a checkpoint found."""

    metrics: dict[str, float]
    data: AVDataModule
    videos: list[Video]
    checkpoint: str
    """In words."""


@naming_settings()
def evaluate(config: DictConfig) -> dict[str, float]:
    """Repeat the test of a checkpoint, or of several, which know their model and their data.

    Of several, each gets a folder in the run's, and one table has a row each.

    Returns:
        the mAPs; of several, those of the last.

    Raises:
        IncompleteError: at the end, where a test video turned out to be unusable.
    """
    check_numbers(config)
    given = checkpoint_paths(config.ckpt_path)
    files = [find_checkpoint(path, best=True) for path in given]
    if not files:
        raise SettingError("ckpt_path=[]: expected a checkpoint or a run's folder")
    output = Path(config.output_dir)
    names = _names(files)
    several = len(files) > 1
    for name in names:
        refuse_training(output / name if several else output)
    found: dict[str, Tested] = {}
    incomplete = []
    for name, file in zip(names, files, strict=True):
        try:
            _test(config, file, output / name if several else output, found, name)
        except IncompleteError as error:
            incomplete.append(f"{name}: {error}" if several else str(error))
    if several and found:
        _show_together(found)
    if incomplete:
        raise IncompleteError("\n".join(incomplete))
    return found[names[-1]].metrics if found else {}


def _names(files: Sequence[Path]) -> list[str]:
    """A name for each checkpoint, no two the same: of its run's folder, else its own."""
    names: list[str] = []
    for file in files:
        folder = file.parent.parent if file.parent.name == "checkpoints" else None
        name = one_line(file.stem if folder is None else folder.absolute().name)
        numbered = (f"{name}-{number}" for number in itertools.count(2))
        names.append(next(n for n in itertools.chain([name], numbered) if n not in names))
    return names


@rank_zero_only
def _show_together(found: Mapping[str, Tested]) -> None:
    """One table of several tests; of other videos they are not compared with the baselines."""
    first = next(iter(found.values()))
    rows = {name: of.metrics for name, of in found.items()}
    told = "; ".join(f"{name}: {of.checkpoint}" for name, of in found.items())
    title = f"{first.data.test_split} mAP"
    if all(_same_test(of, first) for of in found.values()):
        show_beside_baselines(first.data, first.videos, rows, title, told)
        return
    log.warning("the checkpoints were not tested on the same videos and events")
    show(metrics_table(rows, title, tested=told))


def _same_test(one: Tested, other: Tested) -> bool:
    """Whether the same events were to be found in the same videos."""
    videos = list(zip(one.videos, other.videos, strict=False))
    return (
        len(one.videos) == len(other.videos)
        and one.data.class_names == other.data.class_names
        and all(a.id == b.id and same_events(a.events, b.events) for a, b in videos)
    )


def _tell_precision(config: DictConfig, module: LocalizationModule) -> None:
    """Say where a test is done in another precision than the training's own."""
    then = (module.hparams.get("trainer") or {}).get("precision", "32-true")
    if (now := config.trainer.get("precision", "32-true")) != then:
        log.warning(
            "tested in %s; the training's own test was in %s, which trainer.precision=%s repeats",
            now, then, then,
        )  # fmt: skip


def _test(
    config: DictConfig, file: Path, output: Path, found: dict[str, Tested], name: str
) -> None:
    """Test one checkpoint, leave its results in a folder, and note what was found."""
    log.info("evaluating %s", file)
    trust = names_in(config.trust)
    checkpoint = load_checkpoint(file)
    module = restore_module(checkpoint, file, trust)
    tested = describe_checkpoint(file, checkpoint)
    config = absolute_paths(config)
    config.output_dir = str(output)  # callbacks may name it
    settings = reading_data(module.hparams["data"], config.data)
    data: AVDataModule = build_trusted(settings, file, trust)
    data.known_classes = module.class_names  # not a setting: `${x}` and `???` are names, too
    data.setup("test")
    check_fits(file, module, data)
    callbacks = build_callbacks(config)
    trainer: lightning.Trainer = instantiate(config.trainer, logger=False, callbacks=callbacks)
    _tell_precision(config, module)
    with noting(output, trainer, data, ("test",), checkpoint=file) as finished:
        trainer.test(module, datamodule=data, verbose=False)
        metrics = test_metrics(module)
        test = tested_videos(data, module)
        found[name] = Tested(metrics, data, test, tested)
        if trainer.is_global_zero:
            output.mkdir(parents=True, exist_ok=True)
            evaluated = {k: v for k, v in module.hparams.items() if k != "class_names"} | {
                "data": settings, "output_dir": str(output), "task": "loco.runs.evaluate.evaluate",
                "trainer": config.trainer,
            }  # fmt: skip
            write_text(output / "config.yaml", OmegaConf.to_yaml(evaluated, resolve=True))
            write_results(output, module, metrics, test)
            title = f"{data.test_split} mAP"
            show_beside_baselines(data, test, {file.name: metrics}, title, tested)
            log.info("%s: metrics.json, predictions.json, config.yaml", output)
            finished()
            call_on_results(callbacks, output, module, data)
            if trainer.limit_test_batches == 1 and data.missing == "error":
                tell_incomplete(data, "test", module.detections)
