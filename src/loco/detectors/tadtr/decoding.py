"""From queries to events: every query may name several classes, none is suppressed by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loco.detection.suppression import Suppression
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class SetDecoding(Suppression):
    """How queries are read: as many pairs of query and class as `max_segments`, the best ones.

    Args are those of the suppression, which is off by default.
    """

    nms: Literal["soft", "hard", "none"] = "none"
    min_score: float = 0.0

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
        found = seconds.gather(1, query.unsqueeze(-1).expand(-1, -1, 2))
        video = torch.arange(len(query), device=query.device).repeat_interleave(query.shape[1])
        return self.to_events(
            found.flatten(0, 1), scores.flatten(), labels.flatten(), video, durations
        )
