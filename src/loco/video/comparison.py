"""Feature files against those that somebody else made of the same films, such as published ones."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from loco.data.features import FeatureStore
from loco.errors import VideoError

STEPS_APART = 2
"""Steps by which files of the same film may differ in length: ends are treated in many ways."""


@dataclass(frozen=True, slots=True)
class Compared:
    """A file and its other.

    Args:
        video_id: of the film.
        pattern: of the file.
        steps: T of ours and of the other; the common ones are compared.
        cosine: median over steps of the cosine between both vectors.
        error: norm of the difference of all vectors, in norms of the other's.
    """

    video_id: str
    pattern: str
    steps: tuple[int, int]
    cosine: float
    error: float

    def within(self, bound: float) -> bool:
        """Whether the error is at most the bound, and the lengths differ by two steps at most."""
        return self.error <= bound and abs(self.steps[0] - self.steps[1]) <= STEPS_APART


def compare_features(
    ours: FeatureStore, folder: str | Path, video_ids: Iterable[str]
) -> tuple[list[Compared], list[str]]:
    """Each file of the videos with that of the same name in a folder.

    Returns:
        those that are in both, in order, and the names of those that the folder lacks.

    Raises:
        VideoError: a file is no matrix of numbers, or has other channels.
    """
    theirs = FeatureStore(Path(folder), ours.layout)
    found, missing = [], []
    for video_id in sorted(video_ids):
        for pattern in ours.layout.patterns:
            path = theirs.path(video_id, pattern)
            if not path.is_file():
                missing.append(path.name)
                continue
            mine, other = _read(ours.path(video_id, pattern)), _read(path)
            if mine.shape[1] != other.shape[1]:
                raise VideoError(
                    f"{path}: {other.shape[1]} channels, ours have {mine.shape[1]}: features of "
                    "another encoder"
                )
            found.append(compare_arrays(video_id, pattern, mine, other))
    return found, missing


def compare_arrays(video_id: str, pattern: str, mine: np.ndarray, other: np.ndarray) -> Compared:
    """(T, C) of ours and of somebody else; T may differ."""
    common = min(len(mine), len(other))
    a, b = mine[:common].astype(np.float64), other[:common].astype(np.float64)
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    # two vectors of zeros are the same, of which one is are not
    same = (np.linalg.norm(a - b, axis=1) == 0).astype(np.float64)
    cosines = np.where(norms > 0, (a * b).sum(1) / np.where(norms > 0, norms, 1), same)
    size, apart = np.linalg.norm(b), np.linalg.norm(a - b)
    error = float(apart / size) if size > 0 else (0.0 if apart == 0 else float("inf"))
    return Compared(
        video_id, pattern, (len(mine), len(other)), float(np.median(cosines)), error
    )  # fmt: skip


def _read(path: Path) -> np.ndarray:
    """(T, C) of a file."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise VideoError(f"{path}: cannot be read: {str(error).splitlines()[0][:100]}") from None
    if not isinstance(array, np.ndarray) or array.ndim != 2 or not len(array):
        shape = getattr(array, "shape", "an archive")
        raise VideoError(f"{path}: expected (steps, channels) of numbers, found {shape}")
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise VideoError(f"{path}: expected finite floats, found {array.dtype}")
    return array
