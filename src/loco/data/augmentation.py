"""What training items may be changed by, beside their crop; each way is a file of its own.

An augmentation is a function of a sample, of other videos' samples, and of a generator drawn from
(seed, epoch, index): the batches are the same with any number of workers, and in a resumed
run.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Protocol

import numpy as np
import torch

from loco.structures import Events, Sample, TimeGrid


class Donors(Protocol):
    """Gives another video of the split, as this epoch crops it, before any augmentation.

    None where none was found: of `least` steps, and without events of the classes `without`.
    """

    def __call__(self, *, without: Collection[int] = (), least: int = 1) -> Sample | None: ...


class Augmentation(Protocol):
    """Makes a sample of a sample; arrays that it changes are copies.

    One that says `needs_both = True` is refused where `data.modality` leaves a modality out.
    """

    def __call__(
        self, sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
    ) -> Sample: ...


def check_augmentations(augment: Mapping[str, Augmentation | None], modality: str) -> None:
    """Refuse what is no function, or needs both modalities where a data set reads one.

    Raises:
        ValueError: names it.
    """
    for name, part in augment.items():
        if part is not None and not callable(part):  # Hydra's own idea of an object of a dataclass
            raise ValueError(
                f"augment.{name}: expected a function, or an object of a class that is no dataclass"
            )
        if modality != "both" and getattr(part, "needs_both", False):
            raise ValueError(
                f"augment.{name} changes one modality and leaves the other, of which "
                f"modality={modality!r} has only one: take modality='both', or no {name}"
            )


def steps_inside(segments: np.ndarray, grid: TimeGrid, num_steps: int) -> np.ndarray:
    """First step and the one after the last whose times lie in each segment: (N, 2) of (N, 2) s."""
    steps = grid.to_steps(segments.astype(np.float64))
    inside = np.stack([np.ceil(steps[:, 0]), np.floor(steps[:, 1]) + 1], axis=1)
    return np.clip(inside, 0, num_steps).astype(np.int64)


def alone(segments: np.ndarray) -> np.ndarray:
    """(N,) bool: which of the segments (N, 2) meet no other one."""
    start, end = segments[:, 0], segments[:, 1]
    meets = (start[:, None] < end) & (start < end[:, None])
    return meets.sum(1) == 1


def events_from(segments: np.ndarray, labels: np.ndarray) -> Events:
    """Events of arrays (N, 2) in seconds and (N,)."""
    return Events(
        torch.tensor(segments, dtype=torch.float64).reshape(-1, 2),
        torch.tensor(labels, dtype=torch.long),
    )
