"""What a detector says of each point: heads that all levels of a pyramid share."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import ClassVar, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import MAX_LAYERS, check_number
from loco.nn.layers import MaskedConv1d, full_precision


class ConvHead(nn.Module):
    """Convolutions, LayerNorm and ReLU between them: (B, T, C_in) → (B, T, out_channels).

    The last one leaves autocast, since logits and distances are read in float32: bfloat16 would
    round the end of a minute's event by a quarter of a second.

    Args:
        dim: channels that come in.
        out_channels: channels that go out.
        num_convs: convolutions, the last one included.
        hidden: channels between them; None is `dim`.
    """

    def __init__(
        self, dim: int, out_channels: int, num_convs: int = 3, *, hidden: int | None = None
    ) -> None:
        super().__init__()
        check_number("num_convs", num_convs, 1, MAX_LAYERS, whole=True)
        width = dim if hidden is None else hidden
        channels = [dim, *[width] * (num_convs - 1)]
        self.convs = nn.ModuleList(
            MaskedConv1d(before, after, bias=False) for before, after in pairwise(channels)
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(num_convs - 1))
        self.last = MaskedConv1d(channels[-1], out_channels)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for conv, norm in zip(self.convs, self.norms, strict=True):
            x = functional.relu(norm(conv(x, mask)))
        with full_precision(x):
            return self.last(x.to(self.last.weight.dtype), mask)


def start_from_prior(head: ConvHead, prior: float = 0.01) -> None:
    """Let an untrained classification head give every class this probability (Lin et al. 2017)."""
    assert head.last.bias is not None
    nn.init.constant_(head.last.bias, -math.log((1 - prior) / prior))


class HeadFactory(Protocol):
    """Makes a head from a level's channels, the classes and the levels: its class, or a partial.

    A head maps all levels to what `PointHead` does, or to `HeadOutputs`.
    """

    def __call__(self, dim: int, num_classes: int, *, num_levels: int) -> nn.Module: ...


class PointHead(nn.Module):
    """What happens at each point, and where it starts and ends; shared by all levels.

    Args:
        dim: channels D of a level.
        num_classes: K.
        num_levels: pyramid levels, each with a scale of its own for the offsets.
        hidden: channels between the convolutions; None is `dim`.
        prior: probability that an untrained model gives every class.
    """

    class_aware: ClassVar[bool] = True
    """Whether each class has offsets of its own, or a point one pair for all."""

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        num_levels: int,
        hidden: int | None = None,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        self.classify = ConvHead(dim, num_classes, hidden=hidden)
        self.regress = ConvHead(dim, 2 * num_classes if self.class_aware else 2, hidden=hidden)
        self.scales = nn.Parameter(torch.ones(num_levels))
        start_from_prior(self.classify, prior)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
        """Levels of (B, T_l, D) and mask (B, T_l), P = ΣT_l points in all.

        Returns:
            logits (B, P, K); offsets (B, P, K, 2), or (B, P, 2) where classes share them, distances
            to start and end in strides, ≥ 0; mask (B, P). What stands at points outside the mask
            has no meaning.
        """
        logits, offsets = [], []
        for (x, mask), scale in zip(levels, self.scales, strict=True):
            logits.append(self.classify(x, mask))
            offsets.append(functional.relu(self.distances(x, mask) * scale))
        return torch.cat(logits, 1), torch.cat(offsets, 1), torch.cat([m for _, m in levels], 1)

    def distances(self, x: Tensor, mask: Tensor) -> Tensor:
        """Of one level, before its scale: (B, T_l, K, 2), or (B, T_l, 2), common to the classes."""
        distances: Tensor = self.regress(x, mask)
        return distances.unflatten(2, (-1, 2)) if self.class_aware else distances


class ClassAgnosticHead(PointHead):
    """A `PointHead` whose points have one pair of offsets for all classes: (B, P, 2).

    It goes with an assigner of a single target, such as `CenterAssigner`; others are refused.
    """

    class_aware = False


def is_class_aware(head: nn.Module) -> bool:
    """Whether a head gives each class offsets of its own; one that does not say so is taken to."""
    return bool(getattr(head, "class_aware", True))
