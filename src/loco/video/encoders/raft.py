"""RAFT: how far each pixel of a picture has moved in the next one.

Net: Teed & Deng, RAFT (arXiv 2003.12039), its large form; the names of its parts are those of the
published weights.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from loco.video.encoders.base import load_published

SOURCE = "raft-sintel.pth in models/raft/checkpoints of v-iashin/video_features, or princeton-vl's"
FEATURES, HIDDEN = 256, 128
LEVELS, RADIUS = 4, 4
GRAIN = 8  # pixels to a side that a vector of the inner maps stands for
SMALLEST = 64  # pixels to a side that leave one on the coarsest level


class Residual(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, inputs: int, outputs: int, norm: type[nn.Module], stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.norm1, self.norm2 = norm(outputs), norm(outputs)
        self.downsample = None if stride == 1 else nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride), norm(outputs)
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.norm1(self.conv1(x)))
        y = F.relu(self.norm2(self.conv2(y)))
        return F.relu((x if self.downsample is None else self.downsample(x)) + y)


class Encoder(nn.Module):
    """(B, 3, H, W) → (B, outputs, H/8, W/8)."""

    def __init__(self, outputs: int, norm: type[nn.Module]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3)
        self.norm1 = norm(64)
        self.layer1 = nn.Sequential(Residual(64, 64, norm, 1), Residual(64, 64, norm, 1))
        self.layer2 = nn.Sequential(Residual(64, 96, norm, 2), Residual(96, 96, norm, 1))
        self.layer3 = nn.Sequential(Residual(96, 128, norm, 2), Residual(128, 128, norm, 1))
        self.conv2 = nn.Conv2d(128, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        out: Tensor = self.conv2(self.layer3(self.layer2(self.layer1(x))))
        return out


class MotionEncoder(nn.Module):
    """Correlations and the flow so far → (B, 128, h, w), whose last two channels are the flow."""

    def __init__(self) -> None:
        super().__init__()
        self.convc1 = nn.Conv2d(LEVELS * (2 * RADIUS + 1) ** 2, 256, 1)
        self.convc2 = nn.Conv2d(256, 192, 3, padding=1)
        self.convf1 = nn.Conv2d(2, 128, 7, padding=3)
        self.convf2 = nn.Conv2d(128, 64, 3, padding=1)
        self.conv = nn.Conv2d(192 + 64, HIDDEN - 2, 3, padding=1)

    def forward(self, flow: Tensor, correlations: Tensor) -> Tensor:
        found = F.relu(self.convc2(F.relu(self.convc1(correlations))))
        moved = F.relu(self.convf2(F.relu(self.convf1(flow))))
        return torch.cat([F.relu(self.conv(torch.cat([found, moved], 1))), flow], 1)


class Gru(nn.Module):
    """A state of each place is renewed from its row, then from its column."""

    def __init__(self) -> None:
        super().__init__()
        width = HIDDEN + 2 * HIDDEN
        for number, kernel in ((1, (1, 5)), (2, (5, 1))):
            for gate in "zrq":
                sides = (kernel[0] // 2, kernel[1] // 2)
                self.add_module(f"conv{gate}{number}", nn.Conv2d(width, HIDDEN, kernel, 1, sides))

    def forward(self, state: Tensor, given: Tensor) -> Tensor:
        for number in "12":
            update, reset, new = (getattr(self, f"conv{gate}{number}") for gate in "zrq")
            both = torch.cat([state, given], 1)
            z, r = update(both).sigmoid(), reset(both).sigmoid()
            q = new(torch.cat([r * state, given], 1)).tanh()
            state = (1 - z) * state + z * q
        return state


class FlowHead(nn.Module):
    """How much the flow changes, (B, 2, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(HIDDEN, 256, 3, padding=1)
        self.conv2 = nn.Conv2d(256, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        change: Tensor = self.conv2(F.relu(self.conv1(x)))
        return change


class Update(nn.Module):
    """The parts of a round."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.gru, self.flow_head = MotionEncoder(), Gru(), FlowHead()
        self.mask = nn.Sequential(
            nn.Conv2d(HIDDEN, 256, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(256, 9 * GRAIN**2, 1),
        )  # fmt: skip


class RAFT(nn.Module):
    """Pictures and the next ones, (B, 3, H, W) of bytes' values, sides multiples of 8 from 64 on →
    (B, 2, H, W) pixels to the right and down.

    Args:
        rounds: of refinement.

    Raises:
        ValueError: no rounds.
    """

    def __init__(self, rounds: int = 20) -> None:
        super().__init__()
        if rounds < 1:
            raise ValueError(f"rounds must be ≥ 1, got {rounds}")
        self.rounds = rounds
        self.fnet = Encoder(FEATURES, nn.InstanceNorm2d)
        self.cnet = Encoder(2 * HIDDEN, nn.BatchNorm2d)
        self.update_block = Update()

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        first, second = 2 * (first / 255) - 1, 2 * (second / 255) - 1
        levels = correlation_levels(self.fnet(first), self.fnet(second))
        state, context = self.cnet(first).split(HIDDEN, 1)
        state, context = state.tanh(), context.relu()
        origin = places(state)
        place = origin
        for _ in range(self.rounds):
            flow = place - origin
            motion = self.update_block.encoder(flow, look_up(levels, place))
            state = self.update_block.gru(state, torch.cat([context, motion], 1))
            place = place + self.update_block.flow_head(state)
        return enlarged(place - origin, 0.25 * self.update_block.mask(state))


def places(x: Tensor) -> Tensor:
    """(B, …, h, w) → (B, 2, h, w): the column and the row of each place."""
    height, width = x.shape[-2:]
    rows, columns = torch.meshgrid(
        torch.arange(height, device=x.device), torch.arange(width, device=x.device), indexing="ij"
    )
    return torch.stack([columns, rows]).float().expand(len(x), -1, -1, -1)


def correlation_levels(first: Tensor, second: Tensor) -> list[Tensor]:
    """(B, D, h, w) of both pictures → products of all places of one with all of the other, the
    other at 1, 1/2, 1/4 and 1/8 of its size: (B · h · w, 1, h', w') each."""
    batch, width, h, w = first.shape
    products = first.flatten(2).transpose(1, 2) @ second.flatten(2) / width**0.5
    levels = [products.reshape(batch * h * w, 1, h, w)]
    while len(levels) < LEVELS:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def look_up(levels: list[Tensor], place: Tensor) -> Tensor:
    """The correlations around where each place went, between pixels by weights, 0 outside.

    Args:
        levels: of `correlation_levels`.
        place: (B, 2, h, w), columns and rows.

    Returns:
        (B, 4 · 81, h, w); of a level's 81, the column changes slowest.
    """
    batch, _, h, w = place.shape
    around = torch.arange(-RADIUS, RADIUS + 1, device=place.device).float()
    offsets = torch.stack(torch.meshgrid(around, around, indexing="ij"), -1)  # (9, 9, 2)
    centres = place.permute(0, 2, 3, 1).reshape(-1, 1, 1, 2)
    found = []
    for number, level in enumerate(levels):
        size = torch.tensor([level.shape[-1], level.shape[-2]], device=place.device)
        where = (2 * (centres / 2**number + offsets) + 1) / size - 1  # −1 and 1 are outer edges
        found.append(F.grid_sample(level, where, align_corners=False).view(batch, h, w, -1))
    return torch.cat(found, -1).permute(0, 3, 1, 2)


def enlarged(flow: Tensor, mask: Tensor) -> Tensor:
    """The flow at full size: each pixel a mixture of the nine places around its own.

    Args:
        flow: (B, 2, h, w), in places.
        mask: (B, 9 · 8 · 8, h, w), weights before the softmax over the nine.

    Returns:
        (B, 2, 8h, 8w), in pixels.
    """
    batch, _, h, w = flow.shape
    weights = mask.view(batch, 1, 9, GRAIN, GRAIN, h, w).softmax(2)
    around = F.unfold(GRAIN * flow, 3, padding=1).view(batch, 2, 9, 1, 1, h, w)
    mixed = (weights * around).sum(2)  # (B, 2, 8, 8, h, w)
    return mixed.permute(0, 1, 4, 2, 5, 3).reshape(batch, 2, GRAIN * h, GRAIN * w)


def load_raft(weights: str | Path | None, rounds: int) -> tuple[RAFT, str]:
    """The net with published weights, and the SHA-256 of their file.

    Raises:
        ValueError: no rounds.
        VideoError: there is no such file, or it holds something else.
    """
    with torch.device("meta"):  # to be filled
        net = RAFT(rounds)
    # a norm on a way past stands in the file twice
    return net, load_published(net, weights, "RAFT", "raft", SOURCE, ("norm3",))
