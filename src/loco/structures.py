"""The small typed values that flow between the parts: files → Sample → Batch → detector → Events.

Glossary of shapes, used throughout the project:

    B videos · T steps · C channels · D model width · H heads · K classes · P points · N events

`segments` are seconds, `segment_steps` are steps of the feature grid, `offsets` are strides of a
pyramid level. `TimeGrid` alone converts between seconds and steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from loco.errors import check_number

Times = TypeVar("Times", float, np.ndarray, Tensor)


@dataclass(frozen=True, slots=True)
class TimeGrid:
    """Where the steps of a feature sequence lie in time.

    Step t covers frames [t·stride, t·stride + window); its time is the centre of that window.

    Args:
        fps: frames a second.
        window: frames that one feature vector sees.
        stride: frames between the starts of two windows.
    """

    fps: float
    window: int
    stride: int

    def __post_init__(self) -> None:
        for field in ("fps", "window", "stride"):
            check_number(f"TimeGrid.{field}", getattr(self, field), 0, without="low")

    def to_seconds(self, step: Times) -> Times:
        """Time in seconds of a (fractional) step."""
        return (step * self.stride + self.window / 2) / self.fps

    def to_steps(self, seconds: Times) -> Times:
        """The (fractional, perhaps negative) step at a time in seconds; inverts `to_seconds`."""
        return (seconds * self.fps - self.window / 2) / self.stride

    def end_seconds(self, num_steps: int) -> float:
        """Time in seconds at which the last of `num_steps` windows ends."""
        return ((num_steps - 1) * self.stride + self.window) / self.fps


@dataclass(slots=True, eq=False)
class Events:
    """Events of one video: ground truth, or detections if there are scores.

    Args:
        segments: (N, 2) start and end in seconds, floating point.
        labels: (N,) class ids, long.
        scores: (N,) confidence in [0, 1], for detections; these stand in descending order.

    Raises:
        ValueError: shapes or types do not fit together.
    """

    segments: Tensor
    labels: Tensor
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.segments.shape != (count, 2) or not self.segments.is_floating_point():
            raise ValueError(
                f"segments must be floating point of shape ({count}, 2), "
                f"got {self.segments.dtype} {tuple(self.segments.shape)}"
            )
        if self.labels.shape != (count,) or self.labels.dtype != torch.long:
            raise ValueError(
                f"labels must be long of shape ({count},), "
                f"got {self.labels.dtype} {tuple(self.labels.shape)}"
            )
        if self.scores is not None and self.scores.shape != (count,):
            raise ValueError(f"scores must be of shape ({count},), got {tuple(self.scores.shape)}")

    @classmethod
    def empty(cls, scored: bool = False) -> Events:
        """No events; with an empty `scores` where `scored`."""
        return cls(
            torch.zeros(0, 2, dtype=torch.float64),
            torch.zeros(0, dtype=torch.long),
            torch.zeros(0) if scored else None,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        """How many, and the first three: `Events(2: label 3 at 0.50–4.25 s, …)`."""
        first = [
            f"label {label} at {start:.2f}–{end:.2f} s"
            for label, (start, end) in zip(self.labels[:3], self.segments[:3], strict=True)
        ]
        if self.scores is not None:
            first = [
                f"{text}, {score:.3f}" for text, score in zip(first, self.scores, strict=False)
            ]
        more = ["…"] if len(self) > 3 else []
        return f"Events({len(self)}: {'; '.join(first + more)})" if len(self) else "Events(0)"

    def __getitem__(self, index: Tensor | slice) -> Events:
        """The events at a boolean mask, an index tensor or a slice."""
        scores = None if self.scores is None else self.scores[index]
        return Events(self.segments[index], self.labels[index], scores)

    def to(self, device: torch.device | str) -> Events:
        """The same events on another device."""
        scores = None if self.scores is None else self.scores.to(device)
        return Events(self.segments.to(device), self.labels.to(device), scores)


@dataclass(slots=True, eq=False)
class Sample:
    """One video, or a crop of one: a crop is a video of its own whose time zero has moved.

    Args:
        video_id: the video's name.
        index: its place in the split.
        visual: (T, C_visual) features, floating point.
        audio: (T, C_audio) features, floating point.
        duration: seconds.
        events: ground truth in seconds of this sample's own time; empty where there is none.
    """

    video_id: str
    index: int
    visual: np.ndarray
    audio: np.ndarray
    duration: float
    events: Events

    def __len__(self) -> int:
        return len(self.visual)


@dataclass(slots=True, eq=False)
class Batch:
    """Videos padded to the longest of them.

    Args:
        visual: (B, T, C_visual) float32; what stands in padding has no meaning.
        audio: (B, T, C_audio) float32.
        mask: (B, T) bool, True where a step is real.
        durations: (B,) float64 seconds, on the CPU.
        indices: (B,) long, the videos' places in their split, on the CPU.
        video_ids: B names.
        events: B ground truths, segments in seconds (float64).
        grid: the feature grid that all of them share.
        task: name of the task that their data set sets, for detectors that know several.
    """

    visual: Tensor
    audio: Tensor
    mask: Tensor
    durations: Tensor
    indices: Tensor
    video_ids: list[str]
    events: list[Events]
    grid: TimeGrid
    task: str = "avel"

    def __len__(self) -> int:
        return len(self.mask)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same features on another device.

        Ground truth stays where it is, on the CPU: the metric reads it there, and a loss copies
        what it needs at once.
        """
        return self._with_features(lambda x: x.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Batch:
        """Page-locked features, for a faster copy to a GPU."""
        return self._with_features(Tensor.pin_memory)

    def _with_features(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(
            self, visual=change(self.visual), audio=change(self.audio), mask=change(self.mask)
        )
