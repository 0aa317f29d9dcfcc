"""Checkpoints: loading them, and whether they fit what is asked of them."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.utils import instantiate
from lightning.pytorch.callbacks import Callback
from omegaconf import OmegaConf
from torch import Tensor

from loco.data.datamodule import AVDataModule
from loco.data.extraction import Extraction
from loco.errors import CheckpointError, listed
from loco.runs.command.named_files import find_checkpoint
from loco.runs.settings import flat, refuse_former
from loco.runs.trusted import build_trusted
from loco.training.callbacks import BestCheckpoint, LastCheckpoint, WeightEMA
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

NEEDED = ("model", "data", "visual_channels", "audio_channels", "class_names")
MODEL_KEYS = ("model", "attention", "correspondence")


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """The checkpoint at a path, its tensors on the CPU; only plain values are unpickled."""
    file = find_checkpoint(path)
    try:
        checkpoint = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes torch raise
        raise CheckpointError(
            f"{file}: no checkpoint, or a damaged or incomplete one: reading it failed "
            f"({type(error).__name__}). A run's folder has two, best.ckpt and last.ckpt"
        ) from error
    if not isinstance(checkpoint, dict) or not isinstance(checkpoint.get("hyper_parameters"), dict):
        raise CheckpointError(f"{file}: a checkpoint, but not one that this suite wrote")
    settings = checkpoint["hyper_parameters"]
    missing = [key for key in NEEDED if key not in settings]
    missing += [key for key in ("state_dict", "epoch", "global_step") if key not in checkpoint]
    if missing:
        raise CheckpointError(
            f"{file}: not a checkpoint that this suite wrote, or damaged: it has no "
            + ", ".join(missing)
        )
    weights = checkpoint["state_dict"]
    if not isinstance(weights, dict) or not all(isinstance(w, Tensor) for w in weights.values()):
        raise CheckpointError(f"{file}: damaged: its state_dict holds other things than weights")
    for name, value in weights.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise CheckpointError(f"{file}: its weights hold NaN or infinity ({name})")
    refuse_former(checkpoint["hyper_parameters"], file, CheckpointError)
    return checkpoint


def start_from(module: LocalizationModule, file: Path) -> str:
    """Begin with the weights of another training's checkpoint; says which.

    They must hold all that the module has, by name and shape; what they hold besides, such as the
    experts of other tasks, is left. What has the shape of another number of classes stays as it is
    initialised.

    Args:
        module: gets the weights.
        file: the checkpoint.

    Raises:
        CheckpointError: they lack something; names it.
    """
    checkpoint = load_checkpoint(file)
    given, own = checkpoint["state_dict"], module.state_dict()
    theirs, ours = checkpoint["hyper_parameters"]["class_names"], module.class_names
    lacking = [
        name for name, value in own.items()
        if name not in given or given[name].shape != value.shape
    ]  # fmt: skip
    of_classes = [
        name for name in lacking
        if isinstance(theirs, list) and _differs_in_classes(
            given.get(name), own[name], len(theirs), len(ours)
        )
    ]  # fmt: skip
    lacking = [name for name in lacking if name not in of_classes]
    if moved := _other_classes(theirs, ours):
        kept = (
            f"these begin anew: {listed(of_classes, 4)}" if of_classes else "its head is of those"
        )
        log.warning("init_from=%s: was trained on other classes (%s); %s", file, moved, kept)
    if lacking:
        raise CheckpointError(
            f"init_from={file}: its weights do not fit this model: {len(lacking)} of {len(own)} "
            f"are missing or of another shape, such as {lacking[0]}"
        )
    # of a task's classes: the tables that this training was given, not the other one's
    tables = {f"detector.{name}" for name in getattr(module.detector, "given_tables", ())}
    for name in sorted(tables):
        if not own[name].any():
            task = name.rpartition(".")[2]
            raise CheckpointError(f"model.tasks.{task}.text: expected a text table, there is none")
    anew = {*tables, *of_classes}
    module.load_state_dict({name: (own if name in anew else given)[name] for name in own})
    return describe_checkpoint(file, checkpoint)


def _other_classes(then: Any, now: Any) -> str:
    """How the classes of two trainings differ; nothing if they do not."""
    if then == now or not (isinstance(then, list) and isinstance(now, list)):
        return ""
    if len(then) != len(now):
        return f"{len(then)} → {len(now)} classes"
    first = next(i for i, pair in enumerate(zip(then, now, strict=True)) if pair[0] != pair[1])
    return f"id {first}: {then[first]!r} → {now[first]!r}"


def _differs_in_classes(given: Tensor | None, own: Tensor, then: int, now: int) -> bool:
    """Whether a weight is there, and has another shape for its number of classes alone."""
    if given is None or given.dim() != own.dim() or then == now:
        return False
    pairs = zip(given.shape, own.shape, strict=True)
    return all(a == b or a * now == b * then for a, b in pairs)


def build_module(config: dict[str, Any], **kwargs: Any) -> LocalizationModule:
    """A module from one's own config: parts, channels and class names."""
    parts = OmegaConf.create({key: config[key] for key in MODEL_KEYS if key in config})
    detector = instantiate(parts.model, **_sizes(config))
    return LocalizationModule(detector, config["class_names"], config=config, **kwargs)


def restore_module(
    checkpoint: Mapping[str, Any], file: Path, trust: Sequence[str] = ()
) -> LocalizationModule:
    """The trained module of a checkpoint, which may be a stranger's, in evaluation mode.

    Raises:
        CheckpointError: it names other things than parts of this suite and of `trust`, or its
            weights do not fit them.
    """
    config = checkpoint["hyper_parameters"]
    if isinstance(config["class_names"], dict):
        tasks = ", ".join(config["class_names"])
        raise CheckpointError(
            f"{file}: of a training of several tasks; each has a folder of its own in the run's, "
            f"with a checkpoint of its part ({tasks})"
        )
    detector = build_trusted(config["model"], file, trust, CheckpointError, **_sizes(config))
    module = LocalizationModule(detector, config["class_names"], config=config)
    try:
        module.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(f"{file}: its weights do not fit its model: {reason}") from None
    return module.eval()


def _sizes(config: dict[str, Any]) -> dict[str, int]:
    return {
        "visual_channels": config["visual_channels"],
        "audio_channels": config["audio_channels"],
        "num_classes": len(config["class_names"]),
    }


def load_module(path: str | Path, trust: Sequence[str] = ()) -> LocalizationModule:
    """The trained module in a checkpoint, or in a run's folder its best one.

    It is in evaluation mode and has the averaged weights.

    Args:
        path: of either.
        trust: packages besides this suite whose classes the checkpoint may name, for a detector of
            your own.

    Raises:
        CheckpointError: there is none, it is damaged, or it names parts that are not trusted.
    """
    file = find_checkpoint(path, best=True)
    return restore_module(load_checkpoint(file), file, trust)


def load_tested(
    module: LocalizationModule, callbacks: Sequence[Callback], resumed: Path | None = None
) -> str:
    """Load the weights that a finished training is tested with; says which, and why.

    The best checkpoint, else the last one, else the one that was resumed from, else what stands in
    the module. A checkpoint's are averaged ones where the training averages, and so are the
    module's by then.
    """
    best = next((c for c in callbacks if isinstance(c, BestCheckpoint)), None)
    last = next((c for c in callbacks if isinstance(c, LastCheckpoint)), None)
    reason = "no validation mAP to choose by"
    if best is None:
        reason = "callbacks.best is left out"
    elif best.best_model_path:
        if (file := Path(best.best_model_path)).is_file():
            score = "" if best.best_model_score is None else f"{100 * best.best_model_score:.2f}"
            return _loaded(module, file, f"the best validation mAP, {score}")
        reason = "best.ckpt is gone"
        log.warning("%s: gone since it was written; the last checkpoint is tested", file)
    if last is not None and last.best_model_path and Path(last.best_model_path).is_file():
        return _loaded(module, Path(last.best_model_path), reason)
    if resumed is not None and resumed.is_file():
        return _loaded(module, resumed, reason)
    averaged = any(isinstance(c, WeightEMA) for c in callbacks)
    return f"the {'averaged ' if averaged else ''}weights at the end ({reason}, none was saved)"


def _loaded(module: LocalizationModule, file: Path, reason: str) -> str:
    checkpoint = load_checkpoint(file)
    module.load_state_dict(checkpoint["state_dict"])
    return f"{describe_checkpoint(file, checkpoint)} ({reason})"


def describe_checkpoint(file: Path, checkpoint: Mapping[str, Any]) -> str:
    """A checkpoint in a few words: its file, its epoch, whether its weights are averages."""
    averaged = ", averaged weights" if "averaging_state" in checkpoint else ""
    return f"{file.name} of epoch {checkpoint['epoch'] + 1}{averaged}"


class Progress(NamedTuple):
    """How far a training had come when a checkpoint was written.

    Attributes:
        steps: of the optimiser.
        within_epoch: whether the epoch's means are logged by who goes on: it was within an epoch,
            or in the validation at its end.
    """

    steps: int
    within_epoch: bool


def check_resumes(
    file: Path, module: LocalizationModule, config: dict[str, Any], max_epochs: int | None = None
) -> Progress:
    """Refuse to go on with other weights than a checkpoint's; tell what else is different.

    Tells, too, where no epoch of `max_epochs` is left to be trained.

    Returns:
        how far the training had come.

    Raises:
        CheckpointError: the weights do not fit; names the settings that differ.
    """
    checkpoint = load_checkpoint(file)
    kept, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    then, now = (flat(settings) for settings in (kept, config))
    differing = {
        key: key if key == "class_names" else f"{key} {then.get(key)} → {now.get(key)}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key) and not key.startswith(("data.root", "data.num_workers"))
    }
    for key in differing:
        if re.match(r"model\.tasks\.\w+\.text$", key):
            raise CheckpointError(
                f"{file}: goes on with the text table that it has; another one ({differing[key]}) "
                "is for a training of its own: init_from="
            )
    if moved := _other_classes(kept["class_names"], config["class_names"]):
        raise CheckpointError(
            f"{file}: was trained on other classes ({moved}); a training of its own begins with "
            "these weights by init_from="
        )
    named = {part for name, _ in module.named_parameters() for part in name.split(".")}
    given = [(of.get("optimizer") or {}).get("lr_factors") or {} for of in (kept, config)]
    factors = [[name for name in of if name in named] for of in given]
    if factors[0] != factors[1]:
        raise CheckpointError(
            f"{file}: optimizer.lr_factors name other parameters than before or in another order "
            f"({listed(factors[0], 9)} → {listed(factors[1], 9)}), whose optimiser's state would "
            "not fit; their values may change"
        )
    shapes = {name: value.shape for name, value in module.state_dict().items()}
    if shapes != {name: value.shape for name, value in state.items()}:
        parts = (*MODEL_KEYS, "visual_channels", "audio_channels", "class_names")
        changed = [text for key, text in differing.items() if key.partition(".")[0] in parts]
        raise CheckpointError(
            f"{file}: cannot go on with another model; give the overrides of its run again "
            f"(it had → now: {', '.join(changed)})"
        )
    done = checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"]["processed"]
    if max_epochs is not None and 0 <= max_epochs <= done:
        log.warning(
            "%s: has trained for %d epochs, and trainer.max_epochs is %d: it is only tested again; "
            "a larger one goes on", file, done, max_epochs,
        )  # fmt: skip
    if differing:
        log.warning("going on with other settings than before: %s", ", ".join(differing.values()))
    return Progress(int(checkpoint["global_step"]), bool(checkpoint.get("epoch_sums")))


def check_fits(file: Path, module: LocalizationModule, data: AVDataModule) -> None:
    """Refuse data whose features or classes are not those that a checkpoint was trained on.

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
    kept = trained.get("extraction")
    if kept is not None and data.extraction is not None:
        then = Extraction.from_plain(kept, file)
        if then.identity != data.extraction.identity:
            raise CheckpointError(
                f"{file}: trained on features of {then.described}, but {data.root} holds those of "
                f"{data.extraction.described} (different: {then.differences(data.extraction)})"
            )
    elif kept is not None:
        log.warning("%s: nothing says whether its features are those of the training", data.root)
    if data.annotations is not None and data.class_names != module.class_names:
        raise CheckpointError(
            f"{file}: its {len(module.class_names)} classes are not the {data.num_classes} "
            f"of {data.annotations_path}"
        )
