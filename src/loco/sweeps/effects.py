"""What each setting of a sweep adds, estimated from all of its jobs at once (main effects).

In a sweep that changes several settings in each job, such that every setting is on in half of the
jobs whatever the others are, each effect is a comparison of one half of all jobs with the other.
The model is linear, by least squares: y = a + the effects of what is on + a constant of the seed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from loco.errors import LocoError
from loco.runs.folders import UNNAMED
from loco.sweeps.columns import Column
from loco.sweeps.job_record import OPTIONS, Job


@dataclass(frozen=True)
class Effect:
    """How much more a result is where a setting is on, in its own unit, and its 95 % interval.

    Attributes:
        setting: `part=mismatch`; of a choice that is no list, each value but the first job's.
        jobs: how many have it.
    """

    setting: str
    jobs: int
    mean: float
    low: float
    high: float


def effects(jobs: Sequence[Job], columns: Sequence[Column]) -> list[list[Effect]]:
    """The effects of all settings that differ between finished jobs: a list a setting, by column.

    The interval is Student's, from what the model leaves unexplained: runs are taken to differ by
    noise of one size, and effects to add up.

    Raises:
        LocoError: no setting differs, too few jobs, settings that no two jobs tell apart, or a
            result that a job lacks.
    """
    jobs = [job for job in jobs if job.status == "finished"]
    present = _settings_on(jobs)
    found: dict[str, list[Effect]] = {n: [] for n in present if not n.startswith("seed=")}
    if not found:
        raise LocoError("--effects: no setting differs between the finished jobs")
    design = np.array([[1.0] * len(jobs), *([float(on) for on in present[n]] for n in present)]).T
    _check_told_apart(design, ["", *present])
    freedom = len(jobs) - design.shape[1]
    if freedom < 1:
        raise LocoError(
            f"--effects: {len(jobs)} finished jobs cannot tell noise from {design.shape[1]} "
            "unknowns (settings, seeds, a mean); it takes more jobs"
        )
    from scipy import stats  # here, as it takes a second

    inverse = np.linalg.inv(design.T @ design)
    reach = stats.t.ppf(0.975, freedom)
    for column in columns:
        values = np.array([job.result(column.result) for job in jobs])
        if lacking := [job.folder for job, v in zip(jobs, values, strict=True) if math.isnan(v)]:
            raise LocoError(f"--effects: {lacking[0]} has no {column.result}")
        weights = inverse @ design.T @ values
        noise = float(np.sum((values - design @ weights) ** 2)) / freedom
        for i, name in enumerate(present, 1):
            if name in found:
                mean, half = float(weights[i]), float(reach * math.sqrt(noise * inverse[i, i]))
                effect = Effect(name, sum(present[name]), mean, mean - half, mean + half)
                found[name].append(effect)
    return list(found.values())


def _settings_on(jobs: Sequence[Job]) -> dict[str, list[bool]]:
    """Of each setting that differs, whether each job has it; seeds come last."""
    keys = dict.fromkeys(key for job in jobs for key in job.overrides if key not in UNNAMED)
    present: dict[str, list[bool]] = {}
    for key in sorted(keys, key=lambda key: key == "seed"):
        values = [job.value(key) for job in jobs]
        lists = [value for value in values if value.startswith("[")]
        if lists and all(map(OPTIONS.fullmatch, lists)):  # what is not in one is off
            sets = [set(value.strip("[]").split(",")) for value in values]
            choices = sorted(set().union(*sets) - {"", "none"})
        else:  # one of several: the first is what the others are compared with
            sets = [{value} for value in values]
            choices = list(dict.fromkeys(values))[1:]
        for choice in choices:
            on = [choice in chosen for chosen in sets]
            if not all(on):
                present[f"{key}={choice}"] = on
    return present


def _check_told_apart(design: np.ndarray, names: Sequence[str]) -> None:
    rank = np.linalg.matrix_rank(design)
    if rank == design.shape[1]:
        return
    confused = [
        name
        for i, name in enumerate(names)
        if name and np.linalg.matrix_rank(np.delete(design, i, axis=1)) == rank
    ]
    raise LocoError(
        f"--effects: the finished jobs do not tell these apart: {', '.join(confused)}; each "
        "needs jobs with it and without it, whatever the others are"
    )
