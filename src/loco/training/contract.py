"""What a detector must return, looked at before it is used: a user's own may be wrong in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from loco.errors import LocoError
from loco.structures import Batch, Events

SLACK = 0.01
"""Seconds by which rounding may put an end behind a video's."""


def checked_losses(detector: object, losses: Any) -> dict[str, Tensor]:
    """The same, seen to be scalar tensors, of which some are to be minimised.

    Raises:
        LocoError: they are not; says what they are.
    """
    name = f"{type(detector).__name__}.losses"
    if not isinstance(losses, Mapping):
        raise LocoError(f"{name}: expected a dict of scalar tensors, got {type(losses).__name__}")
    for key, value in losses.items():
        if not isinstance(value, Tensor) or value.dim():
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise LocoError(f"{name}: expected scalar tensors, got {got} as {key}")
    if not any(str(key).startswith("loss_") for key in losses):
        raise LocoError(
            f"{name}: expected some whose names begin with loss_, whose sum is minimised, got "
            + (", ".join(map(str, losses)) or "none at all")
        )
    return dict(losses)


def checked_detections(
    detector: object, found: Any, batch: Batch, num_classes: int
) -> list[Events]:
    """The same on the CPU, seen to be possible events of the batch's videos, with scores.

    Raises:
        LocoError: they are not; says what is wrong.
    """
    name = f"{type(detector).__name__}.detect"
    if not isinstance(found, list) or not all(isinstance(events, Events) for events in found):
        kinds = {type(events).__name__ for events in found} if isinstance(found, list) else set()
        got = f"a list of {', '.join(sorted(kinds))}" if kinds else type(found).__name__
        raise LocoError(f"{name}: expected a list of Events, got {got}")
    if len(found) != len(batch):
        raise LocoError(f"{name}: expected Events of {len(batch)} videos, got {len(found)}")
    found = [events.to("cpu") for events in found]
    for events, duration in zip(found, batch.durations.tolist(), strict=True):
        if wrong := _wrong(events, duration, num_classes):
            raise LocoError(f"{name}: expected {wrong}")
    return found


def _wrong(events: Events, duration: float, num_classes: int) -> str:
    """What was expected of detections in a video and is not so; nothing if they are possible."""
    if events.scores is None:
        return "scores"
    if not len(events.labels):
        return ""
    start, end = events.segments.unbind(1)
    scores, labels = events.scores, events.labels
    if not (bool((scores >= 0).all()) and bool((scores <= 1).all())):
        return f"scores in [0, 1], got {scores.min():g} to {scores.max():g}"
    if not bool((labels >= 0).all() & (labels < num_classes).all()):
        return f"labels in [0, {num_classes}), got {labels.min()} to {labels.max()}"
    # NaN is no such number either
    whole = (start >= -SLACK) & (start <= end) & (end <= duration + SLACK)
    if bool(whole.all()):
        return ""
    first, last = events.segments[int((~whole).to(torch.int).argmax())].tolist()
    return f"0 ≤ start ≤ end ≤ {duration:g} s, got {first:g} to {last:g}"
