"""What a sweep was: its commands, when and where it ran, and the settings that its jobs share."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from typing import Any

from loco.files import read_json
from loco.runs.command.quoting import is_secret, without_secrets
from loco.runs.folders import UNNAMED, read_sweep
from loco.runs.job_status import starts
from loco.sweeps.job_record import Job, plain_text
from loco.sweeps.tabulate import Row

GROUPS = ("experiment", "model", "data", "attention", "correspondence", "recipe", "trainer")
"""Choices that say what was run, whether the command made them or not."""
MAX_COMMANDS = 4
IMPORTANCES = "importances.json"
"""In a search's folder: how much each setting decides about the score, in parts of 1."""


def commands(jobs: Sequence[Job]) -> list[str]:
    """The commands that started the jobs, as these note them; else what the sweep notes."""
    noted = [start.get("command") for job in jobs for start in starts(job.folder)]
    found = list(dict.fromkeys(str(command) for command in noted if command))
    if not found:
        folders = dict.fromkeys(job.folder.parent for job in jobs)
        records = [record for folder in folders if (record := read_sweep(folder))]
        found = [
            shlex.join(["loco", "train", "-m", *without_secrets(map(str, record["overrides"]))])
            for record in records
        ]
    more = len(found) - MAX_COMMANDS
    return found[:MAX_COMMANDS] + ([f"… and {more} more"] if more > 0 else [])


def facts(rows: Sequence[Row]) -> list[tuple[str, str]]:
    """Name and text: how many jobs, when, on what, of which code."""
    jobs = [job for row in rows for job in row.finished]
    counts = {
        "finished": len(jobs),
        "failed": sum(row.failed for row in rows),
        "unfinished": sum(row.unfinished for row in rows),
    }
    found = {"jobs": ", ".join(f"{count} {what}" for what, count in counts.items() if count)}
    last = [noted[-1] for job in jobs if (noted := starts(job.folder))]
    if began := sorted(str(start["began"]) for start in last if start.get("began")):
        found["began"] = began[0].replace("T", " ")[:16]
    found["device"] = _all(start.get("device") for start in last)
    found["commit"] = _all(short_commit(str(start["git"])) for start in last if start.get("git"))
    return [(name, text) for name, text in found.items() if text]


def noted_importances(jobs: Sequence[Job]) -> dict[str, float]:
    """What the search that the jobs are trials of notes; empty for any other sweep."""
    found: dict[str, float] = {}
    for folder in dict.fromkeys(job.folder.parent for job in jobs):
        if (folder / IMPORTANCES).is_file():
            found |= read_json(folder / IMPORTANCES)
    return found


def short_commit(noted: str) -> str:
    """The first ten digits of a commit, and that files were changed."""
    digits, space, rest = noted.partition(" ")
    return digits[:10] + space + rest


def _all(texts: Iterable[Any]) -> str:
    return ", ".join(dict.fromkeys(str(text) for text in texts if text))


def fixed_settings(jobs: Sequence[Job], told_apart: Sequence[str]) -> list[tuple[str, str]]:
    """Groups and overrides that are the same in all jobs, but for what tells rows apart."""
    keys = dict.fromkeys([*GROUPS, *(key for job in jobs for key in job.overrides)])
    skipped = {*told_apart, *UNNAMED, "seed"} - {"experiment"}
    fixed = []
    for key in keys:
        values = {job.value(key) for job in jobs}
        if (
            key not in skipped
            and not key.startswith(("hydra", "callbacks", "trainer.enable_"))
            and len(values) == 1
        ):
            (value,) = values
            if value != "–":
                fixed.append((key, "HIDDEN" if is_secret(key) else value))
    return fixed


def shared_settings(jobs: Sequence[Job]) -> list[tuple[str, str]]:
    """All settings of the configuration that have the same value in all jobs."""
    first, *others = (job.settings for job in jobs) if jobs else ({},)
    return [
        (key, "HIDDEN" if is_secret(key) else plain_text(value))
        for key, value in first.items()
        if all(key in other and other[key] == value for other in others)
    ]
