"""What a finished folder of synthetic data says of itself: its settings, and what was made."""

from __future__ import annotations

import hashlib
import json
import logging
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from loco.data.features import FeatureLayout
from loco.data.synthetic.config import SyntheticConfig
from loco.errors import AnnotationError, LocoError
from loco.files import read_json

log = logging.getLogger(__name__)

FORMAT = 2  # raised whenever the same settings give other bytes


def settings_of(
    layout: FeatureLayout,
    config: SyntheticConfig,
    annotations: Path | str | None,
    max_videos: int | None,
) -> dict[str, Any]:
    """All that the bytes depend on, as it reads back from JSON."""
    digest = None
    if annotations is not None:
        try:
            digest = hashlib.sha256(Path(annotations).read_bytes()).hexdigest()
        except OSError as error:
            raise AnnotationError(f"{annotations}: cannot be read ({error.strerror})") from error
    settings = {
        "format": FORMAT,
        "config": asdict(config),
        "layout": {
            "visual": list(layout.visual),
            "audio": list(layout.audio),
            "fps": layout.grid.fps,
            "window": layout.grid.window,
            "stride": layout.grid.stride,
        },
        "annotations_sha256": digest,
        "max_videos": max_videos,
    }
    return json.loads(json.dumps(settings))


def whatever_stands(root: Path, layout: FeatureLayout) -> dict[str, Any] | None:
    """What was made in a finished folder of this layout, with whatever settings; None if none."""
    default = settings_of(layout, SyntheticConfig(), None, None)
    try:
        record = read_json(root / "synthetic.json")
        found, made = dict(record["settings"]), dict(record["made"])
    except (LocoError, ValueError, KeyError, TypeError):
        return None
    if any(found.get(name) != default[name] for name in ("format", "layout")):
        return None
    if changed := ", ".join(_differences(default, found)):
        log.info("%s stands there with other settings than the defaults: %s", root, changed)
    return made


def finished(root: Path, settings: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """What was made in a finished folder of these settings; None where there is none yet.

    Raises:
        LocoError: `root` holds something else, which may not be replaced.
    """
    if root.is_dir() and not any(root.iterdir()):
        return None
    try:
        record = read_json(root / "synthetic.json")
        found, made = dict(record["settings"]), dict(record["made"])
    except (LocoError, ValueError, KeyError, TypeError):
        if root.exists():
            raise LocoError(
                f"{root} exists and is no synthetic data: choose another root"
            ) from None
        return None
    if found == settings:
        return made
    if overwrite:
        return None
    changed = ", ".join(_differences(found, settings))
    raise LocoError(
        f"{root} was made with other settings ({changed}); {_repair(found, settings)}"
        "choose another data.root, or make it anew with `loco make-synthetic --overwrite` and the "
        "same settings"
    )


def _repair(found: Mapping[str, Any], settings: Mapping[str, Any]) -> str:
    """The overrides that take what stands there; nothing where more differs than the generator."""
    if any(found.get(name) != value for name, value in settings.items() if name != "config"):
        return ""
    words = [
        shlex.quote(f"data.generator.{name}={json.dumps(value, separators=(',', ':'))}")
        for name, value in found["config"].items()
        if value != settings["config"].get(name)
    ]
    return f"take it with {' '.join(words)}, "


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[str]:
    """`name: old → new` for each setting that differs."""
    for name in sorted({*old, *new}):
        before, after = old.get(name), new.get(name)
        if isinstance(before, dict) and isinstance(after, dict):
            yield from _differences(before, after)
        elif before != after:
            yield f"{name}: {before} → {after}"
