"""Configurations as plain values: to keep in a checkpoint, to compare, to use again."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import suppress
from inspect import signature
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from loco.errors import LocoError, SettingError
from loco.files import read_yaml
from loco.runs.trusted import refuse_interpolations

# settings that may differ between a finished job and the one that would repeat it
INCIDENTAL = (
    "output_dir", "ckpt_path", "resume_sweep", "reuse", "logger", "csv_log", "report",
)  # fmt: skip
# of the callbacks, what shows or writes; the others, such as the average of the weights, matter
SHOWING = re.compile(r"callbacks\.((progress|summary|report|wandb)(\.|$)|\w+\.dirpath$)")
# groups that a model may take
MODEL_GROUPS = ("attention", "correspondence")
# where parts stood before 0.2.0
FORMER = re.compile(
    r"loco\.(models|losses|decoding|module|callbacks|optim|wandb_logging|cost"
    r"|data\.synthetic_\w+|data\.synthetic\.SyntheticConfig)\b"
)


NUMBERS: dict[str, tuple[type, float, float]] = {
    "seed": (int, 0, 2**32 - 1),
    "trainer.max_epochs": (int, -1, math.inf),
    "trainer.gradient_clip_val": (float, 0, math.inf),
    "trainer.num_nodes": (int, 1, math.inf),
    "trainer.accumulate_grad_batches": (int, 1, math.inf),
    "trainer.overfit_batches": (float, 0, math.inf),
    "data.num_workers": (int, 0, math.inf),
    "data.batch_size": (int, 1, math.inf),
    "data.max_length": (int, 1, 10**6),
    "optimizer.lr": (float, 0, math.inf),
    "optimizer.weight_decay": (float, 0, math.inf),
    "optimizer.warmup_epochs": (float, 0, math.inf),
    "correspondence.weight": (float, 0, math.inf),
    "callbacks.ema.decay": (float, 0, 1),
    "min_score": (float, 0, 1),
    "show": (int, 0, math.inf),
    "workers": (int, 1, math.inf),
}
"""Numbers that would otherwise fail late, or not at all: type, least and greatest value."""


SWITCHES = ("recursive", "report")
"""Values of the commands that are true or false; those of parts are known by their constructors."""

PRECISIONS = ("32", "32-true", "bf16-mixed", "16-mixed")
"""What a training can be done in; half precision throughout would round times and scores."""


def check_numbers(config: DictConfig) -> None:
    """Refuse values that are no such numbers or switches, before anything is read or made.

    Raises:
        SettingError: names all of them.
    """
    wrong = []
    for key, (kind, low, high) in NUMBERS.items():
        value = OmegaConf.select(config, key, default=None, throw_on_missing=False)
        if value is None:
            continue
        allowed = (int,) if kind is int else (int, float)
        good = isinstance(value, allowed) and not isinstance(value, bool) and low <= value <= high
        if not good or math.isinf(value):
            number = "a whole number" if kind is int else "a number"
            limits = f"from {low:g}" if math.isinf(high) else f"in [{low:g}, {high:g}]"
            wrong.append(f"{key}={value}: expected {number} {limits}")
    if OmegaConf.select(config, "trainer.limit_test_batches") == 0:
        wrong.append("trainer.limit_test_batches=0: expected 1 or more, or a part, as a run tests")
    wrong += [f"{key}={value}: expected true or false" for key, value in _wrong_switches(config)]
    wrong += _wrong_precision(config)
    if wrong:
        raise SettingError("; ".join(wrong))


def only_used_groups(config: DictConfig) -> DictConfig:
    """The same config without the groups that its model has no place for.

    A default one is left out, so that nothing that a run leaves speaks of it; one that was chosen
    is refused instead of ignored. Models that start from `model/base.yaml` have none by default.

    Raises:
        SettingError: names the group.
    """
    model = OmegaConf.to_container(config.model, resolve=False)
    assert isinstance(model, dict)
    unused = [
        group
        for group in MODEL_GROUPS
        if group in config and group not in model and f"${{{group}" not in str(model)
    ]
    for group in unused:
        if word := _choice(group):
            name = str(model.get("_target_")).rpartition(".")[2]
            raise SettingError(
                f"{word}: {name} takes no {group}, so this would change nothing; leave it out"
            )
        if _sets_what_was_left_out(group):
            name = str(model.get("_target_")).rpartition(".")[2]
            raise SettingError(
                f"{name} takes no {group}, which a part or an experiment sets here, so this would "
                "change nothing; leave it out"
            )
    config = config.copy()
    with open_dict(config):
        for group in unused:
            del config[group]
    return config


def _choice(group: str) -> str:
    """The word of the command that chose a group, or a value of it; none if the default stands.

    Where there is no command, a config was composed by hand, and all of it is meant.
    """
    if not HydraConfig.initialized():
        return group
    words = OverridesParser.create().parse_overrides(list(HydraConfig.get().overrides.task))
    found = [str(w.input_line) for w in words if re.split(r"[.@]", w.key_or_group)[0] == group]
    return found[-1] if found else ""


def _sets_what_was_left_out(group: str) -> bool:
    """Whether values stand in a group although no option of it was chosen: `part=without_lcc`."""
    return HydraConfig.initialized() and HydraConfig.get().runtime.choices.get(group) is None


def _wrong_switches(config: DictConfig) -> Iterator[tuple[str, Any]]:
    """Key and value of what should be true or false, and which Python takes for true: `no`."""
    plain = OmegaConf.to_container(config, resolve=False)
    for key in dict.fromkeys([*SWITCHES, *_switches_of_parts(plain)]):
        value = OmegaConf.select(config, key, default=None, throw_on_missing=False)
        if value is not None and not isinstance(value, bool):
            yield key, value


def _switches_of_parts(plain: Any, key: str = "") -> Iterator[str]:
    """The keys that constructors take as `bool`."""
    if not isinstance(plain, dict):
        return
    for name, part in plain.items():
        yield from _switches_of_parts(part, f"{key}{name}.")
    try:
        target = resolve_name(plain["_target_"])
    except (KeyError, ImportError, AttributeError, TypeError, ValueError):
        return  # no part, or one that there is not, which is told when it is built
    for base in getattr(target, "__mro__", (target,)):  # settings may be handed on to it
        with suppress(TypeError, ValueError):
            for name, parameter in signature(base).parameters.items():
                if name in plain and parameter.annotation in (bool, "bool"):
                    yield f"{key}{name}"


def _wrong_precision(config: DictConfig) -> list[str]:
    precision = str(OmegaConf.select(config, "trainer.precision") or "32-true")
    if precision not in PRECISIONS:
        return [f"trainer.precision={precision}: expected one of {', '.join(PRECISIONS[1:])}"]
    accelerator = str(OmegaConf.select(config, "trainer.accelerator") or "auto")
    if precision == "16-mixed" and not _finds_more_than_a_cpu(accelerator):
        return ["trainer.precision=16-mixed: needs a GPU; a CPU can do bf16-mixed and 32-true"]
    return []


def _finds_more_than_a_cpu(name: str) -> bool:
    """Whether a trainer with `accelerator=name` does."""
    if name != "auto":
        return name != "cpu"
    import torch

    return torch.accelerator.is_available()


def refuse_former(config: Any, source: Path, error: type[LocoError] = LocoError) -> None:
    """Refuse a configuration that names parts where an earlier version had them.

    Args:
        config: plain values, or a config.
        source: the file or folder that it comes from.
        error: what is raised.
    """
    for key, value in flat(config, resolve=False).items():
        if key.endswith("_target_") and FORMER.match(str(value)):
            raise error(
                f"{source}: written by a version of loco before 0.2.0, which knew {value} by that "
                "name; use that version, or train again"
            )


def read_config(path: Path) -> DictConfig:
    """The config.yaml of a run, which was written resolved.

    Raises:
        LocoError: it cannot be read, or holds interpolations, which may do things when resolved.
    """
    config = read_yaml(path)
    try:
        plain = OmegaConf.to_container(config)
    except (ValueError, OmegaConfBaseException) as error:
        raise LocoError(f"{path}: expected a run's configuration: {error}") from None
    if not isinstance(config, DictConfig):
        raise LocoError(f"{path}: expected a run's configuration")
    for group in ("data", "model", "trainer"):
        if not isinstance(config.get(group, {}), DictConfig | dict | None):
            raise LocoError(f"{path}: {group}: expected settings, got {config[group]!r:.40}")
    refuse_interpolations(plain, path)
    return config


def plain_config(config: DictConfig) -> dict[str, Any]:
    """The resolved config as plain values, which a checkpoint can hold."""
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


def names_in(value: Any) -> list[str]:
    """The names that a setting holds: of a list, of one alone, or none."""
    if value is None:
        return []
    return [value] if isinstance(value, str) else [str(name) for name in value]


def absolute_paths(config: DictConfig) -> DictConfig:
    """The same config with absolute data paths, so that what is kept of it works from anywhere.

    What was given stands in the run's `.hydra/config.yaml`.
    """
    config = config.copy()
    sets = OmegaConf.select(config, "data.sets", default=None) or ()
    folders = ["data", *(f"data.sets.{name}" for name in sets)]
    keys = [f"{folder}.{name}" for folder in folders for name in ("root", "annotations")]
    for key in (*keys, "init_from"):
        given = OmegaConf.select(config, key, default=None, throw_on_missing=False)
        if given is not None and str(given).strip():
            OmegaConf.update(config, key, str(Path(str(given)).absolute()))
    return config


def reading_data(kept: dict[str, Any], overrides: DictConfig | None = None) -> DictConfig:
    """A run's data settings for reading alone: nothing is ever made.

    Args:
        kept: what a checkpoint or a run's folder has.
        overrides: what the user set differently; null is as it was.
    """
    overrides = OmegaConf.create({}) if overrides is None else overrides
    settings = merged_data(kept, overrides)
    if "generator" in settings and settings.get("generate", True):
        # its annotations were what to make features for; what was made has its own
        settings.generate = False
        settings.annotations = overrides.get("annotations")
    return settings


def merged_data(kept: dict[str, Any], overrides: DictConfig) -> DictConfig:
    """A checkpoint's data settings with what the user set differently (null: as they were)."""
    given = {key: value for key, value in overrides.items() if value is not None}
    merged = OmegaConf.merge(OmegaConf.create(kept), given)
    assert isinstance(merged, DictConfig)
    return merged


def flat(config: Any, resolve: bool = True) -> dict[str, Any]:
    """A config's values by dotted key, without those that do not matter to the result."""

    def walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for name, part in value.items():
                yield from walk(part, f"{key}.{name}" if key else str(name))
        else:
            yield key, value

    # plain values stay as they are: a class may be called `${x}`
    plain = (
        OmegaConf.to_container(config, resolve=resolve) if OmegaConf.is_config(config) else config
    )
    assert isinstance(plain, dict)
    kept = {k: v for k, v in plain.items() if k not in INCIDENTAL}
    return {key: value for key, value in walk(kept, "") if not SHOWING.match(key)}
