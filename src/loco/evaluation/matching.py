"""Which predictions meet which ground truths: the ground that `metrics` and `diagnosis` share.

Predictions are ranked by class and descending score, paired with the ground truths of their own
video and class, and matched at a threshold. All is done on arrays: no loop runs over predictions.
"""

from __future__ import annotations

from typing import NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike
from torch import Tensor

Array = np.ndarray


class Columns(TypedDict):
    """Predictions and ground truths, as `loco.evaluation.metrics.average_precision` takes them."""

    pred_video: ArrayLike | Tensor
    pred_segments: ArrayLike | Tensor
    pred_labels: ArrayLike | Tensor
    pred_scores: ArrayLike | Tensor
    gt_video: ArrayLike | Tensor
    gt_segments: ArrayLike | Tensor
    gt_labels: ArrayLike | Tensor


class Detections(NamedTuple):
    """Checked columns: video and labels (N,) int64; starts, ends and scores (N,) float64."""

    video: Array
    starts: Array
    ends: Array
    labels: Array
    scores: Array

    def take(self, index: Array) -> Detections:
        return Detections(*(field[index] for field in self))


class Pairs(NamedTuple):
    """Predictions and the ground truths they overlap; by rank, then from the highest tIoU.

    Attributes:
        rank: (L,) place of a prediction in the order by class and descending score.
        truth: (L,) index of a ground truth of its video and class.
        tiou: (L,) their temporal intersection over union.
    """

    rank: Array
    truth: Array
    tiou: Array


def detections(
    video: ArrayLike | Tensor,
    segments: ArrayLike | Tensor,
    labels: ArrayLike | Tensor,
    scores: ArrayLike | Tensor | None,
    num_classes: int,
    name: str,
) -> Detections:
    """The checked arrays of predictions, or of ground truths (no scores).

    Raises:
        ValueError: shapes do not fit, values are not finite, or a label is out of range.
    """
    ids = _integers(video, f"{name}_video")
    classes = _integers(labels, f"{name}_labels")
    count = len(ids)
    times = _floats(segments, f"{name}_segments")
    if count == 0 and times.size == 0:
        times = times.reshape(0, 2)
    confidence = np.zeros(count) if scores is None else _floats(scores, f"{name}_scores")
    for field, array, shape in (
        ("segments", times, (count, 2)),
        ("labels", classes, (count,)),
        ("scores", confidence, (count,)),
    ):
        if array.shape != shape:
            raise ValueError(f"{name}_{field} must be of shape {shape}, got {array.shape}")
    if not ((classes >= 0) & (classes < num_classes)).all():
        raise ValueError(f"{name}_labels must lie in [0, {num_classes})")
    starts, ends = np.ascontiguousarray(times.T)
    return Detections(ids, starts, ends, classes, confidence)


def read_columns(columns: Columns, num_classes: int) -> tuple[Detections, Detections]:
    """Predictions in their own order, and ground truths sorted as `overlaps` wants them.

    Raises:
        ValueError: as `detections`.
    """
    found = detections(
        columns["pred_video"], columns["pred_segments"], columns["pred_labels"],
        columns["pred_scores"], num_classes, "pred",
    )  # fmt: skip
    truth = detections(
        columns["gt_video"], columns["gt_segments"], columns["gt_labels"], None, num_classes, "gt"
    )
    return found, truth.take(np.lexsort((truth.ends, truth.starts, truth.labels, truth.video)))


def check_thresholds(tiou_thresholds: ArrayLike | Tensor) -> Array:
    """The thresholds as a float64 vector; ValueError if they are not fractions."""
    thresholds = np.atleast_1d(_floats(tiou_thresholds, "tiou_thresholds"))
    if (
        thresholds.ndim != 1
        or not len(thresholds)
        or not ((thresholds >= 0) & (thresholds <= 1)).all()
    ):
        raise ValueError(f"tiou_thresholds must be fractions in [0, 1], got {thresholds}")
    return thresholds


def score_order(predictions: Detections) -> Array:
    """The order by class, then descending score, then video, start and end."""
    order = np.argsort(-predictions.scores)
    labels = predictions.labels
    if labels.max(initial=0) < np.iinfo(np.int16).max:
        labels = labels.astype(np.int16)  # sorted by radix, in linear time
    order = order[np.argsort(labels[order], kind="stable")]
    labels, scores = labels[order], predictions.scores[order]
    tied = (labels[1:] == labels[:-1]) & (scores[1:] == scores[:-1])
    return _break_ties(order, tied, predictions.video, predictions.starts, predictions.ends)


def overlaps(predictions: Detections, truth: Detections, order: Array, least: float) -> Pairs:
    """Every prediction with the ground truths of its video and class, from the tIoU `least` on.

    Memory grows with the predictions and with these pairs, never with all pairs there are.

    Args:
        predictions: N of them.
        truth: sorted by video, then class.
        order: (N,) `score_order` of the predictions.
        least: the lowest threshold there is.
    """
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    begin, count = _groups(predictions, truth)
    near = np.flatnonzero(count)
    begin, count = begin[near], count[near]
    nothing = np.zeros(0, dtype=np.int64)
    found = [(nothing, nothing, np.zeros(0))]
    for nth in range(count.max(initial=0)):
        if nth:
            more = count > nth
            near, begin, count = near[more], begin[more], count[more]
        tiou = _tiou(predictions, near, truth, begin + nth)
        enough = np.flatnonzero(tiou >= least)
        found.append((rank[near[enough]], begin[enough] + nth, tiou[enough]))
    ranks, truths, tious = (np.concatenate(parts) for parts in zip(*found, strict=True))
    by_rank = np.argsort(ranks)
    tied = np.diff(ranks[by_rank]) == 0
    by_rank = _break_ties(by_rank, tied, -tious, truths)
    return Pairs(ranks[by_rank], truths[by_rank], tious[by_rank])


def match(pairs: Pairs, num_truths: int, threshold: float) -> Array:
    """The pairs that match at one threshold: indices into `pairs`, one for each ground truth held.

    Taking predictions one by one gives what deferred acceptance gives in a few rounds (Gale and
    Shapley 1962), since every ground truth prefers the higher score: all unmatched predictions
    ask for the best overlap they were not refused yet, and a ground truth holds the best asker.
    """
    rank, truth, tiou = pairs
    none = len(rank)
    held = np.full(num_truths, none)
    foremost = np.empty(num_truths, dtype=np.int64)
    first = np.ones(none, dtype=bool)
    first[1:] = rank[1:] != rank[:-1]
    asking = np.flatnonzero(first & (tiou >= threshold))
    while len(asking):
        asked = truth[asking]
        foremost[asked[::-1]] = asking[::-1]  # of several writes the last one stays
        ahead = foremost[asked] == asking
        winner = asking[ahead]
        former = held[asked[ahead]]
        better = winner < former
        held[truth[winner[better]]] = winner[better]
        former = former[better]
        refused = np.concatenate([asking[~ahead], winner[~better], former[former < none]]) + 1
        refused = refused[refused < none]
        again = (rank[refused] == rank[refused - 1]) & (tiou[refused] >= threshold)
        asking = np.sort(refused[again])
    return held[held < none]


def area_under_precision(hits: Array, first: Array, num_truths: Array) -> Array:
    """Average precision of each class: the area under precision, made monotone from the right.

    Args:
        hits: ascending ranks of the predictions that matched.
        first: (K + 1,) ranks at which the classes begin, and at which the last one ends.
        num_truths: (K,) ground truths of each class.

    Returns:
        (K,), NaN where there is no ground truth.
    """
    result = np.where(num_truths > 0, 0.0, np.nan)
    bounds = np.searchsorted(hits, first)
    for label in np.flatnonzero(np.diff(bounds)):
        rank = hits[bounds[label] : bounds[label + 1]] - first[label]
        precision = np.arange(1, len(rank) + 1) / (rank + 1)
        best_from_here = np.maximum.accumulate(precision[::-1])
        result[label] = best_from_here.sum() / num_truths[label]
    return result


def _break_ties(order: Array, tied: Array, *keys: Array) -> Array:
    """Sort each run of neighbours that `tied` (N − 1,) joins by the keys, the foremost first.

    There are few as a rule, so that this is much cheaper than sorting everything by all keys.
    """
    if not tied.any():
        return order
    run = np.append(0, np.cumsum(~tied))
    where = np.flatnonzero(np.append(tied, False) | np.append(False, tied))
    among = order[where]
    by_keys = np.lexsort((*(key[among] for key in reversed(keys)), run[where]))
    order[where] = among[by_keys]
    return order


def _groups(predictions: Detections, truth: Detections) -> tuple[Array, Array]:
    """Where the ground truths of each prediction's video and class begin, and how many they are."""
    videos, dense = np.unique(truth.video, return_inverse=True)
    num_labels = max(truth.labels.max(initial=0), predictions.labels.max(initial=0)) + 1
    keys, begin, count = np.unique(
        dense * num_labels + truth.labels, return_index=True, return_counts=True
    )
    # One more of each, so that what is not found has a place: a video no one has, no truths.
    place = np.searchsorted(videos, predictions.video)
    known = np.append(videos, -1)[place] == predictions.video
    known &= place < len(videos)
    key = np.where(known, place * num_labels + predictions.labels, -1)
    place = np.searchsorted(keys, key)
    place[np.append(keys, -2)[place] != key] = len(keys)
    return np.append(begin, 0)[place], np.append(count, 0)[place]


def _tiou(predictions: Detections, index: Array, truth: Detections, other: Array) -> Array:
    """tIoU (L,) of predictions `index` (L,) with ground truths `other` (L,); 0 for two moments."""
    start, end = predictions.starts[index], predictions.ends[index]
    true_start, true_end = truth.starts[other], truth.ends[other]
    overlap = np.maximum(np.minimum(end, true_end) - np.maximum(start, true_start), 0)
    union = (end - start) + (true_end - true_start) - overlap
    return np.divide(overlap, union, out=np.zeros_like(union), where=union > 0)


def _floats(values: ArrayLike | Tensor, name: str) -> Array:
    if isinstance(values, Tensor):
        values = values.detach().cpu().double().numpy()
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return array


def _integers(values: ArrayLike | Tensor, name: str) -> Array:
    array = values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"{name} must be a vector, got shape {array.shape}")
    if len(array) and not np.issubdtype(array.dtype, np.integer):
        raise ValueError(f"{name} must hold integers, got {array.dtype}")
    return array.astype(np.int64)
