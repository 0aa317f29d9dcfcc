"""From what a point-based detector says to the events of each video, the whole batch at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loco.detection.suppression import Suppression, refuse_nan
from loco.errors import check_number
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class Decoding(Suppression):
    """Thresholds of inference [U], beside those of the suppression.

    Args:
        score_threshold: candidates at or below it are dropped.
        top_k: candidates kept of each level and video, the best ones.
        min_length: candidates shorter than this are dropped, in steps.
        score_power: β; where the net rates the quality q of a point's segment, a score is p · qᵝ.
    """

    score_threshold: float = 0.001
    top_k: int = 2000
    min_length: float = 0.05
    score_power: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("score_threshold", self.score_threshold, 0, 1)
        check_number("top_k", self.top_k, 1, whole=True)
        check_number("min_length", self.min_length, 0)
        check_number("score_power", self.score_power, 0)

    @torch.no_grad()
    def __call__(
        self,
        logits: Tensor,
        offsets: Tensor,
        mask: Tensor,
        points: Tensor,
        quality: Tensor | None = None,
        *,
        durations: Tensor,
        grid: TimeGrid,
    ) -> list[Events]:
        """Detections of each video, by descending score, clipped to [0, duration].

        Args:
            logits: (B, P, K).
            offsets: (B, P, K, 2) in strides, ≥ 0; or (B, P, 2), common to the classes.
            mask: (B, P).
            points: (P, 4) step, range low, range high, stride.
            quality: (B, P) rating of each point's segment, before the sigmoid.
            durations: (B,) seconds.
            grid: turns steps into seconds.
        """
        video, scores, labels, segments = self._candidates(
            self.probability(logits, quality), offsets.float(), mask, points
        )
        return self.to_events(grid.to_seconds(segments), scores, labels, video, durations)

    def probability(self, logits: Tensor, quality: Tensor | None = None) -> Tensor:
        """What a class of a point scores, (B, P, K): p, or p · qᵝ."""
        probability = logits.float().sigmoid()
        if quality is None:
            return probability
        return probability * quality.float().sigmoid().unsqueeze(2) ** self.score_power

    def _candidates(
        self, probability: Tensor, offsets: Tensor, mask: Tensor, points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Video, score and label (M,) and segment (M, 2) in steps of what may be an event."""
        num_classes = probability.shape[2]
        probability = torch.where(mask.unsqueeze(-1), probability, 0)
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
        distances = offsets[video, point] if offsets.ndim == 3 else offsets[video, point, label]
        refuse_nan(probabilities=probability, distances=distances)
        distances = distances * stride.unsqueeze(1)
        segments = torch.stack([step - distances[:, 0], step + distances[:, 1]], dim=1)
        long_enough = distances.sum(1) > self.min_length
        return video[long_enough], score[long_enough], label[long_enough], segments[long_enough]
