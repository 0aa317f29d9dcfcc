"""Which query answers for which event: the cheapest one-to-one matching of each video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from loco.errors import check_number
from loco.structures import Events, TimeGrid


class Targets(NamedTuple):
    """The events of a batch, N of them, video by video.

    Attributes:
        video: (N,) long, index in the batch.
        label: (N,) long, class id.
        segments: (N, 2) centres and widths, as fractions of their video's real steps.
    """

    video: Tensor
    label: Tensor
    segments: Tensor


class Matches(NamedTuple):
    """Pairs of queries and events, (M,) long each, layer by layer and as many in each of them."""

    layer: Tensor
    query: Tensor
    event: Tensor
    """Index into the events of the batch; their video is the query's."""


def make_targets(events: Sequence[Events], grid: TimeGrid, count: Tensor) -> Targets:
    """Ground truth in fractions of the real steps; step t reaches from t/n to (t + 1)/n.

    Args:
        events: B ground truths in seconds.
        grid: turns seconds into steps.
        count: (B,) real steps n, on the device where the targets are to be.
    """
    sizes = torch.tensor([len(of_video) for of_video in events])
    video = torch.arange(len(events)).repeat_interleave(sizes).to(count.device)
    segments = torch.cat([of_video.segments.double() for of_video in events])
    ends = (grid.to_steps(segments) + 0.5).float().to(count.device) / count[video].unsqueeze(1)
    centre_width = torch.stack([ends.mean(1), ends[:, 1] - ends[:, 0]], dim=1)
    label = torch.cat([of_video.labels for of_video in events]).to(count.device)
    return Targets(video, label, centre_width)


def interval_iou(one: Tensor, other: Tensor) -> Tensor:
    """IoU of intervals (…, 2) given as centre and width, broadcast; 0 for two without width."""
    start, end = one[..., 0] - one[..., 1] / 2, one[..., 0] + one[..., 1] / 2
    other_start = other[..., 0] - other[..., 1] / 2
    other_end = other[..., 0] + other[..., 1] / 2
    overlap = (torch.minimum(end, other_end) - torch.maximum(start, other_start)).clamp(min=0)
    union = one[..., 1] + other[..., 1] - overlap
    return overlap / union.clamp(min=1e-8)


@dataclass(frozen=True)
class Matcher:
    """Hungarian matching, each decoder layer on its own.

    Args:
        class_weight: of the focal cost of naming the event's class.
        distance_weight: of |Δcentre| + |Δwidth|.
        iou_weight: of the IoU, which makes a pair cheaper.
        alpha, gamma: of the focal cost.
    """

    class_weight: float = 6.0
    distance_weight: float = 5.0
    iou_weight: float = 2.0
    alpha: float = 0.25
    gamma: float = 2.0

    def __post_init__(self) -> None:
        for name in ("class_weight", "distance_weight", "iou_weight", "gamma"):
            check_number(name, getattr(self, name), 0)
        check_number("alpha", self.alpha, 0, 1)
        if not any((self.class_weight, self.distance_weight, self.iou_weight)):
            raise ValueError("one of a matching's weights must be over 0, all are 0")

    def cost(self, logits: Tensor, segments: Tensor, targets: Targets) -> Tensor:
        """(N, L, Q): what it costs an event to be one of its own video's queries."""
        logit = logits[:, targets.video, :, targets.label]  # (N, L, Q)
        probability = logit.sigmoid()
        missed = self.alpha * (1 - probability) ** self.gamma * -(probability + 1e-8).log()
        false = (1 - self.alpha) * probability**self.gamma * -(1 - probability + 1e-8).log()
        said = segments[:, targets.video].transpose(0, 1)  # (N, L, Q, 2)
        true = targets.segments[:, None, None]
        return (
            self.class_weight * (missed - false)
            + self.distance_weight * (said - true).abs().sum(-1)
            - self.iou_weight * interval_iou(said, true)
        )

    @torch.no_grad()
    def __call__(self, logits: Tensor, segments: Tensor, targets: Targets) -> Matches:
        """Match logits (L, B, Q, K) and segments (L, B, Q, 2) with the events.

        What is not finite costs nothing: the losses of such a batch then tell.
        """
        cost = self.cost(logits, segments, targets).nan_to_num(0, 0, 0).cpu()
        sizes = torch.bincount(targets.video, minlength=logits.shape[1]).tolist()
        rows = []
        for layer in range(len(logits)):
            first = 0
            for of_video in cost[:, layer].split(sizes):
                event, query = linear_sum_assignment(of_video.numpy())
                rows += [(layer, q, first + e) for q, e in zip(query, event, strict=True)]
                first += len(of_video)
        pairs = torch.tensor(rows, dtype=torch.long).reshape(-1, 3).to(logits.device)
        return Matches(*pairs.unbind(1))
