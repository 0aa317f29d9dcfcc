"""UniAV's heads: classes by the likeness of a step to their names, boundaries by a layer a task."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.heads import ConvHead
from loco.errors import LocoError
from loco.nn.blocks import BlockFactory
from loco.nn.encoder import UnimodalEncoder
from loco.nn.layers import MaskedConv1d, full_precision, linear

RANDOM = "random"
"""Stands for a text table where there is none."""


class LanguageClassifier(nn.Module):
    """Logits are the cosines of a step's features and the classes' names, times a learnable scale.

    There is no bias, hence no prior: an untrained net gives every class about a half.

    Args:
        dim: channels that come in.
        text_channels: C_text of the text tables.
        hidden: width in which both are compared.
    """

    def __init__(self, dim: int, text_channels: int, *, hidden: int) -> None:
        super().__init__()
        self.head = ConvHead(dim, hidden, hidden=hidden)
        self.project = linear(text_channels, hidden)
        nn.init.xavier_uniform_(self.project.weight)
        self.log_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def names(self, text: Tensor) -> Tensor:
        """The text table (K, C_text) in the width of the comparison, unit rows; for all levels."""
        with full_precision(text):
            weight = self.project.weight
            return functional.normalize(self.project(text.to(weight.device, weight.dtype)), dim=-1)

    def forward(self, x: Tensor, mask: Tensor, names: Tensor) -> Tensor:
        """(B, T, C), mask (B, T), the names' rows → logits (B, T, K)."""
        seen = functional.normalize(self.head(x, mask), dim=-1)
        with full_precision(x):
            return self.log_scale.exp() * (seen @ names.T)


class TaskRegression(nn.Module):
    """Convolutions that all tasks share, then a last one of each task's own.

    Args:
        dim: channels that come in.
        out_channels: channels that go out, by task.
        hidden: width between.
    """

    def __init__(self, dim: int, out_channels: Mapping[str, int], *, hidden: int) -> None:
        super().__init__()
        self.trunk = UnimodalEncoder(
            dim, BlockFactory(hidden, 1), num_convs=2, num_blocks=0, positions=False
        )
        self.of_task = nn.ModuleDict(
            {task: MaskedConv1d(hidden, channels) for task, channels in out_channels.items()}
        )

    def forward(self, x: Tensor, mask: Tensor, task: str) -> Tensor:
        """(B, T, C), mask (B, T) → (B, T, out_channels of the task), outside of autocast."""
        x, last = self.trunk(x, mask), self.of_task[task]
        assert isinstance(last, MaskedConv1d)
        with full_precision(x):
            return last(x.to(last.weight.dtype), mask)


def text_table(source: str, num_classes: int, text_channels: int, task: str) -> Tensor:
    """The (K, C_text) rows that stand for the names of the classes, float32.

    Args:
        source: an .npy file, rows in the order of the class ids; or `random`: unit rows drawn once
            and for all from the task's name. They keep the form, but say nothing of the classes,
            and nothing of classes that a net has not seen.

    Raises:
        LocoError: the file is no such table.
    """
    if source == RANDOM:
        generator = torch.Generator("cpu").manual_seed(zlib.crc32(task.encode()))
        rows = torch.randn(num_classes, text_channels, generator=generator, device="cpu")
        return functional.normalize(rows, dim=-1)
    try:
        table = np.load(Path(source), allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise LocoError(f"task {task}: {source}: cannot be read as a text table: {error}") from None
    expected = (num_classes, text_channels)
    if not isinstance(table, np.ndarray) or table.shape != expected or table.dtype.kind != "f":
        shape = getattr(table, "shape", "several arrays")
        raise LocoError(
            f"task {task}: {source}: expected a text table of shape {expected}, a row for each "
            f"class and model.text_channels columns, got {shape}"
        )
    if not np.isfinite(table).all() or not np.abs(table).any(axis=1).all():
        raise LocoError(f"task {task}: {source}: a text table holds no NaN, infinity or rows of 0")
    return torch.from_numpy(table.astype(np.float32))
