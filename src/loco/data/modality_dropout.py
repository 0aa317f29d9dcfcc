"""Videos without sound, or without sight, so that neither encoder leans on the other's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loco.data.augmentation import Donors
from loco.errors import check_number
from loco.structures import Sample, TimeGrid


class ModalityDropout:
    """Puts zeros in place of one modality, as `data.modality` does; the events stay.

    Args:
        probability: of a sample, either modality as likely.

    Raises:
        ValueError: it is none.
    """

    needs_both = True

    def __init__(self, probability: float = 0.1) -> None:
        check_number("probability", probability, 0, 1)
        self.probability = probability

    def __call__(
        self, sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
    ) -> Sample:
        if random.random() >= self.probability:
            return sample
        name = ("visual", "audio")[int(random.integers(2))]
        return replace(sample, **{name: np.zeros_like(getattr(sample, name))})
