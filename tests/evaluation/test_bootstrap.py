"""Intervals of differences: what the seeds and the choice of test videos make of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from loco.evaluation.bootstrap import Gap, WeightedMAP, paired_differences


class Weighted(WeightedMAP):
    """A run whose mAP is the weighted mean of a value of each video."""

    def __init__(self, values: Sequence[float]) -> None:
        self.num_videos, self.values = len(values), np.array(values)

    def __call__(self, weights: np.ndarray) -> float:
        return float(weights @ self.values / weights.sum())


def gap_of(
    scores: Sequence[float], groups: Sequence[int], seeds: Sequence[object], spread: float = 0.0
) -> Gap:
    """Of group 1 to group 0, whose videos lie `spread` apart in the one and 0 in the other."""
    runs = [
        Weighted([score - spread * group, score + spread * group])
        for score, group in zip(scores, groups, strict=True)
    ]
    return paired_differences(runs, scores, groups, over_seeds=True, seeds=seeds)[1]


def test_seeds_are_paired_by_their_names() -> None:
    """Student's interval of the pairs; of all runs, by Welch, where none is in both."""
    random = np.random.default_rng(0)
    scores = random.uniform(0.2, 0.8, 9).tolist()
    first, second = np.array(scores[:4]), np.array(scores[4:8])
    paired = gap_of(scores[:8], [0] * 4 + [1] * 4, [0, 1, 2, 3] * 2)
    turned = gap_of([*scores[:4], *scores[4:8][::-1]], [0] * 4 + [1] * 4, [0, 1, 2, 3, 3, 2, 1, 0])
    assert paired == pytest.approx(turned)
    pairs = stats.ttest_1samp(second - first, 0).confidence_interval(0.95)
    assert paired == pytest.approx((np.mean(second - first), *pairs, 4))

    # one has a seed more: it is left out, and so is one that neither shares
    more = gap_of(scores[:9], [0] * 4 + [1] * 5, [0, 1, 2, 3, 0, 1, 2, 3, 4])
    assert more == pytest.approx(paired)
    fewer = gap_of(scores[:8], [0] * 4 + [1] * 4, [0, 1, 2, 3, 1, 2, 3, 4])
    assert fewer.seeds == 3
    assert fewer.mean == pytest.approx(np.mean(second[:3] - first[1:]))

    alone = gap_of(scores[:9], [0] * 4 + [1] * 5, [0, 1, 2, 3, 4, 5, 6, 7, 8])
    welch = stats.ttest_ind(scores[4:9], first, equal_var=False).confidence_interval(0.95)
    assert alone == pytest.approx((np.mean(scores[4:9]) - first.mean(), *welch, 0))
    # what has no seed, such as a baseline, has no variance
    fixed = gap_of([*scores[:4], 0.5], [0] * 4 + [1], [0, 1, 2, 3, None])
    half = stats.t.ppf(0.975, 3) * stats.sem(first)
    assert fixed == pytest.approx(
        (0.5 - first.mean(), *(0.5 - first.mean() + half * s for s in (-1, 1)), 0)
    )
    assert math.isnan(gap_of(scores[:2], [0, 1], [0, 1]).low)


def test_the_videos_count_beside_the_seeds() -> None:
    """Their variances add up; the degrees of freedom are Welch's and Satterthwaite's."""
    scores, spread = [0.4, 0.5, 0.6, 0.55, 0.6, 0.75], 0.1
    gap = gap_of(scores, [0] * 3 + [1] * 3, [0, 1, 2] * 2, spread)
    drawn = np.random.default_rng(0).integers(2, size=(1000, 2)).mean(1)
    videos = (spread * (2 * drawn - 1)).var()
    seeds = np.var([0.15, 0.1, 0.15], ddof=1) / 3
    freedom = (videos + seeds) ** 2 / (seeds**2 / 2)
    half = stats.t.ppf(0.975, freedom) * math.sqrt(videos + seeds)
    mean = pytest.approx((0.15 + 0.1 + 0.15) / 3)
    assert gap.mean == mean
    assert [gap.low, gap.high] == pytest.approx([gap.mean - half, gap.mean + half], rel=1e-6)


@pytest.mark.parametrize("seeds", [3, 8])
@pytest.mark.parametrize(("of_seeds", "of_videos"), [(1.0, 0.1), (1.0, 1.0), (0.1, 1.0)])
def test_nineteen_of_twenty_intervals_hold_the_truth(
    seeds: int, of_seeds: float, of_videos: float
) -> None:
    """Where seeds make the difference, where videos do, and where both do."""
    random, videos, repeats, held = np.random.default_rng(1), 100, 300, 0
    for _ in range(repeats):
        truth = random.normal(0, of_videos * math.sqrt(videos), videos)
        runs = [Weighted(np.zeros(videos))] * seeds
        runs += [Weighted(truth + random.normal(0, of_seeds)) for _ in range(seeds)]
        scores = [run(np.ones(videos)) for run in runs]
        gap = paired_differences(
            runs, scores, [0] * seeds + [1] * seeds, resamples=60, over_seeds=True
        )[1]
        held += gap.low <= 0 <= gap.high
    assert 0.92 <= held / repeats <= 0.985
