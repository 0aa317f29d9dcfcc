"""What became of the jobs of a sweep, read from their folders."""

from __future__ import annotations

import hashlib
import json
import logging
import sys
from pathlib import Path
from typing import Any, Literal

from omegaconf import MissingMandatoryValue, OmegaConf

from loco.errors import LocoError
from loco.files import read_json, read_yaml
from loco.runs.folders import UNNAMED, split_override
from loco.runs.settings import absolute_paths, flat, read_config

log = logging.getLogger(__name__)

RESULTS = ("metrics.json", "cost.json")
FAILED = "failed.txt"
PROVENANCE = "provenance.json"
NOT_NOTED = "not noted"
Status = Literal["finished", "failed", "unfinished"]


def status(folder: Path) -> Status:
    """What became of a job, by the files in its folder.

    One that failed may have results: those of a test that could not use some videos.
    """
    if (folder / FAILED).is_file():
        return "failed"
    return "finished" if any((folder / name).is_file() for name in RESULTS) else "unfinished"


def job_folders(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs, in the order of the sweep."""
    found = [note.parent.parent for note in sweep.glob("*/.hydra/overrides.yaml")]
    return sorted(found, key=lambda folder: (_number(folder), folder.name))


def find_twin(sweeps: Path, config: Any) -> Path | None:
    """A finished job, anywhere below a folder, of the same configuration; None if there is none.

    One that went on with other settings than it began with is none.

    Raises:
        LocoError: there is no such folder.
    """
    if not sweeps.is_dir():
        raise LocoError(f"reuse={sweeps}: expected a folder of sweeps, there is none")
    wanted = flat(absolute_paths(config))
    for name in RESULTS:
        for result in sorted(sweeps.rglob(name)):
            noted = result.with_name("config.yaml")
            if not noted.is_file() or status(result.parent) != "finished":
                continue
            try:
                same = flat(absolute_paths(read_config(noted))) == wanted
                if same and len(settings_in_turn(result.parent)) <= 1:
                    return result.parent
                if same:
                    log.info(
                        "%s: not reused; it was, or may have been, resumed with other settings",
                        result.parent,
                    )
            except LocoError as error:
                log.warning("not reused: %s", error)
    return None


def read_metrics(path: Path) -> dict[str, Any]:
    """The content of a metrics.json or cost.json.

    Raises:
        LocoError: it cannot be read, or an mAP in it is no number and not null.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise LocoError(f"{path}: expected numbers by name, got {str(content)[:40]}")
    for name, value in content.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if name.startswith("mAP") and not (number or value is None):
            raise LocoError(f"{path}: {name}: expected a number or null, got {str(value)[:40]}")
        if name in ("per_class", "diagnosis") and not isinstance(value, dict):
            raise LocoError(f"{path}: {name}: expected an object, got {str(value)[:40]}")
    return content


def settings_hash(config: Any) -> str:
    """Stands for all settings that matter to a training, but its seed and where its data lies."""
    settings = {k: v for k, v in flat(config, resolve=False).items() if k not in (*UNNAMED, "seed")}
    text = json.dumps(settings, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def starts(folder: Path) -> list[dict[str, Any]]:
    """All starts that a run's folder notes, none where it has no such file or a damaged one."""
    try:
        found = read_json(folder / PROVENANCE)["starts"]
    except (LocoError, KeyError, TypeError):
        return []
    return [start for start in found if isinstance(start, dict)] if isinstance(found, list) else []


def settings_in_turn(folder: Path) -> list[str]:
    """The settings that a run was trained with, by `settings_hash`, the first ones first.

    More than one where it was resumed with others; of a start that did not note them `NOT_NOTED`
    and its number.
    """
    noted = starts(folder)
    fresh = [i for i, start in enumerate(noted) if "resumed_from" not in start]
    trained = noted[fresh[-1] if fresh else 0 :]
    hashes = (str(start.get("settings", f"{NOT_NOTED} {i}")) for i, start in enumerate(trained))
    return list(dict.fromkeys(hashes))


def failure(folder: Path) -> str:
    """Why a job failed, in a line; nothing if it did not."""
    note = folder / FAILED
    return note.read_text(encoding="utf-8").partition("\n")[0] if note.is_file() else ""


def _number(folder: Path) -> int:
    try:
        return int(read_yaml(folder / ".hydra" / "hydra.yaml").hydra.job.num)
    except (LocoError, AttributeError, TypeError, ValueError, MissingMandatoryValue):
        return sys.maxsize  # a single run has none


def overrides_of(folder: Path) -> dict[str, str]:
    """The overrides of a job, by key."""
    texts = OmegaConf.to_container(read_yaml(folder / ".hydra" / "overrides.yaml"))
    return dict(split_override(str(text)) for text in texts or ())
