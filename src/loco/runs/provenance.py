"""What a result came from: the command, the code, the libraries, the machine's kind, the data.

`provenance.json` in a run's folder is written when the run starts and completed when it ends. A run
that goes on with another begins with the starts of that one.
"""

from __future__ import annotations

import hashlib
import logging
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import lightning
import numpy
import torch

from loco.data.datamodule import AVDataModule, Stage
from loco.data.tasks import MultiTaskDataModule
from loco.errors import Interrupted
from loco.runs.command.quoting import COMMAND
from loco.runs.job_status import PROVENANCE, starts
from loco.runs.results import write_json

log = logging.getLogger(__name__)

UNENDED = "not yet, or it was killed"


@contextmanager
def noting(
    folder: Path,
    trainer: lightning.Trainer,
    data: AVDataModule | MultiTaskDataModule,
    stages: tuple[Stage, ...],
    *,
    seed: int | None = None,
    settings: str | None = None,
    resumed: Path | None = None,
    checkpoint: Path | None = None,
) -> Iterator[Callable[..., None]]:
    """Note a start of a run in its folder, and how it ended: by calling what is given, or not.

    What is given takes more to note, by keyword.

    Args:
        folder: the run's; it is made.
        trainer: decides the device; only its first process writes.
        data: set up.
        stages: whose files count for the fingerprint.
        seed: of a training.
        settings: of a training, by `loco.runs.job_status.settings_hash`.
        resumed: the folder of the run that is gone on with.
        checkpoint: what is evaluated or predicted with.
    """
    if not trainer.is_global_zero:
        yield lambda **more: None
        return
    start: dict[str, Any] = {
        "command": os.environ.get(COMMAND),
        "began": datetime.now().astimezone().isoformat(timespec="seconds"),
        "ended": UNENDED,
        "seconds": None,
        "seed": seed,
        "settings": settings,
        "resumed_from": None if resumed is None else str(resumed),
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "versions": versions(),
        "git": git_state(),
        "device": device_name(trainer),
        "processes": trainer.world_size,
        "threads": torch.get_num_threads(),
        "data": (
            {task: fingerprint(own, stages) for task, own in data.sets.items()}
            if isinstance(data, MultiTaskDataModule)
            else fingerprint(data, stages)
        ),
    }
    earlier = starts(folder) if resumed is None else starts(resumed)
    content = {"starts": [*earlier, {k: v for k, v in start.items() if v is not None}]}
    noted: dict[str, Any] = content["starts"][-1]
    began = time.perf_counter()

    def note(ended: str, **more: Any) -> None:
        seconds = round(time.perf_counter() - began, 1)
        noted.update(ended=ended, seconds=seconds, **more)
        write_json(folder / PROVENANCE, content)

    write_json(folder / PROVENANCE, content)
    try:
        yield lambda **more: note("finished", **more)
    except BaseException as error:
        if noted["ended"] == UNENDED:
            # a launcher that queues a job again ends it with an exit
            stopped = isinstance(error, KeyboardInterrupt | Interrupted | SystemExit)
            why = str(error) if isinstance(error, Interrupted) else type(error).__name__
            note(f"{'interrupted' if stopped else 'failed'}: {why}")
        raise


def versions() -> dict[str, str]:
    """Of this suite, and of what its numbers depend on."""
    return {
        "loco": sys.modules["loco"].__version__,
        "torch": str(torch.__version__),
        "lightning": lightning.__version__,
        "numpy": numpy.__version__,
        "python": platform.python_version(),
    }


def git_state(file: Path = Path(__file__)) -> str | None:
    """The commit of the checkout that this suite runs from, and whether files differ from it.

    None where it is installed otherwise, or there is no git. A repository that merely lies around
    the installation, such as that of a user's own project, does not count: it does not know this
    file.
    """

    def git(*words: str) -> str:
        return subprocess.run(
            ["git", "-C", str(file.resolve().parent), *words],
            check=True, capture_output=True, text=True, encoding="utf-8", timeout=10,
        ).stdout.strip()  # fmt: skip

    try:
        git("ls-files", "--error-unmatch", file.name)
        commit, changed = git("rev-parse", "HEAD"), git("status", "--porcelain", "-uno")
    except (OSError, subprocess.SubprocessError):
        return None
    return f"{commit} with uncommitted changes" if changed else commit


def device_name(trainer: lightning.Trainer) -> str:
    """The kind of device: `cpu`, or a GPU's name."""
    device = trainer.strategy.root_device
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def fingerprint(data: AVDataModule, stages: tuple[Stage, ...]) -> dict[str, Any]:
    """What tells one data set from another without reading it.

    Returns:
        `annotations`: SHA-256 of the file; `videos`: how many each stage has; `features`: SHA-256
        of the names and sizes in bytes of their files; `channels` of these.
    """
    found: dict[str, Any] = {}
    file = data.annotations_path
    if file is not None and file.is_file():
        found["annotations"] = hashlib.sha256(file.read_bytes()).hexdigest()
    ids = {stage: data.dataset(stage).video_ids for stage in stages}
    names = sorted(
        pattern.replace("{id}", video_id)
        for video_id in {video_id for some in ids.values() for video_id in some}
        for pattern in data.layout.patterns
    )
    sizes = "\n".join(f"{name} {(data.root / name).stat().st_size}" for name in names)
    found["features"] = hashlib.sha256(sizes.encode("utf-8", "surrogateescape")).hexdigest()
    found["channels"] = [data.visual_channels, data.audio_channels]
    found["videos"] = {stage: len(some) for stage, some in ids.items()}
    return found


def provenance_rows(folder: Path) -> list[tuple[str, str]]:
    """Name and text of what is shown of a run: its last start, and how often it was started."""
    noted = starts(folder)
    if not noted:
        return []
    last = noted[-1]
    rows = {key: last.get(key) for key in ("command", "began", "ended")}
    if isinstance(seconds := last.get("seconds"), int | float):
        rows["took"] = f"{seconds:g} s"
    rows |= {key: last.get(key) for key in ("seed", "device", "threads", "git")}
    for key in ("cost", "versions", "data"):
        if isinstance(values := last.get(key), Mapping):
            rows[key] = ", ".join(f"{name} {value}" for name, value in values.items())
    if len(noted) > 1:
        rows["starts"] = "; ".join(f"{s.get('began')}: {s.get('ended')}" for s in noted)
    return [(name, str(value)) for name, value in rows.items() if value is not None]
