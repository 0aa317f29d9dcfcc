"""What a point-based net says, before a criterion or a decoding reads it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HeadOutputs(NamedTuple):
    """What a head says of the points of all levels, P = ΣT_l, one after the other.

    Attributes:
        logits: (B, P, K) class scores before the sigmoid.
        offsets: (B, P, K, 2) distances to start and end, in strides of the point's level, ≥ 0; or
            (B, P, 2), common to the classes.
        mask: (B, P) True at real points.
        quality: (B, P) how well the point's segment will fit, before the sigmoid; None where a head
            does not rate it.
    """

    logits: Tensor
    offsets: Tensor
    mask: Tensor
    quality: Tensor | None = None


class PointOutputs(NamedTuple):
    """What a net says of a batch; P = ΣT_l points of all levels, one after the other.

    Attributes:
        logits: (B, P, K) class scores before the sigmoid.
        offsets: (B, P, K, 2) distances to start and end, in strides of the point's level, ≥ 0; or
            (B, P, 2), common to the classes.
        mask: (B, P) True at real points.
        points: (P, 4) step, range low, range high, stride, all in steps; the assigner's.
        quality: (B, P) as `HeadOutputs`.
    """

    logits: Tensor
    offsets: Tensor
    mask: Tensor
    points: Tensor
    quality: Tensor | None = None
