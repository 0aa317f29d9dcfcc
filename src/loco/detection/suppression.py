"""From scored segments of many videos to the events of each: suppression, voting, clipping.

The second half of every detector's inference, whatever its candidates come from.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Literal

import torch
from torch import Tensor

from loco.detection.nms import hard_nms, soft_nms
from loco.errors import ModelError, check_number
from loco.structures import Events

_PAIRS = 1 << 22
"""Largest table of pairs that voting makes at once."""


@dataclass(frozen=True)
class Voting:
    """Kept segments become weighted means of all candidates around them, whatever their class.

    Args:
        threshold: IoU from which a candidate has a vote.
        weight: a vote's: its `score` alone (TriDet), or `score_iou`, score · IoU (ActionFormer);
            scores are those from before the suppression.

    Raises:
        ValueError: a setting out of its range.
    """

    threshold: float = 0.75
    weight: Literal["score", "score_iou"] = "score_iou"

    def __post_init__(self) -> None:
        check_number("threshold", self.threshold, 0, 1, without="low")
        if self.weight not in ("score", "score_iou"):
            raise ValueError(f"weight of voting must be score or score_iou, got {self.weight!r}")

    def __call__(self, kept: Tensor, segments: Tensor, scores: Tensor) -> Tensor:
        """The segments kept (M, 2) of a video after the votes of its candidates (N, 2), (N,)."""
        rows = max(_PAIRS // max(len(segments), 1), 1)
        voted = [self._vote(part, segments, scores) for part in kept.split(rows)]
        return torch.cat(voted) if voted else kept

    def _vote(self, kept: Tensor, segments: Tensor, scores: Tensor) -> Tensor:
        starts, ends = kept[:, None].unbind(2)
        overlap = torch.minimum(ends, segments[:, 1]) - torch.maximum(starts, segments[:, 0])
        overlap = overlap.clamp(min=0)
        union = (ends - starts) + (segments[:, 1] - segments[:, 0]) - overlap
        iou = overlap / union.clamp(min=torch.finfo(union.dtype).tiny)
        weights = torch.where(iou >= self.threshold, scores, 0)
        if self.weight == "score_iou":
            weights = weights * iou
        total = weights.sum(1, keepdim=True)
        return torch.where(total > 0, weights @ segments / total, kept)


def refuse_nan(**values: Tensor) -> None:
    """See that a net's outputs are numbers, by their names.

    NaN is above no threshold: its video would lose its events without a word.

    Raises:
        ModelError: some of them are NaN.
    """
    for name, value in values.items():
        if value.isnan().any():
            raise ModelError(
                f"the model's {name} are not all numbers: its computation overflowed. "
                "trainer.precision=32-true may help, or features of usual size"
            )


@dataclass(frozen=True)
class Suppression:
    """What of a video's candidates becomes its events.

    Args:
        nms: non-maximum suppression, Gaussian `soft` or `hard`; `none` keeps the best as they are.
        class_aware: whether only candidates of one class suppress one another, or all do.
        sigma: width of the soft suppression.
        iou_threshold: of the hard one.
        min_score: detections whose score falls below it are dropped.
        max_segments: detections kept of each video, the best ones.
        voting: moves what is kept to where the candidates around it say, in the class-agnostic
            form alone; None is off.

    Raises:
        ValueError: a setting out of its range, or voting within classes.
    """

    nms: Literal["soft", "hard", "none"] = "soft"
    class_aware: bool = True
    sigma: float = 0.4
    iou_threshold: float = 0.7
    min_score: float = 0.001
    max_segments: int = 100
    voting: Voting | None = None

    def __post_init__(self) -> None:
        if self.nms not in ("soft", "hard", "none"):
            raise ValueError(f"nms must be soft, hard or none, got {self.nms!r}")
        for name in ("iou_threshold", "min_score"):
            check_number(name, getattr(self, name), 0, 1)
        check_number("max_segments", self.max_segments, 1, whole=True)
        check_number("sigma", self.sigma, 0, without="low")
        if self.voting is not None and (self.class_aware or self.nms == "none"):
            raise ValueError("voting needs class_aware=false and a soft or hard nms")

    @property
    def _suppress(self) -> Callable[..., tuple[Tensor, ...]]:
        if self.nms == "none":
            return _keep_best
        if self.nms == "soft":
            return partial(soft_nms, sigma=self.sigma, class_aware=self.class_aware)
        return partial(hard_nms, iou_threshold=self.iou_threshold, class_aware=self.class_aware)

    @torch.no_grad()
    def to_events(
        self, segments: Tensor, scores: Tensor, labels: Tensor, video: Tensor, durations: Tensor
    ) -> list[Events]:
        """Detections of each video, by descending score, clipped to [0, duration].

        Args:
            segments: (M, 2) candidates of all videos, seconds.
            scores: (M,) in [0, 1].
            labels: (M,) long.
            video: (M,) long, the video of each.
            durations: (B,) seconds.

        Raises:
            ModelError: NaN among them.
        """
        refuse_nan(scores=scores, segments=segments)
        kept, best, label, owner = self._suppress(
            segments, scores, labels,
            min_score=self.min_score, max_segments=self.max_segments, video=video,
        )  # fmt: skip
        counts = torch.bincount(owner, minlength=len(durations)).tolist()
        if self.voting is not None:
            voted = [
                self.voting(of_video, segments[video == b], scores[video == b])
                for b, of_video in enumerate(kept.split(counts))
            ]
            kept = torch.cat(voted)
        kept = kept.clamp(min=0).minimum(durations.to(kept)[owner].unsqueeze(1))
        parts = zip(kept.split(counts), label.split(counts), best.split(counts), strict=True)
        return [Events(*of_video) for of_video in parts]


def _keep_best(
    segments: Tensor, scores: Tensor, labels: Tensor, *, min_score: float, max_segments: int,
    video: Tensor,
) -> tuple[Tensor, ...]:  # fmt: skip
    """The best of each video as they are; arguments and result as those of `soft_nms`."""
    index = (scores >= min_score).nonzero().squeeze(1)
    index = index[scores[index].argsort(descending=True, stable=True)]
    index = index[video[index].argsort(stable=True)]
    owner = video[index]
    first = torch.searchsorted(owner, owner)  # where its video begins
    index = index[torch.arange(len(index), device=index.device) - first < max_segments]
    return segments[index], scores[index], labels[index], video[index]
