"""The same video faster or slower: events of other lengths than the videos have."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from loco.data.augmentation import Donors, events_from
from loco.errors import check_number
from loco.structures import Sample, TimeGrid


class TemporalResize:
    """Stretches a sample's steps, by linear interpolation, and its events with them.

    Args:
        probability: of a sample.
        shortest, longest: factors on its steps, between which one is drawn, evenly on a logarithmic
            scale; a stretched sample may have more than `data.max_length` steps.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(
        self, probability: float = 0.5, shortest: float = 0.8, longest: float = 1.25
    ) -> None:
        check_number("probability", probability, 0, 1)
        check_number("shortest", shortest, 0, without="low")
        check_number("longest", longest, shortest)
        self.probability = probability
        self.shortest = shortest
        self.longest = longest

    def __call__(
        self, sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
    ) -> Sample:
        factor = math.exp(random.uniform(math.log(self.shortest), math.log(self.longest)))
        count = max(round(factor * len(sample)), 2)
        if random.random() >= self.probability or len(sample) < 2:
            return sample
        ratio = (count - 1) / (len(sample) - 1)

        def moved(seconds: np.ndarray) -> np.ndarray:
            return grid.to_seconds(grid.to_steps(seconds) * ratio)

        duration = float(moved(np.array(sample.duration)))
        segments = np.clip(moved(sample.events.segments.numpy()), 0.0, duration)
        where = np.arange(count) / ratio
        low = np.minimum(where.astype(np.int64), len(sample) - 2)
        part = (where - low)[:, None].astype(np.float32)
        visual, audio = (
            (1 - part) * x[low] + part * x[low + 1] for x in (sample.visual, sample.audio)
        )
        return replace(
            sample, visual=visual, audio=audio, duration=duration,
            events=events_from(segments, sample.events.labels.numpy()),
        )  # fmt: skip
