"""Cross-similarity matrices: which moments of sight resemble which moments of sound.

A matrix (T, T) has the visual step i in row i and the audio step j in column j.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import ArrayLike

from loco.structures import TimeGrid


def cosine_similarity(visual: ArrayLike, audio: ArrayLike) -> np.ndarray:
    """Cosines (T, T) of visual (T, C) and audio (T, C) vectors, in float64; 0 of a zero vector."""
    seen, heard = (np.asarray(x, dtype=np.float64) for x in (visual, audio))
    seen, heard = (x / (np.linalg.norm(x, axis=1, keepdims=True) + 1e-12) for x in (seen, heard))
    return seen @ heard.T


def mean_of_std(matrices: Iterable[np.ndarray]) -> float:
    """The "mean of std": the standard deviation of each matrix, averaged (paper section 4.5).

    The more it is, the better the features tell the moments of a video apart. NaN of no matrix.
    """
    deviations = [float(matrix.std()) for matrix in matrices]
    return float(np.mean(deviations)) if deviations else float("nan")


def similarity_by_distance(
    matrices: Iterable[np.ndarray],
    segments: Iterable[np.ndarray],
    grid: TimeGrid,
    num_steps: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Local cross-modal coherence: mean similarity at distances of 0, 1, … `num_steps` − 1 steps.

    Args:
        matrices: (T, T) of each video.
        segments: (N, 2) the events of each video, in seconds.
        grid: where the steps lie in time.
        num_steps: distances that are looked at.

    Returns:
        (num_steps,) where both steps lie inside one event; (num_steps,) where the one lies inside
        an event and the other outside of it. NaN where there is no such pair.
    """
    sums, counts = np.zeros((2, num_steps)), np.zeros((2, num_steps))
    for similarity, of_video in zip(matrices, segments, strict=True):
        steps = np.arange(len(similarity))
        distance = np.abs(steps[:, None] - steps)
        times = grid.to_seconds(steps)
        for start, end in np.asarray(of_video):
            inside = (times >= start) & (times <= end)
            both, one = inside[:, None] & inside, inside[:, None] ^ inside
            for row, wanted in enumerate((both, one)):
                pairs = wanted & (distance < num_steps)
                sums[row] += np.bincount(distance[pairs], similarity[pairs], num_steps)
                counts[row] += np.bincount(distance[pairs], minlength=num_steps)
    with np.errstate(invalid="ignore"):
        inside_mean, across_mean = sums / counts
    return inside_mean, across_mean
