"""How much of a difference in mAP is the choice of the test videos, and of the seeds.

Matching happens within a video, so that it is done once. A resample then only changes how often
each video counts: a prediction of a video drawn twice counts twice. That takes a sum along the
ranking instead of a whole evaluation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from loco.errors import check_number
from loco.evaluation.matching import Array, Columns, match, overlaps, read_columns, score_order
from loco.evaluation.metrics import DEFAULT_THRESHOLDS


class WeightedMAP:
    """The mAP of one run's predictions, for any weights of the videos.

    Args:
        columns: as `loco.evaluation.metrics.average_precision` takes them, videos numbered from 0.
        num_videos: V.
        thresholds: (Q,) tIoUs that are averaged over.
    """

    def __init__(
        self, columns: Columns, num_videos: int, thresholds: Array = DEFAULT_THRESHOLDS
    ) -> None:
        labels = np.concatenate([columns["pred_labels"], columns["gt_labels"]])
        self.num_classes = int(labels.max(initial=-1)) + 1
        found, truth = read_columns(columns, self.num_classes)
        order = score_order(found)
        pairs = overlaps(found, truth, order, float(np.min(thresholds)))
        self.hits = [
            np.sort(pairs.rank[match(pairs, len(truth.labels), float(threshold))])
            for threshold in thresholds
        ]
        """For each threshold the ranks, ascending, of the predictions that found an event."""
        self.video = found.video[order]
        self.labels = found.labels[order]
        self.first = np.searchsorted(self.labels, np.arange(self.num_classes + 1))
        self.truth_video, self.truth_labels = truth.video, truth.labels
        self.num_videos = num_videos

    def __call__(self, weights: Array) -> float:
        """The mAP if video v stands `weights[v]` times in the test set; weights (V,) ≥ 0."""
        events = np.bincount(
            self.truth_labels, weights[self.truth_video], minlength=self.num_classes
        )
        rated = events > 0
        if not rated.any():
            return float("nan")
        weight = weights[self.video].astype(float)
        seen = np.append(0.0, np.cumsum(weight))
        return float(np.mean([self._mean(hits, weight, seen, events, rated) for hits in self.hits]))

    def _mean(self, hits: Array, weight: Array, seen: Array, events: Array, rated: Array) -> float:
        """Mean over classes, at one threshold, of the area under the monotone precision."""
        hits = hits[weight[hits] > 0]
        if not len(hits):
            return 0.0
        label, own = self.labels[hits], weight[hits]
        found = np.cumsum(own)
        begin = np.searchsorted(label, label)  # each hit's class begins at this hit
        found -= np.where(begin > 0, found[begin - 1], 0.0)
        precision = found / (seen[hits + 1] - seen[self.first[label]])
        # The highest from each hit to the end of its class: classes are shifted apart by 2.
        shift = 2.0 * (self.num_classes - label)
        best = np.maximum.accumulate((precision + shift)[::-1])[::-1] - shift
        areas = np.bincount(label, best * own, minlength=self.num_classes)
        return float(np.mean(areas[rated] / events[rated]))


def resampled(
    runs: Sequence[WeightedMAP],
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Array:
    """The mAP of each run on the same resamples of the test videos, (runs, resamples).

    Raises:
        ValueError: the runs were not tested on equally many videos.
    """
    counts = {run.num_videos for run in runs}
    if len(counts) != 1:
        raise ValueError(f"runs of different numbers of test videos: {sorted(counts)}")
    check_number("resamples", resamples, 1, whole=True)
    check_number("seed", seed, 0, whole=True)
    num_videos = counts.pop()
    random = np.random.default_rng(seed)
    values = np.empty((len(runs), resamples))
    for i in range(resamples):
        weights = np.bincount(random.integers(num_videos, size=num_videos), minlength=num_videos)
        values[:, i] = [run(weights) for run in runs]
        progress()
    return values


class Gap(NamedTuple):
    """How much more a group of runs reaches than another, in fractions, and the 95 % interval.

    Attributes:
        low, high: NaN where the seeds count and there is one alone.
        seeds: how many both have, which are compared; 0 where they share none, and all count.
    """

    mean: float
    low: float
    high: float
    seeds: int


def paired_differences(
    runs: Sequence[WeightedMAP],
    scores: Sequence[float],
    groups: Sequence[int],
    reference: int = 0,
    resamples: int = 1000,
    seed: int = 0,
    progress: Callable[[], None] = lambda: None,
    *,
    over_seeds: bool = False,
    seeds: Sequence[object] | None = None,
) -> dict[int, Gap]:
    """How much each group's mean mAP is above that of the reference.

    Groups are compared over the seeds that both have, in pairs; where they share none, over all.
    The interval is ± t·√(V + S) around the difference: V is its variance over resamples of the test
    videos; S that of a mean over the seeds, s²/n of the n pairs, where these count. t is Student's
    for the degrees of freedom by Welch and Satterthwaite, those of V taken to be without end. (A
    bootstrap over few seeds is too narrow: its 95 % are 75 for three, 88 for eight.)

    Args:
        runs: all that are compared.
        scores: their mAPs.
        groups: the number of each one's group, such as of those that differ in the seed alone.
        reference: the group that the others are compared to.
        resamples: of the test videos.
        seed: of the resamples, which all runs see.
        progress: called after each resample.
        over_seeds: the interval is of the choice of the seeds, too.
        seeds: of the runs, each once in a group, None of an answer that has none; without it
            those of each group are numbered.

    Returns:
        by group, without the reference and without groups whose mean is no number.
    """
    owner, found = np.array(groups), np.array(scores)
    values = resampled(runs, resamples, seed, progress)
    place: dict[int, dict[str | None, int]] = {}  # by group and seed, the number of the run
    for i, group in enumerate(groups):
        of_group = place.setdefault(group, {})
        name = len(of_group) if seeds is None else seeds[i]
        of_group[None if name is None else str(name)] = i
    result = {}
    for group, own in place.items():
        if group == reference:
            continue
        shared = sorted(own.keys() & place[reference].keys() - {None}, key=str)
        if shared:
            ours, theirs = ([of[name] for name in shared] for of in (own, place[reference]))
            parts = [found[ours] - found[theirs]]
        else:
            ours, theirs = (np.flatnonzero(owner == i).tolist() for i in (group, reference))
            parts = [
                found[of] for of in (ours, theirs) if seeds is None or seeds[of[0]] is not None
            ]
        gap = float(found[ours].mean() - found[theirs].mean())
        if not np.isnan(gap):
            drawn = values[ours].mean(0) - values[theirs].mean(0)
            reach = _reach(float(np.nanvar(drawn)), parts if over_seeds else [])
            result[group] = Gap(gap, gap - reach, gap + reach, len(shared))
    return result


def _reach(variance: float, parts: Sequence[Array]) -> float:
    """Half of a 95 % interval, of a variance that is known and of the means of some samples."""
    if any(len(part) < 2 for part in parts):
        return np.nan
    of_means = [float(part.var(ddof=1)) / len(part) for part in parts]
    uncertain = sum(v**2 / (len(p) - 1) for v, p in zip(of_means, parts, strict=True))
    total = variance + sum(of_means)
    freedom = total**2 / uncertain if uncertain else np.inf
    return float(stdtrit(freedom, 0.975) * np.sqrt(total))
