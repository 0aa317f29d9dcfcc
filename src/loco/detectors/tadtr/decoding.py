"""From queries to events: every query may name several classes, none is suppressed by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loco.detection.nms import hard_nms, soft_nms
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class SetDecoding:
    """How queries are read.

    Args:
        max_segments: pairs of query and class that are kept of each video, the best ones.
        nms: `none`, or `soft` or `hard` suppression within each class.
        sigma: width of the soft suppression.
        iou_threshold: of the hard one.
    """

    max_segments: int = 100
    nms: Literal["none", "soft", "hard"] = "none"
    sigma: float = 0.4
    iou_threshold: float = 0.7

    def __post_init__(self) -> None:
        if self.nms not in ("none", "soft", "hard"):
            raise ValueError(f"nms must be none, soft or hard, got {self.nms!r}")
        if self.max_segments < 1:
            raise ValueError(f"max_segments must be at least 1, got {self.max_segments}")

    def best(self, logits: Tensor, actionness: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, queries and labels (B, M) of the best pairs, by descending score.

        Args:
            logits: (B, Q, K).
            actionness: (B, Q), multiplied with the probabilities.
        """
        scores = logits.float().sigmoid()
        if actionness is not None:
            scores = scores * actionness.float().unsqueeze(-1)
        flat = scores.flatten(1)
        top, place = flat.topk(min(self.max_segments, flat.shape[1]), dim=1)
        return top, place // logits.shape[2], place % logits.shape[2]

    @torch.no_grad()
    def __call__(
        self, logits: Tensor, segments: Tensor, actionness: Tensor | None, count: Tensor,
        *, durations: Tensor, grid: TimeGrid,
    ) -> list[Events]:  # fmt: skip
        """Detections of each video, by descending score, clipped to [0, duration].

        Args:
            logits: (B, Q, K).
            segments: (B, Q, 2) centres and widths, as fractions of the real steps.
            actionness: (B, Q) or None.
            count: (B,) real steps n.
            durations: (B,) seconds.
            grid: turns steps into seconds.
        """
        scores, query, labels = self.best(logits, actionness)
        centre, width = segments.float().unbind(-1)
        ends = torch.stack([centre - width / 2, centre + width / 2], dim=-1)
        seconds = grid.to_seconds(ends * count.view(-1, 1, 1) - 0.5)
        seconds = seconds.clamp(min=0).minimum(durations.to(seconds).view(-1, 1, 1))
        found = seconds.gather(1, query.unsqueeze(-1).expand(-1, -1, 2))
        return [self._suppressed(*of_video) for of_video in zip(found, labels, scores, strict=True)]

    def _suppressed(self, segments: Tensor, labels: Tensor, scores: Tensor) -> Events:
        if self.nms == "none":
            return Events(segments, labels, scores)
        if self.nms == "soft":
            kept = soft_nms(segments, scores, labels, self.sigma)
        else:
            kept = hard_nms(segments, scores, labels, self.iou_threshold)
        return Events(kept[0], kept[2], kept[1])
