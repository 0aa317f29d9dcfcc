"""Where the mean average precision is lost: by kind of event, and by kind of mistake.

After Alwassel et al. 2018, "Diagnosing Error in Temporal Action Detectors" (DETAD), at one tIoU.
Unlike there, average precision is not normalised by the number of events of a bucket, so buckets
are best compared between models, and less so with one another.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from loco.evaluation.matching import (
    Array,
    Columns,
    Detections,
    Pairs,
    area_under_precision,
    check_thresholds,
    match,
    overlaps,
    read_columns,
    score_order,
)

BACKGROUND_TIOU = 0.1
"""Below this a prediction is on background, from it on it is near an event (DETAD)."""


def diagnose(
    columns: Columns,
    num_classes: int,
    tiou: float = 0.5,
    lengths: tuple[float, float] = (5.0, 15.0),
    recall_at: tuple[int, ...] = (1, 5, 10, 50, 100),
) -> dict[str, Any]:
    """Break a result down.

    Args:
        columns: arrays as `loco.evaluation.metrics.average_precision` takes them.
        num_classes: K.
        tiou: threshold of a match, in (0, 1].
        lengths: up to the first an event is short, from the second on long, in seconds.
        recall_at: numbers of predictions a video.

    Returns:
        Plain values for JSON, all fractions but the counts; None where there is nothing to rate.

        - `tiou`, `lengths`, `num_events`, `num_predictions`; `mAP`; `missed`, the fraction of
          events without a match among all predictions.
        - `by_length` (short, medium, long), `by_events_in_video` (1, 2-4, 5+) and `by_overlap`
          (alone, or overlapping any other event of the video), each with `num_events`, `missed`
          and `mAP` of the bucket: its events are the only ground truth, and predictions matched to
          other events are neither right nor wrong (DETAD, sensitivity to characteristics).
        - `recall_at`: events found by the best N predictions of each video, all classes together.
        - `predictions`: what the best 10·G predictions of each class with G events are (DETAD,
          false positive profile): `true_positive`; `double`, a match whose event a better one has;
          `wrong_label`, a match but for the class; `localization`, the right class but a tIoU
          between 0.1 and the threshold; `confusion`, such a tIoU and another class; `background`.

    Raises:
        ValueError: as `average_precision`.
    """
    threshold = float(check_thresholds(tiou)[0])
    if threshold == 0:
        raise ValueError("tiou must be positive")
    found, truth = read_columns(columns, num_classes)
    ranked = found.take(score_order(found))  # from here on a rank is an index
    ranks = np.arange(len(ranked.labels))
    pairs = overlaps(ranked, truth, ranks, min(BACKGROUND_TIOU, threshold))
    held = match(pairs, len(truth.labels), threshold)
    event_of = np.full(len(ranks), -1)
    event_of[pairs.rank[held]] = pairs.truth[held]

    everything = np.ones(len(truth.labels), dtype=bool)
    whole = _bucket(ranked, truth, event_of, everything, num_classes)
    result: dict[str, Any] = {
        "tiou": threshold,
        "lengths": list(lengths),
        "num_predictions": len(ranks),
        **whole,
    }
    for name, buckets in _characteristics(truth, lengths).items():
        result[name] = {
            bucket: _bucket(ranked, truth, event_of, inside, num_classes)
            for bucket, inside in buckets.items()
        }
    result["recall_at"] = {
        str(number): _fraction(_events_found(ranked, pairs, number, truth, threshold), everything)
        for number in recall_at
    }
    result["predictions"] = _mistakes(ranked, truth, pairs, event_of, threshold, num_classes)
    return result


def _characteristics(
    truth: Detections, lengths: tuple[float, float]
) -> dict[str, dict[str, Array]]:
    """The events of each bucket, as masks (M,)."""
    length = truth.ends - truth.starts
    _, dense, counts = np.unique(truth.video, return_inverse=True, return_counts=True)
    together = counts[dense]
    # An event overlaps another if one that started before it has not ended, or one starts inside.
    order = np.lexsort((truth.starts, truth.video))
    overlapping = np.zeros(len(length), dtype=bool)
    latest, latest_end, video = -1, -np.inf, None
    for i in order:
        if truth.video[i] != video:
            video, latest, latest_end = truth.video[i], -1, -np.inf
        if truth.starts[i] < latest_end:
            overlapping[[i, latest]] = True
        if truth.ends[i] > latest_end:
            latest, latest_end = i, truth.ends[i]
    return {
        "by_length": {
            "short": length <= lengths[0],
            "medium": (length > lengths[0]) & (length < lengths[1]),
            "long": length >= lengths[1],
        },
        "by_events_in_video": {
            "1": together == 1,
            "2-4": (together > 1) & (together < 5),
            "5+": together >= 5,
        },
        "by_overlap": {"alone": ~overlapping, "overlapping": overlapping},
    }


def _bucket(
    ranked: Detections, truth: Detections, event_of: Array, inside: Array, num_classes: int
) -> dict[str, float | int | None]:
    """Numbers of the events `inside` (M,): count, missed, mAP."""
    right = event_of >= 0
    right[right] = inside[event_of[right]]
    kept = right | (event_of < 0)
    hits = (np.cumsum(kept) - 1)[right]
    first = np.append(0, np.bincount(ranked.labels[kept], minlength=num_classes).cumsum())
    num_truths = np.bincount(truth.labels[inside], minlength=num_classes)
    precision = area_under_precision(hits, first, num_truths)[num_truths > 0]
    missed = np.ones(len(inside), dtype=bool)
    missed[event_of[event_of >= 0]] = False
    return {
        "num_events": int(inside.sum()),
        "missed": _fraction(missed & inside, inside),
        "mAP": float(precision.mean()) if len(precision) else None,
    }


def _events_found(
    ranked: Detections, pairs: Pairs, number: int, truth: Detections, threshold: float
) -> Array:
    """Events (M,) that the best `number` predictions of each video match."""
    order = np.lexsort((ranked.labels, ranked.ends, ranked.starts, -ranked.scores, ranked.video))
    video = ranked.video[order]
    place = np.arange(len(order)) - np.searchsorted(video, video)
    allowed = np.zeros(len(order), dtype=bool)
    allowed[order[place < number]] = True
    pairs = Pairs(*(field[allowed[pairs.rank]] for field in pairs))
    found = np.zeros(len(truth.labels), dtype=bool)
    found[pairs.truth[match(pairs, len(found), threshold)]] = True
    return found


def _mistakes(
    ranked: Detections,
    truth: Detections,
    pairs: Pairs,
    event_of: Array,
    threshold: float,
    num_classes: int,
) -> dict[str, float | int | None]:
    """What the best 10·G predictions of each class are, as fractions of them."""
    ranks = np.arange(len(ranked.labels))
    same = np.zeros(len(ranks))
    np.maximum.at(same, pairs.rank, pairs.tiou)
    any_class = overlaps(
        ranked._replace(labels=np.zeros_like(ranked.labels)),
        truth._replace(labels=np.zeros_like(truth.labels)),
        ranks,
        BACKGROUND_TIOU,
    )
    other = np.zeros(len(ranks))
    foreign = ranked.labels[any_class.rank] != truth.labels[any_class.truth]
    np.maximum.at(other, any_class.rank[foreign], any_class.tiou[foreign])

    first = np.append(0, np.bincount(ranked.labels, minlength=num_classes).cumsum())
    num_truths = np.bincount(truth.labels, minlength=num_classes)
    rated = ranks - first[ranked.labels] < 10 * num_truths[ranked.labels]
    kinds = {
        "true_positive": event_of >= 0,
        "double": same >= threshold,
        "wrong_label": other >= threshold,
        "localization": same >= BACKGROUND_TIOU,
        "confusion": other >= BACKGROUND_TIOU,
        "background": np.ones(len(ranks), dtype=bool),
    }
    left = rated.copy()
    result: dict[str, float | int | None] = {"num_rated": int(rated.sum())}
    for name, mask in kinds.items():
        result[name] = _fraction(mask & left, rated)
        left &= ~mask
    return result


def _fraction(part: Array, whole: Array) -> float | None:
    return float(part.sum() / whole.sum()) if whole.any() else None
