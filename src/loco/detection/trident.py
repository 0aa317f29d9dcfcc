"""The Trident head: where an event starts and ends is the mean of a distribution over bins."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.heads import ConvHead, start_from_prior
from loco.errors import check_number
from loco.nn.layers import full_precision, zero_padding


class TridentHead(nn.Module):
    """Classes of each point, and boundaries whose distances are read from the steps around it.

    A start and an end branch say of each step and class how likely it is a boundary, a centre
    branch says of each point how far away its own are, bin by bin. A softmax over the sum of both
    gives a distribution over the 0 … n strides to either side, whose mean is the distance.

    Args:
        dim: channels D of a level.
        num_classes: K.
        num_levels: pyramid levels, each with a scale of its own for the centre branch.
        bins: n, the farthest boundary in strides; a level's range must not ask for more.
        hidden: channels between the convolutions; None is `dim`.
        prior: probability that an untrained model gives every class, and every boundary.

    Source: Shi et al. 2023, TriDet, section 3.3.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        num_levels: int,
        bins: int = 16,
        hidden: int | None = None,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        check_number("bins", bins, 1, whole=True)
        self.bins = bins
        self.classify, self.start, self.end = (
            ConvHead(dim, num_classes, hidden=hidden) for _ in range(3)
        )
        self.regress = ConvHead(dim, 2 * (bins + 1), hidden=hidden)
        self.scales = nn.Parameter(torch.ones(num_levels))
        for head in (self.classify, self.start, self.end):
            start_from_prior(head, prior)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Levels of (B, T_l, D) and mask (B, T_l), P = ΣT_l points in all.

        Returns:
            logits (B, P, K); offsets (B, P, K, 2), distances to start and end in strides, in
            [0, n]; mask (B, P). What stands at points outside the mask has no meaning.
        """
        logits, offsets = [], []
        for (x, mask), scale in zip(levels, self.scales, strict=True):
            logits.append(self.classify(x, mask))
            fixed = x.detach()  # boundaries do not teach the pyramid
            start, end = self.start(fixed, mask), self.end(fixed, mask)
            centre = functional.relu(self.regress(x, mask) * scale)
            offsets.append(boundary_distances(start, end, centre, mask))
        return torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat([m for _, m in levels], 1)


def boundary_distances(start: Tensor, end: Tensor, centre: Tensor, mask: Tensor) -> Tensor:
    """The mean distance to start and end under both distributions of each point.

    Beyond the ends of a video, where nothing is said of a boundary, its logit counts as 0.

    Args:
        start, end: (B, T, K) logits of a boundary at each step.
        centre: (B, T, 2·(n + 1)) logits of each distance: to the start from n down to 0, to the
            end from 0 up to n.
        mask: (B, T).

    Returns:
        (B, T, K, 2) in strides.
    """
    to_start, to_end = centre.unflatten(2, (2, -1)).unbind(2)  # (B, T, n + 1) each
    bins = to_start.shape[2] - 1
    start, end = zero_padding(start, mask), zero_padding(end, mask)
    before = functional.pad(start, (0, 0, bins, 0)).unfold(1, bins + 1, 1)  # (B, T, K, n + 1)
    after = functional.pad(end, (0, 0, 0, bins)).unfold(1, bins + 1, 1)
    distance = torch.arange(bins + 1, device=centre.device, dtype=centre.dtype)
    with full_precision(centre):
        left = (before + to_start.unsqueeze(2)).softmax(-1) @ distance.flip(0)
        right = (after + to_end.unsqueeze(2)).softmax(-1) @ distance
    return torch.stack([left, right], dim=-1)
