"""Building parts that a checkpoint or a run's folder names: files that may be a stranger's.

A configuration names classes to build. One's own, on the command line and in one's own folders, may
name anything; one that comes with a checkpoint may name parts of this suite only, and nothing of
it is imported or resolved before that is checked.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.utils import instantiate
from omegaconf import OmegaConf

from loco.errors import LocoError

ROOMS = ("loco.nn.", "loco.detection.", "loco.detectors.", "loco.data.", "loco.video.")
"""Where the parts of a model and of its data live."""


def build_trusted(
    config: Any,
    source: str | Path,
    trust: Sequence[str] = (),
    error: type[LocoError] = LocoError,
    **settings: Any,
) -> Any:
    """Build what a configuration names, if all of it may be built.

    Args:
        config: plain values with `_target_`, nested ones alike.
        source: the file that it comes from, for messages.
        trust: packages or modules besides this suite whose classes may be built.
        error: what is raised.
        **settings: further arguments of the outermost part.

    Raises:
        LocoError: it names something else than a class of these; the name is told, and nothing was
            imported or built.
    """
    plain = OmegaConf.to_container(config) if OmegaConf.is_config(config) else config
    for key, value in _values(plain):
        if reason := _refusal(key, value, trust):
            raise error(
                f"{source}: {reason}; a checkpoint or a run's folder may name parts of loco only "
                "(trust=my_package, or --trust my_package, allows those of a package of your own)"
            )
    return instantiate(OmegaConf.create(plain), **settings)


def refuse_interpolations(plain: Any, source: str | Path) -> None:
    """Refuse `${…}` in values that were written resolved: resolving can do things.

    Raises:
        LocoError: names the value.
    """
    for key, value in _values(plain):
        if isinstance(value, str) and "${" in value:
            raise LocoError(f"{source}: {key}: expected a plain value, got {value!r:.80}")


def _values(plain: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is not a container, and every key, with its dotted path."""
    if isinstance(plain, dict):
        for name, part in plain.items():
            yield from _values(part, f"{key}.{name}" if key else str(name))
    elif isinstance(plain, list | tuple):
        for number, part in enumerate(plain):
            yield from _values(part, f"{key}.{number}")
        if not plain:
            yield key, None
    else:
        yield key, plain


def _refusal(key: str, value: Any, trust: Sequence[str]) -> str:
    """Why a value is refused; nothing if it is not."""
    if isinstance(value, str) and "${" in value:
        return f"{key}: expected a plain value, got {value!r:.80}"
    for name in key.split("."):
        if name == "_target_" and name == key.rpartition(".")[2]:
            return _refused_target(value, trust)
        if name.startswith("_") and name.endswith("_") and name != "_partial_":
            return f"{key}: {name} is not allowed"
    return ""


def _refused_target(target: Any, trust: Sequence[str]) -> str:
    refused = f"it names {target!r:.100}, which is not allowed"
    if not isinstance(target, str) or not all(part.isidentifier() for part in target.split(".")):
        return refused
    module, _, name = target.rpartition(".")
    own = any(module == package or module.startswith(f"{package}.") for package in trust)
    if not own and not f"{module}.".startswith(ROOMS):
        return refused
    try:
        if importlib.util.find_spec(module) is None:
            return f"it names {target}, which there is not"
        found = getattr(importlib.import_module(module), name, None)
    except ImportError as error:
        return f"it names {target}, which cannot be imported ({error})"
    if not inspect.isclass(found) or found.__module__ != module:
        return f"it names {target}, which is no class of {module}"
    return ""
