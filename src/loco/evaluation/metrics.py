"""Mean average precision of temporal detections, at several tIoU thresholds at once.

The measure is ActivityNet's, as UnAV reports it. Per class, predictions are taken by descending
score, and at each threshold a prediction is right if it finds a ground truth of its own video and
class that no better one holds and that it overlaps by at least the threshold; it takes the one it
overlaps most. Average precision is the area under the precision made monotone from the right.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torchmetrics import Metric

from loco.errors import check_number
from loco.evaluation.matching import (
    Array,
    Columns,
    area_under_precision,
    check_thresholds,
    match,
    overlaps,
    read_columns,
    score_order,
)
from loco.structures import Events

DEFAULT_THRESHOLDS = np.linspace(0.1, 0.9, 9)
_HEAD, _PREDICTION, _TRUTH = 0, 1, 2  # kinds of rows of `DetectionMAP`
_UNNAMED = -(2**62)


def average_precision(
    pred_video: ArrayLike | Tensor,
    pred_segments: ArrayLike | Tensor,
    pred_labels: ArrayLike | Tensor,
    pred_scores: ArrayLike | Tensor,
    gt_video: ArrayLike | Tensor,
    gt_segments: ArrayLike | Tensor,
    gt_labels: ArrayLike | Tensor,
    tiou_thresholds: ArrayLike | Tensor,
    num_classes: int,
) -> Array:
    """Average precision of every class at every threshold.

    Equal scores are ordered by video, start and end, so the order of the input never matters.

    Args:
        pred_video: (N,) integer ids of the predictions' videos.
        pred_segments: (N, 2) seconds; computed in float64.
        pred_labels: (N,) class ids in [0, K).
        pred_scores: (N,).
        gt_video: (M,) integer ids of the ground truths' videos.
        gt_segments: (M, 2) seconds.
        gt_labels: (M,) class ids in [0, K).
        tiou_thresholds: (Q,) in [0, 1]; a tIoU equal to the threshold matches.
        num_classes: K.

    Returns:
        (Q, K) float64 fractions: NaN for a class without ground truth, 0 for one that has ground
        truth and no predictions.

    Raises:
        ValueError: shapes do not fit, values are not finite, or a label or a threshold is out of
            its range.
    """
    columns = Columns(
        pred_video=pred_video, pred_segments=pred_segments, pred_labels=pred_labels,
        pred_scores=pred_scores, gt_video=gt_video, gt_segments=gt_segments, gt_labels=gt_labels,
    )  # fmt: skip
    predictions, truth = read_columns(columns, num_classes)
    thresholds = check_thresholds(tiou_thresholds)
    pairs = overlaps(predictions, truth, score_order(predictions), thresholds.min(initial=1.0))

    num_truths = np.bincount(truth.labels, minlength=num_classes)
    first = np.append(0, np.bincount(predictions.labels, minlength=num_classes).cumsum())
    result = np.empty((len(thresholds), num_classes))
    for row, threshold in zip(result, thresholds, strict=True):
        hits = np.sort(pairs.rank[match(pairs, len(truth.labels), threshold)])
        row[:] = area_under_precision(hits, first, num_truths)
    return result


def precision_recall(
    columns: Columns, num_classes: int, tiou: float, num_points: int = 101
) -> Array:
    """Precision of every class at evenly spaced recalls, made monotone from the right.

    Args:
        columns: arrays as `average_precision` takes them.
        num_classes: K.
        tiou: threshold of a match.
        num_points: recalls R from 0 to 1.

    Returns:
        (K, R) float64 fractions: 0 at recalls that are never reached, NaN for a class without
        ground truth.

    Raises:
        ValueError: as `average_precision`.
    """
    found, truth = read_columns(columns, num_classes)
    threshold = float(check_thresholds(tiou)[0])
    pairs = overlaps(found, truth, score_order(found), threshold)
    hits = np.sort(pairs.rank[match(pairs, len(truth.labels), threshold)])
    first = np.append(0, np.bincount(found.labels, minlength=num_classes).cumsum())
    bounds = np.searchsorted(hits, first)
    recalls = np.linspace(0, 1, num_points)
    result = np.full((num_classes, num_points), np.nan)
    for label, num_truths in enumerate(np.bincount(truth.labels, minlength=num_classes)):
        if num_truths:
            mine = hits[bounds[label] : bounds[label + 1]] - first[label]
            precision = np.arange(1, len(mine) + 1) / (mine + 1)
            best_from_here = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
            needed = np.ceil(recalls * num_truths - 1e-9).astype(int)  # hits for this recall
            result[label] = best_from_here[np.clip(needed - 1, 0, len(mine))]
    return result


def map_by_video(columns: Columns, num_videos: int, num_classes: int) -> Array:
    """The mAP of each video by itself, over its own classes and tIoU 0.1, 0.2, … 0.9.

    Args:
        columns: arrays as `average_precision` takes them, videos numbered from 0.
        num_videos: V.
        num_classes: K.

    Returns:
        (V,) float64 fractions, NaN for a video without ground truth. Predictions of classes that a
        video does not hold do not count.

    Raises:
        ValueError: as `average_precision`.
    """
    found, truth = read_columns(columns, num_classes)
    keys, labels = np.unique(truth.video * num_classes + truth.labels, return_inverse=True)
    wanted = found.video * num_classes + found.labels
    found = found.take(np.isin(wanted, keys))
    precision = average_precision(
        found.video, np.stack([found.starts, found.ends], 1),
        np.searchsorted(keys, found.video * num_classes + found.labels), found.scores,
        truth.video, np.stack([truth.starts, truth.ends], 1), labels,
        DEFAULT_THRESHOLDS, max(len(keys), 1),
    ).mean(0)[: len(keys)]  # fmt: skip
    videos = keys // num_classes
    classes = np.bincount(videos, minlength=num_videos)
    sums = np.bincount(videos, precision, minlength=num_videos)
    return np.where(classes > 0, sums / np.maximum(classes, 1), np.nan)


class DetectionMAP(Metric):
    """mAP of the videos seen so far; states of several processes are put together by `compute`.

    A video counts once, however often it comes: its first copy is kept whole, predictions and
    ground truths, and of copies in several processes that of the lowest rank. So a sampler that
    fills up its last batches with repeats changes nothing, and the result equals, bit for bit,
    that of one process given the same predictions under the same ids.

    Everything is kept in float64 whatever the model's precision: as bit patterns in integers, which
    no conversion of a surrounding module touches.

    Args:
        num_classes: K.
        tiou_thresholds: (Q,) fractions; 0.1, 0.2, … 0.9 by default.

    Raises:
        ValueError: a threshold is out of range.
    """

    is_differentiable = False
    higher_is_better = True
    full_state_update = False
    records: list[Tensor]

    def __init__(
        self,
        num_classes: int,
        tiou_thresholds: ArrayLike | Tensor = DEFAULT_THRESHOLDS,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        check_number("num_classes", num_classes, 1, whole=True)
        self.num_classes = num_classes
        self.tiou_thresholds = check_thresholds(tiou_thresholds)
        self._unnamed = 0
        self._matrix: Array | None = None
        # Each tensor (R, 6): for every video a head, then its predictions, then its ground truths.
        self.add_state("records", default=[], dist_reduce_fx="cat")

    def update(
        self,
        predictions: Sequence[Events],
        targets: Sequence[Events],
        video_ids: Sequence[int] | Tensor | None = None,
    ) -> None:
        """Add videos.

        Args:
            predictions: detections of each video, with scores.
            targets: ground truth of each video, in the same unit of time.
            video_ids: non-negative integers that tell the videos apart, in every process alike.
                If None every video is taken as a new one, which is right in one process, and in
                several as long as no sampler repeats videos.

        Raises:
            ValueError: the lists differ in length, scores are missing, or an id is negative;
                values are checked by `compute`.
        """
        self._matrix = None
        if video_ids is None:
            ids = self._new_ids(len(predictions))
        else:
            ids = torch.as_tensor(video_ids, dtype=torch.long).tolist()
            if min(ids, default=0) < 0:
                raise ValueError("video_ids must not be negative")
        if not len(predictions) == len(targets) == len(ids):
            raise ValueError(
                f"got {len(predictions)} predictions, {len(targets)} targets and {len(ids)} ids"
            )
        rows = []
        for number, found, true in zip(ids, predictions, targets, strict=True):
            if found.scores is None:
                raise ValueError("predictions must have scores")
            rows.append(torch.tensor([[number, _HEAD, 0, 0, 0, 0]]))
            rows.append(self._rows(number, _PREDICTION, found))
            rows.append(self._rows(number, _TRUTH, true))
        if rows:
            self.records.append(torch.cat(rows).to(self.device))

    def compute(self) -> dict[str, Tensor]:
        """`mAP`, the mean over all thresholds, and `mAP@0.5` and so on, each a scalar fraction.

        Classes without ground truth do not count; NaN where there is no ground truth at all.
        """
        self._matrix = average_precision(
            **self.columns(), tiou_thresholds=self.tiou_thresholds, num_classes=self.num_classes
        )
        rated = ~np.isnan(self._matrix).any(0)
        means = self._matrix[:, rated].mean(1) if rated.any() else self._matrix.mean(1)
        result = {"mAP": means.mean()}
        for threshold, mean in zip(self.tiou_thresholds, means, strict=True):
            result[f"mAP@{threshold:.12g}"] = mean
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        return {k: torch.tensor(v, dtype=exact, device=self.device) for k, v in result.items()}

    def per_class(self) -> Array:
        """(Q, K) average precisions behind `compute`; in several processes all must call it."""
        self.compute()
        assert self._matrix is not None
        return self._matrix

    def columns(self) -> Columns:
        """What was seen here, each video once, as `average_precision` takes it."""
        tables = [self.records] if isinstance(self.records, Tensor) else self.records
        empty = torch.zeros(0, 6, dtype=torch.long)
        table = torch.cat([empty, *(t.cpu() for t in tables)]).numpy()
        video, kind, labels = table[:, :3].T
        copy = np.cumsum(kind == _HEAD) - 1
        _, first_copies = np.unique(video[kind == _HEAD], return_index=True)
        kept = np.isin(copy, first_copies)
        starts, ends, scores = np.ascontiguousarray(table[:, 3:].T).view(np.float64)
        found, true = kept & (kind == _PREDICTION), kept & (kind == _TRUTH)
        segments = np.stack([starts, ends], 1)
        return Columns(
            pred_video=video[found], pred_segments=segments[found], pred_labels=labels[found],
            pred_scores=scores[found], gt_video=video[true], gt_segments=segments[true],
            gt_labels=labels[true],
        )  # fmt: skip

    def sync(self, *args: Any, **kwargs: Any) -> None:
        """As `Metric.sync`; a process that saw no video takes part with an empty table."""
        if isinstance(self.records, list) and not self.records:
            self.records.append(torch.zeros(0, 6, dtype=torch.long, device=self.device))
        super().sync(*args, **kwargs)

    def set_dtype(self, dst_type: str | torch.dtype) -> DetectionMAP:
        """Nothing: the states keep their precision."""
        return self

    def _new_ids(self, count: int) -> list[int]:
        """Ids below all that a caller may give, increasing, and different in every process."""
        rank, world = 0, 1
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
        begin = self._unnamed
        self._unnamed += count
        return [_UNNAMED + i * world + rank for i in range(begin, self._unnamed)]

    @staticmethod
    def _rows(video: int, kind: int, events: Events) -> Tensor:
        """(N, 6) long: video, kind, label, and the bits of start, end and score in float64."""
        rows = torch.zeros(len(events), 6, dtype=torch.long)
        rows[:, 0], rows[:, 1], rows[:, 2] = video, kind, events.labels.cpu()
        values = torch.zeros(len(events), 3, dtype=torch.float64)
        values[:, :2] = events.segments.detach().cpu()
        if events.scores is not None:
            values[:, 2] = events.scores.detach().cpu()
        rows[:, 3:] = values.view(torch.long)
        return rows
