"""Two videos at once: what happens in either of them counts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loco.data.augmentation import Donors, events_from
from loco.errors import check_number
from loco.structures import Sample, TimeGrid


class FeatureMixup:
    """Adds the features of a video of other classes, and its events, to those of a sample.

        x = (1 − w) · x + w · y, as far as both reach

    Args:
        probability: of a sample.
        least: the smallest w; it is drawn evenly between that and ½.

    Raises:
        ValueError: a setting out of its range.
    """

    def __init__(self, probability: float = 0.25, least: float = 0.3) -> None:
        check_number("probability", probability, 0, 1)
        check_number("least", least, 0, 0.5)
        self.probability = probability
        self.least = least

    def __call__(
        self, sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
    ) -> Sample:
        w = np.float32(random.uniform(self.least, 0.5))
        if random.random() >= self.probability:
            return sample
        segments, labels = sample.events.segments.numpy(), sample.events.labels.numpy()
        donor = donors(without=set(labels.tolist()), least=len(sample))
        if donor is None:
            return sample
        visual, audio = (
            (1 - w) * x + w * y[: len(sample)]
            for x, y in ((sample.visual, donor.visual), (sample.audio, donor.audio))
        )
        given = donor.events.segments.numpy()
        inside = np.clip(given, 0.0, sample.duration)
        stays = inside[:, 1] - inside[:, 0] >= 0.5 * (given[:, 1] - given[:, 0])
        events = events_from(
            np.vstack([segments, inside[stays]]),
            np.append(labels, donor.events.labels.numpy()[stays]),
        )
        return replace(sample, visual=visual, audio=audio, events=events)
