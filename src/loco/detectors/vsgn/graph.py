"""A layer of a dynamic graph: every node hears the nodes whose features are nearest to its own."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.errors import check_number
from loco.nn.layers import full_precision


@torch.no_grad()
def neighbours(x: Tensor, allowed: Tensor, right: Tensor, count: int) -> Tensor:
    """The nearest nodes of each node, itself among them.

    Half of them are the nearest of all. The others of a node on the right, in the magnified part
    of a stitched video, are on the left: these edges cross scales.

    Args:
        x: (B, T, C) nodes.
        allowed: (B, T), which may be neighbours of others.
        right: (B, T), True in a magnified part.
        count: k, how many; all of them where there are fewer.

    Returns:
        (B, T, k) long; a node stands in for neighbours that it lacks.
    """
    num_nodes = x.shape[1]
    count = min(count, num_nodes)
    itself = torch.arange(num_nodes, device=x.device)
    with full_precision(x):
        x = x.to(torch.promote_types(x.dtype, torch.float32))
        square = x.square().sum(2)
        distance = square.unsqueeze(2) + square.unsqueeze(1) - 2 * (x @ x.mT)
    distance = distance.clamp(min=0).masked_fill(~allowed.unsqueeze(1), torch.inf)
    distance[:, itself, itself] = -1
    near, first = distance.topk((count + 1) // 2, dim=2, largest=False)
    distance = distance.scatter(2, first, torch.inf)
    distance = distance.masked_fill(right.unsqueeze(2) & right.unsqueeze(1), torch.inf)
    far, second = distance.topk(count // 2, dim=2, largest=False)
    found = torch.cat([near, far], dim=2).isfinite()
    return torch.where(found, torch.cat([first, second], dim=2), itself.unsqueeze(1))


class GraphLayer(nn.Module):
    """Edges along time, a convolution, beside edges of the graph; then half as many nodes.

        relu(conv(x)_i + max_j W [x_j ; x_i]), max-pool of 2

    Args:
        dim: width D.
        count: k, neighbours of a node.
    """

    def __init__(self, dim: int, count: int) -> None:
        super().__init__()
        check_number("neighbours", count, 1, whole=True)
        self.count = count
        self.conv = nn.Conv1d(dim, dim, 3, padding=1)
        self.message = nn.Linear(2 * dim, dim)

    def forward(self, x: Tensor, allowed: Tensor, right: Tensor) -> Tensor:
        """(B, T, D), and which nodes may be heard, and are magnified (B, T) → (B, T/2, D)."""
        index = neighbours(x, allowed, right, self.count)
        # W [x_j ; x_i] is a sum of two parts, each of which a node says but once
        other, own = self.message.weight.chunk(2, dim=1)
        said = functional.linear(x, other)
        video = torch.arange(len(x), device=x.device).view(-1, 1, 1)
        heard = said[video, index].amax(2) + functional.linear(x, own, self.message.bias)
        along = self.conv(x.transpose(1, 2))
        return functional.max_pool1d(functional.relu(along + heard.transpose(1, 2)), 2).mT


class ConvLayer(nn.Module):
    """What stands for it without a graph: a convolution that goes down by itself."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(dim, dim, 3, stride=2, padding=1)

    def forward(self, x: Tensor, allowed: Tensor, right: Tensor) -> Tensor:
        """(B, T, D) → (B, T/2, D); the others are not looked at."""
        return functional.relu(self.conv(x.transpose(1, 2))).mT
