"""The multimodal decoder: fuse a level's streams, then say what happens at each point and where."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor, nn

from loco.detection.heads import HeadFactory, PointHead
from loco.detection.outputs import HeadOutputs
from loco.errors import MAX_LAYERS, check_number
from loco.nn.blocks import BlockFactory
from loco.nn.layers import linear


class NeckFactory(Protocol):
    """Makes from D and the levels a module that maps all levels to levels of the same shapes."""

    def __call__(self, dim: int, *, num_levels: int) -> nn.Module: ...


class GateFactory(Protocol):
    """Makes from D and K what maps logits (B, P, K) and levels of 2D channels to logits."""

    def __call__(self, dim: int, num_classes: int) -> nn.Module: ...


class Decoder(nn.Module):
    """Shared by all levels: linear 2D → D, transformer blocks, classification and regression.

    Args:
        block: makes the transformer blocks, of width D; a level comes in with 2D channels.
        num_blocks: transformer blocks; none where nothing is fused.
        num_levels: pyramid levels, each with a scale of its own for the offsets.
        num_classes: K.
        head: makes what says classes and boundaries.
        neck: makes what the levels go through before the head; None is nothing.
        gate: makes what has the last word on the logits, from both streams; None is nothing.
        fuse: whether a level's 2D channels become D (paper), or neck and head read all of them.

    Raises:
        ValueError: blocks where nothing is fused, or a number out of its range.
    """

    def __init__(
        self,
        block: BlockFactory,
        *,
        num_blocks: int,
        num_levels: int,
        num_classes: int,
        head: HeadFactory = PointHead,
        neck: NeckFactory | None = None,
        gate: GateFactory | None = None,
        fuse: bool = True,
    ) -> None:
        super().__init__()
        check_number("decoder_blocks", num_blocks, 0, MAX_LAYERS, whole=True)
        for name, value in {"num_levels": num_levels, "num_classes": num_classes}.items():
            check_number(name, value, 1, whole=True)
        if num_blocks and not fuse:
            raise ValueError(
                f"decoder_blocks must be 0 where the decoder does not fuse, got {num_blocks}"
            )
        dim = block.dim if fuse else 2 * block.dim
        self.fuse = linear(2 * block.dim, dim) if fuse else nn.Identity()
        self.blocks = nn.ModuleList(block() for _ in range(num_blocks))
        self.norm = nn.LayerNorm(dim)
        self.head = head(dim, num_classes, num_levels=num_levels)
        self.neck = None if neck is None else neck(dim, num_levels=num_levels)
        self.gate = None if gate is None else gate(block.dim, num_classes)

    def forward(self, levels: list[tuple[Tensor, Tensor]]) -> HeadOutputs:
        """Levels of (B, T_l, 2D) and mask (B, T_l), P = ΣT_l points in all.

        What stands at points outside the mask has no meaning.
        """
        fused = [(self._fused(x, mask), mask) for x, mask in levels]
        if self.neck is not None:
            fused = self.neck(fused)
        outputs = HeadOutputs(*self.head(fused))
        if self.gate is not None:
            outputs = outputs._replace(logits=self.gate(outputs.logits, levels))
        return outputs

    def _fused(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T_l, 2D) → (B, T_l, D), or 2D where nothing is fused."""
        x = self.fuse(x)
        for block in self.blocks:
            x = block(x, mask)
        normed: Tensor = self.norm(x)
        return normed
