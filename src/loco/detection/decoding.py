"""From what a point-based detector says to the events of each video, the whole batch at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from loco.detection.nms import hard_nms, soft_nms
from loco.errors import check_number
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class Decoding:
    """Thresholds of inference [U].

    Args:
        score_threshold: candidates at or below it are dropped.
        top_k: candidates kept of each level and video, the best ones.
        min_length: candidates shorter than this are dropped, in steps.
        nms: Gaussian `soft` or `hard` non-maximum suppression within each class.
        sigma: width of the soft suppression.
        iou_threshold: of the hard one.
        min_score: detections whose score falls below it are dropped.
        max_segments: detections kept of each video, the best ones.
    """

    score_threshold: float = 0.001
    top_k: int = 2000
    min_length: float = 0.05
    nms: Literal["soft", "hard"] = "soft"
    sigma: float = 0.4
    iou_threshold: float = 0.7
    min_score: float = 0.001
    max_segments: int = 100

    def __post_init__(self) -> None:
        if self.nms not in ("soft", "hard"):
            raise ValueError(f"nms must be soft or hard, got {self.nms!r}")
        for name in ("score_threshold", "iou_threshold", "min_score"):
            check_number(name, getattr(self, name), 0, 1)
        for name in ("top_k", "max_segments"):
            check_number(name, getattr(self, name), 1, whole=True)
        check_number("min_length", self.min_length, 0)
        check_number("sigma", self.sigma, 0, without="low")

    @property
    def _suppress(self) -> Callable[..., tuple[Tensor, ...]]:
        if self.nms == "soft":
            return partial(soft_nms, sigma=self.sigma)
        return partial(hard_nms, iou_threshold=self.iou_threshold)

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        offsets: Tensor,
        mask: Tensor,
        points: Tensor,
        *,
        durations: Tensor,
        grid: TimeGrid,
    ) -> list[Events]:
        """Detections of each video, by descending score, clipped to [0, duration].

        Args:
            logits: (B, P, K).
            offsets: (B, P, K, 2) in strides, ≥ 0.
            mask: (B, P).
            points: (P, 4) step, range low, range high, stride.
            durations: (B,) seconds.
            grid: turns steps into seconds.
        """
        video, scores, labels, segments = self._candidates(
            logits.float(), offsets.float(), mask, points
        )
        segments = grid.to_seconds(segments)
        segments, scores, labels, video = self._suppress(
            segments, scores, labels,
            min_score=self.min_score, max_segments=self.max_segments, video=video,
        )  # fmt: skip
        segments = segments.clamp(min=0).minimum(durations.to(segments)[video].unsqueeze(1))
        counts = torch.bincount(video, minlength=len(logits)).tolist()
        return [
            Events(*of_video)
            for of_video in zip(
                segments.split(counts), labels.split(counts), scores.split(counts), strict=True
            )
        ]

    def _candidates(
        self, logits: Tensor, offsets: Tensor, mask: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Video, score and label (M,) and segment (M, 2) in steps of what may be an event."""
        num_classes = logits.shape[2]
        probability = torch.where(mask.unsqueeze(-1), logits.sigmoid(), 0)
        scores, places = [], []
        _, level_sizes = points[:, 3].unique_consecutive(return_counts=True)
        first = 0
        for size in level_sizes.tolist():
            level = probability[:, first : first + size].flatten(1)
            top = level.topk(min(self.top_k, level.shape[1]), dim=1)
            scores.append(top.values)
            places.append(top.indices + first * num_classes)
            first += size
        score, place = torch.cat(scores, 1), torch.cat(places, 1)
        video, rank = (score > self.score_threshold).nonzero(as_tuple=True)
        score, place = score[video, rank], place[video, rank]
        point, label = place // num_classes, place % num_classes
        step, stride = points[point, 0], points[point, 3]
        distances = offsets[video, point, label] * stride.unsqueeze(1)
        segments = torch.stack([step - distances[:, 0], step + distances[:, 1]], dim=1)
        long_enough = distances.sum(1) > self.min_length
        return video[long_enough], score[long_enough], label[long_enough], segments[long_enough]
