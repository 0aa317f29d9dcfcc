"""From boxes to events: back to the video's own time, then suppression within each class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from loco.detection.nms import hard_nms, soft_nms
from loco.detectors.vsgn.stitching import Layout
from loco.structures import Events, TimeGrid


@dataclass(frozen=True)
class BoxDecoding:
    """How boxes are read.

    Args:
        score_threshold: a box names classes of a higher probability.
        nms: `soft` or `hard` suppression within each class.
        sigma: width of the soft suppression.
        iou_threshold: of the hard one.
        min_score: detections below it are dropped.
        max_segments: detections kept of each video, the best ones; None for all.
    """

    score_threshold: float = 0.005
    nms: Literal["soft", "hard"] = "soft"
    sigma: float = 0.46
    iou_threshold: float = 0.4
    min_score: float = 0.0
    max_segments: int | None = 100

    def __post_init__(self) -> None:
        if self.nms not in ("soft", "hard"):
            raise ValueError(f"nms must be soft or hard, got {self.nms!r}")

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
        _, start, end = frames.unbind(1)
        shown = boundary_score(start, boxes[..., 0]) * boundary_score(end, boxes[..., 1])
        seconds = grid.to_seconds(layout.to_steps(boxes))
        seconds = seconds.clamp(min=0).minimum(durations.to(seconds).view(-1, 1, 1))
        long_enough = seconds[..., 1] > seconds[..., 0]
        named = (probability > self.score_threshold) & long_enough.unsqueeze(2)
        video, box, label = named.nonzero(as_tuple=True)
        segments = seconds[video, box]
        scores = probability[video, box, label] * shown[video, box]
        soft = self.nms == "soft"
        segments, scores, labels, video = (soft_nms if soft else hard_nms)(
            segments, scores, label, self.sigma if soft else self.iou_threshold,
            min_score=self.min_score, max_segments=self.max_segments, video=video,
        )  # fmt: skip
        counts = torch.bincount(video, minlength=len(boxes)).tolist()
        parts = (segments.split(counts), labels.split(counts), scores.split(counts))
        return [Events(*of_video) for of_video in zip(*parts, strict=True)]


def boundary_score(frames: Tensor, boundary: Tensor) -> Tensor:
    """(R, P): mean of the frames (R, L) before and behind each boundary (R, P)."""
    last = frames.shape[1] - 1
    places = boundary.floor(), boundary.ceil()
    before, behind = (frames.gather(1, place.clamp(0, last).long()) for place in places)
    return (before + behind) / 2
