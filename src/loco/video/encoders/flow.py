"""The stream of I3D that sees movement: RAFT from each picture to the next, then the net.

A window of n moments needs n + 1 pictures, so that a film may have one step fewer than by its
pictures alone, as UnAV-100's published files have.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from loco.video.encoders.i3d import WIDTH, check_sides, load_i3d, middle, to_one
from loco.video.encoders.raft import GRAIN, SMALLEST, load_raft

BOUND = 20.0  # pixels; faster movement counts as this


class I3DFlow:
    """What the flow stream of I3D sees in a step, C = 1024.

    Args:
        weights: the file of I3D's state dict.
        raft: the file of RAFT's.
        size: pixels of the shorter side, to which pictures are scaled.
        crop: pixels to a side of the square in their middle that is seen.
        rounds: of RAFT's refinement.

    Raises:
        ValueError: a number is out of its range.
        VideoError: there is no such file, or it holds something else.
    """

    name = "i3d-flow"
    channels = WIDTH
    every = 1
    shape = "short"
    pairs = True
    unchecked = "RAFT"

    def __init__(
        self,
        weights: str | Path | None = None,
        raft: str | Path | None = None,
        size: int = 256,
        crop: int = 224,
        rounds: int = 20,
    ) -> None:
        check_sides(size, crop, SMALLEST)
        self.size, self.crop, self._device = size, crop, "cpu"
        self._net, self._sha256 = load_i3d(2, weights, "flow")
        self._raft, self._raft_sha256 = load_raft(raft, rounds)

    def to(self, device: str) -> None:
        """Runs there from now on."""
        self._net, self._raft = self._net.to(device), self._raft.to(device)
        self._device = device

    @torch.inference_mode()
    def look(self, pictures: np.ndarray) -> np.ndarray:
        """(N + 1, H, W, 3) uint8 → (N, 2, crop, crop) int16 of 0 to 256."""
        x = torch.from_numpy(pictures).to(self._device).permute(0, 3, 1, 2).float()
        x = to_grain(x)
        flows = [self._raft(x[i : i + 1], x[i + 1 : i + 2]) for i in range(len(x) - 1)]
        return np.asarray(quantised(middle(torch.cat(flows), self.crop)).cpu().numpy())

    @torch.inference_mode()
    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        """(B, N, 2, crop, crop) → (B, 1024)."""
        x = torch.from_numpy(windows).to(self._device).transpose(1, 2).float()
        return np.concatenate([self._net(to_one(one[None])).cpu().numpy() for one in x])

    def identity(self) -> dict[str, Any]:
        """Settings and weights."""
        return {
            "name": self.name, "size": self.size, "crop": self.crop, "rounds": self._raft.rounds,
            "weights": self._sha256, "raft": self._raft_sha256,
        }  # fmt: skip


def to_grain(x: Tensor) -> Tensor:
    """(N, C, H, W) with edges repeated until sides are multiples of 8; the odd one at the end."""
    height, width = (-side % GRAIN for side in x.shape[-2:])
    sides = (width // 2, width - width // 2, height // 2, height - height // 2)
    return F.pad(x, sides, mode="replicate")


def quantised(flow: Tensor) -> Tensor:
    """Pixels from −20 to 20 → whole numbers, int16: 128 stands for none, and 20 becomes 256."""
    return (128 + 255 / (2 * BOUND) * flow.clamp(-BOUND, BOUND)).round().short()
