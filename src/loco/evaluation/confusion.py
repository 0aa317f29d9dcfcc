"""Which class is taken for which: the counts of a confusion matrix of detections."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from loco.evaluation.matching import (
    Array,
    Columns,
    check_thresholds,
    match,
    overlaps,
    read_columns,
    score_order,
)


class Confusion(NamedTuple):
    """What became of events and predictions.

    Attributes:
        counts: (K + 1, K + 1) int64. Row of a class: its events, each in the column of the surest
            prediction that overlaps it enough, whatever its class, and in the last column where
            there is none (missed). Last row: predictions that overlap no event enough (background),
            in the column of their class.
        least: score from which on predictions count.
    """

    counts: Array
    least: float


def confusion(columns: Columns, num_classes: int, tiou: float = 0.5) -> Confusion:
    """Count, at the score where F1 over all classes is highest.

    Without a limit nearly every event would be overlapped by something. Where no prediction is
    right, F1 is that of the places alone.

    Args:
        columns: arrays as `loco.evaluation.metrics.average_precision` takes them.
        num_classes: K.
        tiou: from which on a prediction overlaps an event enough, in (0, 1].

    Raises:
        ValueError: as `average_precision`.
    """
    threshold = float(check_thresholds(tiou)[0])
    if threshold == 0:
        raise ValueError("tiou must be positive")
    found, truth = read_columns(columns, num_classes)
    ranked = found.take(score_order(found))
    ranks = np.arange(len(ranked.labels))
    pairs = overlaps(ranked, truth, ranks, threshold)
    near = overlaps(
        ranked._replace(labels=np.zeros_like(ranked.labels)),
        truth._replace(labels=np.zeros_like(truth.labels)),
        ranks,
        threshold,
    )
    right = np.zeros(len(ranks), dtype=bool)
    for of in (pairs, near):
        if not right.any():
            right[of.rank[match(of, len(truth.labels), threshold)]] = True
    least = _best_score(ranked.scores, right, len(truth.labels))

    counts = np.zeros((num_classes + 1, num_classes + 1), dtype=np.int64)
    kept = ranked.scores[near.rank] >= least
    rank, event, tious = (field[kept] for field in near)
    order = np.lexsort((rank, -tious, -ranked.scores[rank], event))
    met, first = np.unique(event[order], return_index=True)
    column = np.full(len(truth.labels), num_classes)
    column[met] = ranked.labels[rank[order[first]]]
    np.add.at(counts, (truth.labels, column), 1)
    alone = ranked.scores >= least
    alone[near.rank] = False
    counts[num_classes] += np.bincount(ranked.labels[alone], minlength=num_classes + 1)
    return Confusion(counts, least)


def _best_score(scores: Array, right: Array, events: int) -> float:
    """The score from which on predictions have the highest F1; 1 if none is right."""
    if not right.any():
        return 1.0
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    f1 = 2 * np.cumsum(right[order]) / (np.arange(1, len(order) + 1) + events)
    f1[:-1][ranked[1:] == ranked[:-1]] = -1  # equal scores are kept together
    return float(ranked[np.argmax(f1)])
