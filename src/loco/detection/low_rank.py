"""Boundaries of each class from a few that all classes share."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from loco.detection.heads import ConvHead, PointHead
from loco.errors import check_number


class LowRankHead(PointHead):
    """A `PointHead` whose boundaries are class-aware, but learnt from all classes.

        distances of class k = z₀ + Σ_r m_kr · z_r

    of R + 1 pairs of distances z that a point has whatever the class, and a table m (K, R) of the
    classes. R = 0 is the same pair for all classes; a rare class then has but R numbers to learn.

    Args:
        dim: channels D of a level.
        num_classes: K.
        num_levels: pyramid levels, each with a scale of its own for the offsets.
        rank: R.
        hidden: channels between the convolutions; None is `dim`.
        prior: probability that an untrained model gives every class.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        num_levels: int,
        rank: int = 2,
        hidden: int | None = None,
        prior: float = 0.01,
    ) -> None:
        check_number("rank", rank, 0, whole=True)
        super().__init__(dim, num_classes, num_levels=num_levels, hidden=hidden, prior=prior)
        self.regress = ConvHead(dim, 2 * (rank + 1), hidden=hidden)
        self.mixture = nn.Parameter(torch.randn(num_classes, rank) / max(rank, 1) ** 0.5)

    def distances(self, x: Tensor, mask: Tensor) -> Tensor:
        """Of one level, before its scale: (B, T_l, K, 2)."""
        pairs = self.regress(x, mask).unflatten(2, (-1, 2))  # (B, T_l, R + 1, 2)
        own = torch.einsum("btri,kr->btki", pairs[:, :, 1:], self.mixture.to(pairs.dtype))
        return pairs[:, :, :1] + own
