"""Cuts streams of pictures and of sound into the windows of the steps of a `TimeGrid`.

Step t covers the moments [t·stride, t·stride + window) of 1/fps seconds, for both alike: so the
number of steps is one, and step t of both shows the same stretch of time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np

from loco.structures import TimeGrid


def num_steps(moments: int, grid: TimeGrid) -> int:
    """T of a film of so many moments; 0 where it is shorter than a window."""
    return 0 if moments < grid.window else (moments - grid.window) // grid.stride + 1


class FrameWindows:
    """The windows of a stream of which every `every`-th moment is seen.

    Args:
        grid: of the steps.
        every: moments from one that is seen to the next; it divides the stride, so that all
            windows see as many.

    Raises:
        ValueError: it does not.
    """

    def __init__(self, grid: TimeGrid, every: int = 1) -> None:
        if every < 1 or grid.stride % every:
            raise ValueError(
                f"every must divide the stride of {grid.stride} frames, so that all windows see as "
                f"many, got {every}"
            )
        self.length = -(-grid.window // every)
        """Items in a window."""
        self._stride = grid.stride // every
        self._items: deque[np.ndarray] = deque()
        self._skip = 0

    def push(self, items: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Takes what comes next of the stream; yields (length, …) for each window it completes."""
        for item in items:
            if self._skip:  # between two windows that do not meet
                self._skip -= 1
                continue
            self._items.append(item)
            if len(self._items) == self.length:
                yield np.stack(self._items)
                for _ in range(min(self._stride, self.length)):
                    self._items.popleft()
                self._skip = max(0, self._stride - self.length)


def sound_windows(
    pieces: Iterable[np.ndarray], rate: int, grid: TimeGrid, steps: int, beyond: int = 0
) -> Iterator[np.ndarray]:
    """The sound of each step, (samples,); what is missing at the end is silence.

    Args:
        pieces: the sound from the film's start on, in (samples,) arrays.
        rate: samples a second.
        grid: of the steps.
        steps: T.
        beyond: samples after a step's end that are given, too.
    """
    moment = Fraction(rate) / Fraction(grid.fps)  # samples
    length = round(grid.window * moment) + beyond
    rest = iter(pieces)
    held, first = np.zeros(0, np.float32), 0  # sound from sample `first` on
    for step in range(steps):
        start = round(step * grid.stride * moment)
        parts, have = [held], first + len(held)
        while have < start + length:
            piece = next(rest, None)
            if piece is None:
                piece = np.zeros(start + length - have, np.float32)
            parts.append(piece)
            have += len(piece)
        held = np.concatenate(parts)[start - first :]
        first = start
        yield held[:length]
