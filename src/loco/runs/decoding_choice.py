"""What of a decoding the validation split chooses, once a training is over and before its test."""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import nn

from loco.data.datamodule import AVDataModule
from loco.errors import SettingError
from loco.evaluation.metrics import DetectionMAP
from loco.files import write_text
from loco.runs.checkpoints import load_checkpoint
from loco.structures import Events
from loco.training.callbacks import BestCheckpoint
from loco.training.checkpoint_io import AtomicCheckpointIO
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

FILE = "decoding.json"


def check_choice(
    choice: Mapping[str, Sequence[float]], detector: nn.Module, trainer: lightning.Trainer
) -> None:
    """Refuse what could not be chosen, before a training begins.

    Raises:
        SettingError: names the setting.
    """
    decoding = getattr(detector, "decoding", None)
    if decoding is None or not is_dataclass(decoding):
        raise SettingError(f"decoding_choice: {type(detector).__name__} has no decoding to set")
    if trainer.world_size > 1:
        raise SettingError("decoding_choice: works in one process, not in several")
    callbacks: list[Any] = trainer.callbacks  # type: ignore[attr-defined]
    if not any(isinstance(callback, BestCheckpoint) for callback in callbacks):
        raise SettingError("decoding_choice: is kept in best.ckpt, which callbacks.best leaves out")
    known = {field.name for field in fields(decoding)}
    for name, values in choice.items():
        if name not in known:
            kind = type(decoding).__name__
            raise SettingError(f"decoding_choice.{name}: {kind} has no such setting")
        try:
            for value in values:
                replace(decoding, **{name: value})  # type: ignore[type-var]
        except (TypeError, ValueError) as error:
            raise SettingError(f"decoding_choice.{name}: {error}") from None


@torch.no_grad()
def choose_decoding(
    module: LocalizationModule,
    data: AVDataModule,
    choice: Mapping[str, Sequence[float]],
    output: Path,
    trainer: lightning.Trainer,
) -> str:
    """Give a trained detector the decoding that has the best validation mAP; say which.

    Every combination of the values is tried on what the net says once of the validation videos,
    after the settings that it has, which stay where nothing is better. The choice, and the mAP of
    each, stands in decoding.json; best.ckpt keeps it, so that whoever evaluates that checkpoint or
    predicts with it has it, too.

    Args:
        module: with the weights that are to be tested.
        data: whose validation split chooses; the test split is not touched.
        choice: values by the name of a setting.
        output: the run's folder.
        trainer: on whose device, and in whose precision, the net is asked.
    """
    device = trainer.strategy.root_device
    module.to(device)  # a training leaves it on the CPU
    detector: Any = module.detector.eval()
    given = detector.decoding
    recorder = _Recorder(given)
    detector.decoding = recorder
    truths = []
    try:
        for batch in data.val_dataloader():
            if len(batch):
                with trainer.precision_plugin.forward_context():
                    detector.detect(batch.to(device))
                truths.append((batch.events, batch.indices))
    finally:
        detector.decoding = given

    tried: list[dict[str, float]] = []
    named = {name: getattr(given, name) for name in choice}
    settings = [
        named,
        *(dict(zip(choice, v, strict=True)) for v in itertools.product(*choice.values())),
    ]
    for values in settings:
        metric = DetectionMAP(len(module.class_names))
        for (arguments, keywords), (events, indices) in zip(recorder.calls, truths, strict=True):
            found = replace(given, **values)(*arguments, **keywords)
            metric.update([one.to("cpu") for one in found], events, indices)
        tried.append({**values, "val/mAP": float(metric.compute()["mAP"])})
    best = max(range(len(tried)), key=lambda i: (tried[i]["val/mAP"], -i))
    chosen = settings[best]
    detector.decoding = replace(given, **chosen)
    write_text(output / FILE, json.dumps({"chosen": chosen, "tried": tried}, indent=1) + "\n")
    _keep(output / "checkpoints" / "best.ckpt", detector.decoding, chosen)
    shown = ", ".join(f"{name} {value:g}" for name, value in chosen.items())
    gain = 100 * (tried[best]["val/mAP"] - tried[0]["val/mAP"])
    log.info("decoding: %s chosen on validation (mAP %+.2f there)", shown, gain)
    return f"; decoding with {shown}, chosen on validation"


def _keep(file: Path, decoding: Any, chosen: Mapping[str, float]) -> None:
    """Let a checkpoint's model have what was chosen."""
    if not file.is_file():
        log.warning("%s: is not there, so that no checkpoint keeps the chosen decoding", file)
        return
    checkpoint = load_checkpoint(file)
    model = checkpoint["hyper_parameters"]["model"]
    kind = type(decoding)  # of a model whose settings leave it to the default
    whole = {"_target_": f"{kind.__module__}.{kind.__qualname__}", **asdict(decoding)}
    model["decoding"] = {**(model.get("decoding") or whole), **chosen}
    AtomicCheckpointIO().save_checkpoint(checkpoint, file)


class _Recorder:
    """Decodes as another one does, and notes what of."""

    def __init__(self, decoding: Any) -> None:
        self.decoding = decoding
        self.calls: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def __call__(self, *arguments: Any, **keywords: Any) -> list[Events]:
        self.calls.append((arguments, keywords))
        found: list[Events] = self.decoding(*arguments, **keywords)
        return found
