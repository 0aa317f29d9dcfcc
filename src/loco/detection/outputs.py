"""What a point-based net says, before a criterion or a decoding reads it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class PointOutputs(NamedTuple):
    """What a net of one stream says; P = ΣT_l points of all levels, one after the other.

    Attributes:
        logits: (B, P, K) class scores before the sigmoid.
        offsets: (B, P, K, 2) distances to start and end, in strides of the point's level, ≥ 0; or
            (B, P, 2), common to the classes.
        mask: (B, P) True at real points.
        points: (P, 4) step, range low, range high, stride, all in steps; the assigner's.
    """

    logits: Tensor
    offsets: Tensor
    mask: Tensor
    points: Tensor


class Outputs(NamedTuple):
    """What a net of two streams says; P = ΣT_l points of all levels, one after the other.

    Attributes:
        logits: (B, P, K) class scores before the sigmoid.
        offsets: (B, P, K, 2) distances to start and end, in strides of the point's level, ≥ 0.
        mask: (B, P) True at real points.
        points: (P, 4) step, range low, range high, stride, all in steps; the assigner's.
        visual: (B, T, D) the visual encoder's output.
        audio: (B, T, D) the audio encoder's output.
    """

    logits: Tensor
    offsets: Tensor
    mask: Tensor
    points: Tensor
    visual: Tensor
    audio: Tensor
