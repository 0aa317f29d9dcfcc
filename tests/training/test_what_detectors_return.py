"""A detector of a user's own that returns what it should not: a line that names it, no result."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from batches import make_batch
from loco.errors import LocoError
from loco.structures import Batch, Events
from loco.training.contract import checked_losses
from loco.training.module import LocalizationModule

ONE = torch.ones(())


def events(start: float, end: float, label: int = 0, score: float | None = 0.5) -> Events:
    scores = None if score is None else torch.tensor([score], dtype=torch.float32)
    return Events(torch.tensor([[start, end]], dtype=torch.float32), torch.tensor([label]), scores)


class Own(nn.Module):
    """Finds what it is given, in each video."""

    def __init__(self, found: Any) -> None:
        super().__init__()
        self.found = found

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"loss_a": ONE}

    def detect(self, batch: Batch) -> Any:
        return [self.found] * len(batch) if isinstance(self.found, Events) else self.found


def detect(found: Any) -> list[Events]:
    batch = make_batch([5, 5])
    batch = dataclasses.replace(batch, durations=torch.full((2,), 9.0, dtype=torch.float64))
    return LocalizationModule(Own(found), ["a", "b"]).detect(batch)


@pytest.mark.parametrize(
    ("losses", "told"),
    [
        ([ONE], "Own.losses: expected a dict of scalar tensors, got list"),
        ({}, "Own.losses: expected some whose names begin with loss_, .* got none at all"),
        ({"l_cls": ONE, "l_reg": ONE}, "begin with loss_, .* got l_cls, l_reg"),
        ({"loss_a": 1.0}, "expected scalar tensors, got float as loss_a"),
        ({"loss_a": torch.ones(3)}, r"expected scalar tensors, got \(3,\) as loss_a"),
    ],
)
def test_losses_that_are_none(losses: Any, told: str) -> None:
    with pytest.raises(LocoError, match=told):
        checked_losses(Own(None), losses)


def test_losses_stay_as_they_are() -> None:
    losses = {"loss_a": ONE, "sigma": ONE * 2}
    assert checked_losses(Own(None), losses) == losses


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([], "Own.detect: expected Events of 2 videos, got 0"),
        (None, "Own.detect: expected a list of Events, got NoneType"),
        ([(1, 2)] * 2, "Own.detect: expected a list of Events, got a list of tuple"),
        (events(1, 2, score=None), "Own.detect: expected scores"),
        (events(1, 2, score=50), r"expected scores in \[0, 1\], got 50 to 50"),
        (events(1, 2, score=float("nan")), r"expected scores in \[0, 1\], got nan"),
        (events(1, 2, label=2), r"expected labels in \[0, 2\), got 2 to 2"),
        (events(1, 2, label=-1), r"expected labels in \[0, 2\), got -1 to -1"),
        (events(2, 1), "expected 0 ≤ start ≤ end ≤ 9 s, got 2 to 1"),
        (events(10, 20), "expected 0 ≤ start ≤ end ≤ 9 s, got 10 to 20"),
        (events(-1, 2), "expected 0 ≤ start ≤ end ≤ 9 s, got -1 to 2"),
        (events(float("nan"), 2), "expected 0 ≤ start ≤ end ≤ 9 s, got nan to 2"),
    ],
)
def test_detections_that_cannot_be(found: Any, told: str) -> None:
    with pytest.raises(LocoError, match=told):
        detect(found)


@pytest.mark.parametrize("found", [events(0, 9), events(1, 1), Events.empty()])
def test_detections_that_can_be(found: Events) -> None:
    if found.scores is None:
        found = dataclasses.replace(found, scores=torch.empty(0))
    assert [len(one.labels) for one in detect(found)] == [len(found.labels)] * 2
