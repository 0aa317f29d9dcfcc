"""From boxes to events: back to the video's own time, then suppression within each class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from loco.detection.suppression import Suppression, refuse_nan
from loco.detectors.vsgn.stitching import Layout
from loco.errors import check_number
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class BoxDecoding(Suppression):
    """How boxes are read, beside the suppression.

    Args:
        score_threshold: a box names classes of a higher probability.
    """

    sigma: float = 0.46
    iou_threshold: float = 0.4
    min_score: float = 0.0
    score_threshold: float = 0.005

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("score_threshold", self.score_threshold, 0, 1)

    @torch.no_grad()
    def __call__(
        self, probability: Tensor, boxes: Tensor, frames: Tensor, layout: Layout, *,
        durations: Tensor, grid: TimeGrid,
    ) -> list[Events]:  # fmt: skip
        """Detections of each video, by descending score, clipped to [0, duration].

        A score is the class's probability, times how much of a start and an end the frames around
        the box's boundaries show.

        Args:
            probability: (R, P, K), a video a row.
            boxes: (R, P, 2) in frames.
            frames: (R, 3, L) probabilities of action, start and end.
            layout: of the rows.
            durations: (R,) seconds.
            grid: turns steps into seconds.
        """
        refuse_nan(probabilities=probability, boxes=boxes)
        _, start, end = frames.unbind(1)
        shown = boundary_score(start, boxes[..., 0]) * boundary_score(end, boxes[..., 1])
        seconds = grid.to_seconds(layout.to_steps(boxes))
        seconds = seconds.clamp(min=0).minimum(durations.to(seconds).view(-1, 1, 1))
        long_enough = seconds[..., 1] > seconds[..., 0]
        named = (probability > self.score_threshold) & long_enough.unsqueeze(2)
        video, box, label = named.nonzero(as_tuple=True)
        segments = seconds[video, box]
        scores = probability[video, box, label] * shown[video, box]
        return self.to_events(segments, scores, label, video, durations)


def boundary_score(frames: Tensor, boundary: Tensor) -> Tensor:
    """(R, P): mean of the frames (R, L) before and behind each boundary (R, P)."""
    last = frames.shape[1] - 1
    places = boundary.floor(), boundary.ceil()
    before, behind = (frames.gather(1, place.clamp(0, last).long()) for place in places)
    return (before + behind) / 2
