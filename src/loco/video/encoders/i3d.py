"""I3D, by which UnAV-100's published features see: Inception-v1 with time as a third dimension.

Net: Carreira & Zisserman, Quo Vadis, Action Recognition? (arXiv 1705.07750); the names of its parts
are those of the weights in v-iashin/video_features, and so are its paddings, which do not depend on
how large a picture is. `flow` has the stream that sees movement.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loco.video.encoders.base import load_published

WIDTH = 1024
SOURCE = "{} in models/i3d/checkpoints of v-iashin/video_features"
SMALLEST = 32  # pixels to a side that leave one in the last map

Triple = tuple[int, int, int]


def padded(x: Tensor, kernel: Triple, stride: Triple) -> Tensor:
    """(B, C, T, H, W) with zeros around: kernel − stride in all, what is odd at the end."""
    sides: list[int] = []
    for size, step in zip(reversed(kernel), reversed(stride), strict=True):
        both = max(size - step, 0)
        sides += [both // 2, both - both // 2]
    return F.pad(x, sides) if any(sides) else x


class Unit(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> None:
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(inputs, outputs, kernel, stride, bias=False)
        self.batch3d = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.batch3d(self.conv3d(padded(x, self.kernel, self.stride))))


class Pool(nn.Module):
    """The largest of each box; zeros around do no harm behind a ReLU."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        x = padded(x, self.kernel, self.stride)
        return F.max_pool3d(x, self.kernel, self.stride, ceil_mode=True)


class Mixed(nn.Module):
    """Four ways side by side: 1; 1 and 3; 1 and 3; pooled and 1 (sizes of kernels)."""

    def __init__(self, inputs: int, a: int, b1: int, b2: int, c1: int, c2: int, d: int) -> None:
        super().__init__()
        self.branch_0 = Unit(inputs, a)
        self.branch_1 = nn.Sequential(Unit(inputs, b1), Unit(b1, b2, 3))
        self.branch_2 = nn.Sequential(Unit(inputs, c1), Unit(c1, c2, 3))
        self.branch_3 = nn.Sequential(Pool((3, 3, 3), (1, 1, 1)), Unit(inputs, d))

    def forward(self, x: Tensor) -> Tensor:
        ways = (self.branch_0, self.branch_1, self.branch_2, self.branch_3)
        return torch.cat([way(x) for way in ways], 1)


class I3DNet(nn.Module):
    """(B, inputs, T, H, W) in [−1, 1] → (B, 1024), the mean over the last map.

    Args:
        inputs: 3 for colours, 2 for flow.
    """

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.conv3d_1a_7x7 = Unit(inputs, 64, 7, 2)
        self.maxPool3d_2a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.conv3d_2b_1x1 = Unit(64, 64)
        self.conv3d_2c_3x3 = Unit(64, 192, 3)
        self.maxPool3d_3a_3x3 = Pool((1, 3, 3), (1, 2, 2))
        self.mixed_3b = Mixed(192, 64, 96, 128, 16, 32, 32)
        self.mixed_3c = Mixed(256, 128, 128, 192, 32, 96, 64)
        self.maxPool3d_4a_3x3 = Pool((3, 3, 3), (2, 2, 2))
        self.mixed_4b = Mixed(480, 192, 96, 208, 16, 48, 64)
        self.mixed_4c = Mixed(512, 160, 112, 224, 24, 64, 64)
        self.mixed_4d = Mixed(512, 128, 128, 256, 24, 64, 64)
        self.mixed_4e = Mixed(512, 112, 144, 288, 32, 64, 64)
        self.mixed_4f = Mixed(528, 256, 160, 320, 32, 128, 128)
        self.maxPool3d_5a_2x2 = Pool((2, 2, 2), (2, 2, 2))
        self.mixed_5b = Mixed(832, 256, 160, 320, 32, 128, 128)
        self.mixed_5c = Mixed(832, 384, 192, 384, 48, 128, 128)

    def forward(self, x: Tensor) -> Tensor:
        for part in self.children():  # in the order in which they are made
            x = part(x)
        # the mean over space and over each two moments, then over these
        box = (min(2, x.shape[2]), *x.shape[3:])
        return F.avg_pool3d(x, box, stride=1).mean((2, 3, 4))


def load_i3d(inputs: int, weights: str | Path | None, stream: str) -> tuple[I3DNet, str]:
    """A net with published weights, and the SHA-256 of their file.

    Raises:
        VideoError: there is no such file, or it holds something else.
    """
    with torch.device("meta"):  # to be filled
        net = I3DNet(inputs)
    source = SOURCE.format(f"i3d_{stream}.pt")
    what = f"I3D ({stream})"
    return net, load_published(net, weights, what, "weights", source, ("conv3d_0c_1x1",))


def middle(x: Tensor, side: int) -> Tensor:
    """(…, H, W) → (…, side, side)."""
    top, left = (x.shape[-2] - side) // 2, (x.shape[-1] - side) // 2
    return x[..., top : top + side, left : left + side]


def to_one(x: Tensor) -> Tensor:
    """Bytes' values → [−1, 1]."""
    return 2 * x / 255 - 1


def check_sides(size: int, crop: int, smallest: int) -> None:
    """Whether a crop lies within pictures, and both are large enough.

    Raises:
        ValueError: it does not.
    """
    if not SMALLEST <= crop <= size or size < smallest:
        raise ValueError(
            f"expected {SMALLEST} ≤ crop ≤ size and size ≥ {smallest}, got crop {crop}, size {size}"
        )


class I3DColours:
    """What the colour stream of I3D sees in a step's pictures, C = 1024.

    Args:
        weights: the state dict's file.
        size: pixels of the shorter side, to which pictures are scaled.
        crop: pixels to a side of the square in their middle that is seen.

    Raises:
        ValueError: a number is out of its range.
        VideoError: there is no such file, or it holds something else.
    """

    name = "i3d-rgb"
    channels = WIDTH
    every = 1
    shape = "short"
    unchecked = "I3D"

    def __init__(self, weights: str | Path | None = None, size: int = 256, crop: int = 224) -> None:
        check_sides(size, crop, SMALLEST)
        self.size, self.crop, self._device = size, crop, "cpu"
        self._net, self._sha256 = load_i3d(3, weights, "rgb")

    def to(self, device: str) -> None:
        """Runs there from now on."""
        self._net, self._device = self._net.to(device), device

    def look(self, pictures: np.ndarray) -> np.ndarray:
        """(N, H, W, 3) uint8 → (N, 3, crop, crop) uint8: the net sees windows only."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2)
        return np.ascontiguousarray(middle(x, self.crop).numpy())

    @torch.inference_mode()
    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        """(B, N, 3, crop, crop) → (B, 1024)."""
        x = torch.from_numpy(windows).to(self._device).transpose(1, 2).float()
        return np.concatenate([self._net(to_one(one[None])).cpu().numpy() for one in x])

    def identity(self) -> dict[str, Any]:
        """Settings and weights."""
        return {
            "name": self.name, "size": self.size, "crop": self.crop, "weights": self._sha256,
        }  # fmt: skip
