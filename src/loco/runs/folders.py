"""Folders of runs and sweeps: named by what they hold, each used once.

Resolvers, used by the `hydra` section of the configs, stand for folders:

    ${new_folder:outputs/train/TIME}          one that nobody else has, also in the same second
    ${sweep_folder:multirun/train/TIME,…}     the same for a sweep, or the one that is resumed
    ${job_folder:SWEEP,OVERRIDES,RESUME}      a job's folder in it, named by its overrides
    ${runs_place:DEBUG}                       where trainings have theirs; those of debug= aside
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from loco.errors import LocoError, OutputError
from loco.files import read_json, write_text
from loco.runs.command.torchrun import agreed

SWEEP_FILE = "sweep.json"
MAX_NAME = 100
# where a job runs or reads, not what it is
UNNAMED = (
    "experiment", "resume_sweep", "ckpt_path", "output_dir", "logger", "report",
    "reuse", "data.root", "data.annotations", "data.num_workers",
)  # fmt: skip


def job_name(overrides: Iterable[str], swept: Sequence[str] = ()) -> str:
    """The name of a job's folder: `attention-cdp+seed-0`.

    No character in it needs quoting in a shell or in a Hydra override, so that paths can be
    copied. A name that would be too long keeps what is swept, with the last parts of its keys, and
    a hash of all overrides keeps it apart from others.

    Args:
        overrides: `key=value`, as Hydra lists them.
        swept: keys that come first, since they are what differs within a sweep.
    """
    named = dict(split_override(text) for text in overrides)
    kept = {key: value for key, value in named.items() if key not in UNNAMED or key in swept}
    first = {key: kept[key] for key in kept if key in swept}
    full = _joined(first | kept)
    name = _safe(full)
    if len(name) > MAX_NAME or name != full:
        digest = hashlib.sha256("\n".join(f"{k}={kept[k]}" for k in sorted(kept)).encode())
        short = _safe(_joined(_leaves(first or kept)))[: MAX_NAME - 10]
        name = f"{short}+h{digest.hexdigest()[:8]}"
    return name or "defaults"


def _joined(values: dict[str, str]) -> str:
    return "+".join(f"{key}-{value}" for key, value in values.items())


def _leaves(values: dict[str, str]) -> dict[str, str]:
    """Keys cut to their last parts, `target.sigma` to `sigma`, where these are told apart."""
    leaves = [key.rpartition(".")[2] for key in values]
    if len(set(leaves)) < len(leaves):
        return values
    return dict(zip(leaves, values.values(), strict=True))


def _safe(text: str) -> str:
    return re.sub(r"[^\w.+-]+", "_", text, flags=re.ASCII)


def split_override(text: str) -> tuple[str, str]:
    """Key and value of `key=value`, `+key=value` or `~key`."""
    key, _, value = text.partition("=")
    return key.lstrip("+~"), value


def make_unique(path: str | Path) -> Path:
    """Make a folder that did not exist: the given one, or `…-2`, `…-3`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    number, candidate = 1, path
    while True:
        try:
            candidate.mkdir()
            return candidate
        except FileExistsError:
            number += 1
            candidate = path.with_name(f"{path.name}-{number}")


RUN = (
    "metrics.json", "predictions.json", "config.yaml", "provenance.json", "decoding.json",
    "report.html", "checkpoints", "logs",
)  # fmt: skip
"""What a run leaves in its folder, the first of it only once it is finished."""
_WITH_IT = (".hydra", "failed.txt", "processes.log")


def holds_run(folder: Path) -> bool:
    """Whether there is what another run would mix with."""
    return any((folder / name).exists() for name in ("metrics.json", "checkpoints"))


def refuse_training(folder: Path, setting: str = "output_dir") -> None:
    """See that what only reads a training does not write over what it left.

    Raises:
        OutputError: the folder is that of one.
    """
    if (folder / "checkpoints").exists():
        raise OutputError(
            f"{setting}={folder}: a training is there, whose results would be written over; "
            "give another folder"
        )


def set_aside(folder: Path) -> Path | None:
    """Move what an earlier run left in a folder beside it, before another one mixes with it.

    Returns:
        the new folder; None where there was no run.
    """
    if not holds_run(folder):
        return None
    held = [folder / name for name in (*RUN, *_WITH_IT) if (folder / name).exists()]
    # the folders of its tasks; what has notes of its own is another run
    held += [
        path for path in folder.iterdir()
        if path.is_dir() and path not in held and holds_run(path) and not (path / ".hydra").exists()
    ]  # fmt: skip
    aside = make_unique(folder.absolute().with_name(f"{folder.absolute().name}-earlier"))
    for path in held:
        path.rename(aside / path.name)
    return aside


def sweep_folder(path: str, overrides: Iterable[str], resume: bool | str) -> Path:
    """The folder of a sweep: a new one, or the one that is resumed.

    Args:
        path: where a new one goes.
        overrides: the sweep's overrides.
        resume: False for a new one; a folder; or True for the newest beside `path` that was
            started with the same overrides, a new one if there is none.

    Raises:
        LocoError: `resume` names a folder that does not exist.
    """
    if isinstance(resume, str):
        if not Path(resume).is_dir():
            raise LocoError(f"resume_sweep={resume}: expected true or a sweep's folder")
        return Path(resume)
    if resume:
        started = [
            (record["began"], folder)
            for folder in Path(path).parent.glob("*/")
            if (record := read_sweep(folder)) and record["overrides"] == _essential(overrides)
        ]
        if started:
            return max(started)[1]
    return make_unique(path)


def write_sweep(
    folder: Path, overrides: Iterable[str], params: Iterable[str], began: float
) -> None:
    """Note what a sweep was started with, unless it is there already."""
    overrides = list(overrides)
    parsed = OverridesParser.create().parse_overrides(overrides)
    swept = [*params, *(o.key_or_group for o in parsed if o.is_sweep_override())]
    record = {
        "began": began,
        "overrides": _essential(overrides),
        "swept": list(dict.fromkeys(swept)),
    }
    if read_sweep(folder) is None:
        write_text(folder / SWEEP_FILE, json.dumps(record, indent=1) + "\n")


def read_sweep(folder: Path) -> dict[str, Any] | None:
    """What `write_sweep` noted; None where there is nothing."""
    try:
        record = read_json(folder / SWEEP_FILE)
    except LocoError:
        return None
    return record if isinstance(record, dict) and {"began", "overrides"} <= set(record) else None


def job_folder(sweep: str, overrides: Iterable[str], resume: bool | str) -> str:
    """The name, below the sweep's folder, of a job's folder, which is made."""
    record = read_sweep(Path(sweep)) or {}
    folder = Path(sweep) / job_name(overrides, record.get("swept", ()))
    if resume or requeued():
        folder.mkdir(parents=True, exist_ok=True)
        return folder.name
    return make_unique(folder).name


def requeued() -> bool:
    """Whether a cluster starts this job again, after it was preempted or ran out of time."""
    return os.environ.get("SLURM_RESTART_COUNT", "0") not in ("", "0")


def _essential(overrides: Iterable[str]) -> list[str]:
    return sorted(text for text in overrides if split_override(text)[0] != "resume_sweep")


def _register() -> None:
    resolvers: dict[str, Callable[..., Any]] = {
        "runs_place": lambda debug: "outputs/train" if debug is None else "outputs/debug",
        "new_folder": lambda path: agreed(lambda: str(make_unique(path))),
        "sweep_folder": lambda path, words, resume: str(sweep_folder(path, words, resume)),
        "job_folder": job_folder,
    }
    for name, resolver in resolvers.items():
        OmegaConf.register_new_resolver(name, resolver, replace=True, use_cache=True)


_register()
