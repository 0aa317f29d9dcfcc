"""The trunk: down a pyramid of graphs, and up again with what each level said on the way."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detectors.vsgn.graph import ConvLayer, GraphLayer
from loco.detectors.vsgn.stitching import Layout


class CrossScaleGraphPyramid(nn.Module):
    """Encoder levels of strides 2s, 4s, … for a stem of stride s, then a decoder over the same.

    Args:
        in_channels: C.
        dim: width D.
        num_levels: of the pyramid.
        stem_stride: s.
        neighbours: k of each node of a graph; 0 for convolutions without graphs.
        padding_nodes: whether frames that show nothing are heard like others.
    """

    def __init__(
        self, in_channels: int, dim: int, *, num_levels: int, stem_stride: int, neighbours: int,
        padding_nodes: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stem = nn.Conv1d(in_channels, dim, 3, stride=stem_stride, padding=1)
        self.strides = [stem_stride * 2 ** (level + 1) for level in range(num_levels)]
        self.encoder = nn.ModuleList(
            GraphLayer(dim, neighbours) if neighbours else ConvLayer(dim) for _ in range(num_levels)
        )
        self.top = nn.Conv1d(dim, dim, 3, padding=1)
        ups = range(num_levels - 1)
        self.lateral = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=1) for _ in ups)
        self.smooth = nn.ModuleList(nn.Conv1d(dim, dim, 3, padding=1) for _ in ups)
        self.up = nn.ModuleList(
            nn.ConvTranspose1d(dim, dim, 3, stride=2, padding=1, output_padding=1) for _ in ups
        )
        self.padding_nodes = padding_nodes

    def encode(self, x: Tensor, layout: Layout) -> list[Tensor]:
        """Rows (R, L, C) → levels (R, L/stride, D), fine to coarse."""
        real, right = layout.real() | self.padding_nodes, layout.right
        x = functional.relu(self.stem(x.transpose(1, 2))).mT
        levels = []
        for layer, stride in zip(self.encoder, self.strides, strict=True):
            stride //= 2  # of what goes in
            allowed = real[:, ::stride]
            node = torch.arange(allowed.shape[1], device=x.device)
            magnified = node >= (right // stride).unsqueeze(1)
            x = layer(x, allowed, magnified)
            levels.append(x)
        return levels

    def decode(self, encoded: list[Tensor]) -> list[Tensor]:
        """The encoder's levels → levels (R, D, L/stride), fine to coarse as well.

        Channels stand before time here, as the heads read them.
        """
        x = functional.relu(self.top(encoded[-1].mT))
        levels = [x]
        for level, lateral, smooth, up in zip(
            encoded[-2::-1], self.lateral, self.smooth, self.up, strict=True
        ):
            beside, above = functional.relu(lateral(level.mT)), functional.relu(up(x))
            x = functional.relu(smooth(beside + above))
            levels.append(x)
        return levels[::-1]

    def forward(self, x: Tensor, layout: Layout) -> list[Tensor]:
        """Rows (R, L, C), L a multiple of the last stride → levels (R, D, L/stride)."""
        return self.decode(self.encode(x, layout))
