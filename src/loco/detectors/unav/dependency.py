"""UnAV's dependency block: which classes occur together, and how each of them goes on in time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.blocks import TransformerBlock
from loco.nn.layers import MaskedConv1d, zero_padding


class DependencyBlock(nn.Module):
    """Gives every class features of its own, relates them in time and to each other, and back.

    One branch attends over the steps of each class, the other over the K classes of each step; what
    they say is added. Both are ordinary transformer blocks, whose convolutions run along their
    sequence: along the ids of the classes, too, so that the order of the labels plays a part. There
    is no skip around the block.

    Args:
        channels: C of what comes in and goes out.
        num_classes: K.
        class_dim: width h of a class. The convolutions to and from K·h channels hold nearly all
            parameters, 6·C·K·h.
        drop_path, layer_scale: of the branches, see `TransformerBlock`; in one a sample is a class
            of a video, in the other a step of one.
    """

    def __init__(
        self,
        channels: int,
        num_classes: int,
        *,
        class_dim: int,
        drop_path: float = 0.0,
        layer_scale: float = 1.0,
    ) -> None:
        super().__init__()
        check_number("class_dim", class_dim, 1, whole=True)

        def branch() -> TransformerBlock:
            return TransformerBlock(
                dim=class_dim, heads=1, asks="context", expansion=1,
                drop_path=drop_path, layer_scale=layer_scale,
            )  # fmt: skip

        self.num_classes = num_classes
        self.expand = MaskedConv1d(channels, num_classes * class_dim, bias=False)
        self.temporal = branch()
        self.co_occurrence = branch()
        self.squeeze = MaskedConv1d(num_classes * class_dim, channels, bias=False)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C), mask (B, T) → (B, T, C), 0 in padding."""
        videos, steps = mask.shape
        classes = functional.relu(self.expand(x, mask)).unflatten(2, (self.num_classes, -1))

        of_class = classes.transpose(1, 2).flatten(0, 1)  # (B·K, T, h), the video outermost
        in_time = self.temporal(of_class, mask.repeat_interleave(self.num_classes, 0))
        in_time = in_time.unflatten(0, (videos, -1)).transpose(1, 2)

        of_step = classes.flatten(0, 1)  # (B·T, K, h): the classes are the sequence, all real
        every_class = torch.ones(of_step.shape[:2], dtype=torch.bool, device=mask.device)
        together = self.co_occurrence(of_step, every_class).unflatten(0, (videos, steps))

        return zero_padding(self.squeeze((in_time + together).flatten(2), mask), mask)
