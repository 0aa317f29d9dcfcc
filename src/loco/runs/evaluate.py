"""The test of a checkpoint once more, on its own data or on other data of the same classes."""

from __future__ import annotations

import logging
from pathlib import Path

import lightning
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from loco.data.datamodule import AVDataModule
from loco.files import write_text
from loco.runs.callbacks import build_callbacks, call_on_results
from loco.runs.checkpoints import (
    check_fits,
    describe_checkpoint,
    find_checkpoint,
    load_checkpoint,
    restore_module,
)
from loco.runs.entry import naming_settings
from loco.runs.provenance import noting
from loco.runs.results import (
    show_beside_baselines,
    tell_incomplete,
    test_metrics,
    tested_videos,
    write_results,
)
from loco.runs.settings import absolute_paths, check_numbers, reading_data
from loco.runs.trusted import build_trusted

log = logging.getLogger(__name__)


@naming_settings()
def evaluate(config: DictConfig) -> dict[str, float]:
    """Repeat the test of a checkpoint, which knows its model and its data.

    Raises:
        IncompleteError: at the end, where a test video turned out to be unusable.
    """
    check_numbers(config)
    file = find_checkpoint(config.ckpt_path, best=True)
    log.info("evaluating %s", file)
    trust = list(config.trust or ())
    checkpoint = load_checkpoint(file)
    module = restore_module(checkpoint, file, trust)
    tested = describe_checkpoint(file, checkpoint)
    config = absolute_paths(config)
    settings = reading_data(module.hparams["data"], config.data)
    data: AVDataModule = build_trusted(settings, file, trust)
    data.known_classes = module.class_names  # not a setting: `${x}` and `???` are names, too
    data.setup("test")
    check_fits(file, module, data)
    callbacks = build_callbacks(config)
    trainer: lightning.Trainer = instantiate(config.trainer, logger=False, callbacks=callbacks)
    output = Path(config.output_dir)
    with noting(output, trainer, data, ("test",), checkpoint=file) as finished:
        trainer.test(module, datamodule=data, verbose=False)
        metrics = test_metrics(module)
        if trainer.is_global_zero:
            test = tested_videos(data, module)
            output.mkdir(parents=True, exist_ok=True)
            evaluated = {k: v for k, v in module.hparams.items() if k != "class_names"} | {
                "data": settings, "output_dir": str(output), "task": "loco.runs.evaluate.evaluate",
            }  # fmt: skip
            write_text(output / "config.yaml", OmegaConf.to_yaml(evaluated, resolve=True))
            write_results(output, module, metrics, test)
            title = f"{data.test_split} mAP"
            show_beside_baselines(data, test, metrics, file.name, title, tested)
            log.info("%s: metrics.json, predictions.json, config.yaml", output)
            finished()
            call_on_results(callbacks, output, module, data)
            if trainer.limit_test_batches == 1 and data.missing == "error":
                tell_incomplete(data, "test", module.detections)
    return metrics
