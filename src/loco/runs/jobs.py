"""What became of the jobs of a sweep, read from their folders."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf

from loco.runs.folders import split_override

RESULTS = ("metrics.json", "cost.json")
FAILED = "failed.txt"
Status = Literal["finished", "failed", "unfinished"]
# settings that may differ between a finished job and the one that would repeat it
INCIDENTAL = (
    "output_dir", "ckpt_path", "resume_sweep", "reuse", "callbacks", "logger", "report",
)  # fmt: skip


def status(folder: Path) -> Status:
    """What became of a job, by the files in its folder."""
    if any((folder / name).is_file() for name in RESULTS):
        return "finished"
    return "failed" if (folder / FAILED).is_file() else "unfinished"


def job_folders(sweep: Path) -> list[Path]:
    """The folders of a sweep's jobs, in the order of the sweep."""
    found = [note.parent.parent for note in sweep.glob("*/.hydra/overrides.yaml")]
    return sorted(found, key=lambda folder: (_number(folder), folder.name))


def flat(config: Any, resolve: bool = True) -> dict[str, Any]:
    """A config's values by dotted key, without those that do not matter to the result."""

    def walk(value: Any, key: str) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for name, part in value.items():
                yield from walk(part, f"{key}.{name}" if key else str(name))
        else:
            yield key, value

    plain = OmegaConf.to_container(config, resolve=resolve)
    assert isinstance(plain, dict)
    return dict(walk({k: v for k, v in plain.items() if k not in INCIDENTAL}, ""))


def find_twin(sweeps: Path, config: Any) -> Path | None:
    """A finished job, anywhere below a folder, of the same configuration; None if there is none."""
    wanted = flat(config)
    for name in RESULTS:
        for result in sorted(sweeps.rglob(name)):
            noted = result.with_name("config.yaml")
            if noted.is_file() and flat(OmegaConf.load(noted)) == wanted:
                return result.parent
    return None


def failure(folder: Path) -> str:
    """Why a job failed, in a line; nothing if it did not."""
    note = folder / FAILED
    return note.read_text(encoding="utf-8").partition("\n")[0] if note.is_file() else ""


def _number(folder: Path) -> int:
    try:
        return int(OmegaConf.load(folder / ".hydra" / "hydra.yaml").hydra.job.num)
    except (OSError, AttributeError, TypeError, ValueError):
        return sys.maxsize


def overrides_of(folder: Path) -> dict[str, str]:
    """The overrides of a job, by key."""
    texts = OmegaConf.to_container(OmegaConf.load(folder / ".hydra" / "overrides.yaml"))
    return dict(split_override(str(text)) for text in texts or ())
