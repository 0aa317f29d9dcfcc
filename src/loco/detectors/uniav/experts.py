"""Transformer blocks whose feed-forward part exists once a task; all else the tasks share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

from torch import Tensor, nn

from loco.nn.attention import AttentionFactory, GlobalAttention
from loco.nn.blocks import BlockFactory, TransformerBlock
from loco.nn.layers import FeedForward


@dataclass
class Choice:
    """The task that a net works on: one object, set before a forward pass, read by all experts."""

    task: str


class Experts(nn.Module):
    """Modules of one kind, one a task; the chosen one answers.

    Args:
        make: makes one of them.
        tasks: names of the tasks.
        choice: which of them answers.
    """

    def __init__(self, make: Callable[[], nn.Module], tasks: Sequence[str], choice: Choice) -> None:
        super().__init__()
        self.of_task = nn.ModuleDict({task: make() for task in tasks})
        self.choice = choice

    def forward(self, x: Tensor) -> Tensor:
        expert: Tensor = self.of_task[self.choice.task](x)
        return expert


@dataclass(frozen=True)
class ExpertBlockFactory(BlockFactory):
    """Makes blocks with experts: the norm before the feed-forward part, and that part.

    Args:
        tasks: names of the tasks.
        choice: which task's experts answer; shared by all blocks.
    """

    tasks: Sequence[str] = ("avel",)
    choice: Choice = field(default_factory=lambda: Choice("avel"))

    def __call__(
        self,
        *,
        stride: int = 1,
        attention: AttentionFactory = GlobalAttention,
        context: bool = False,
    ) -> TransformerBlock:
        block = super().__call__(stride=stride, attention=attention, context=context)
        for name, make in (("feed_forward_norm", nn.LayerNorm), ("feed_forward", FeedForward)):
            setattr(block, name, Experts(partial(make, self.dim), self.tasks, self.choice))
        return block
