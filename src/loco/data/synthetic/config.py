"""The settings of the synthetic benchmark, and where its random numbers come from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields

import numpy as np

from loco.errors import LocoError, check_number


@dataclass(frozen=True)
class SyntheticConfig:
    """What is made; the defaults are the demo: 1080 videos, 10 classes, some 55 MB.

    Everything is fixed by properties of real audio-visual video, not by what a model makes of it.
    Amplitudes are root mean squares in units of a class prototype's.

    Raises:
        LocoError: a setting out of its range.
    """

    num_videos: tuple[int, int, int] = (400, 80, 600)
    """Videos for train, validation and test; not used with a real annotation file."""
    num_classes: int = 10
    """Classes; not used with a real annotation file, which brings its own."""
    visual_channels: tuple[int, ...] = (64, 64)
    """Channels of each visual feature file, in the order of the layout's patterns."""
    audio_channels: tuple[int, ...] = (64,)
    """Channels of each audio feature file."""
    dtype: str = "float16"
    """Type of the feature files, float16 or float32."""
    seed: int = 0
    """The same seed gives the same bytes; a video's own depend on nothing but it and its name."""

    difficulty: float = 1.0
    """Scales every noise: background, signature, fast noise. 0 is a clean recording."""
    frequency_exponent: float = 0.65
    """Long tail of the classes: the r-th most frequent one stands in r^-exponent as many videos."""
    alike: float = 0.95
    """Cosine of the prototypes of two classes that sound alike, or look alike; every class has a
    class of either kind beside it, so that only both modalities together name it well (where their
    number is even and at least four: of an odd one the first and the last lack one of the two)."""
    latent_dim: int = 48
    """Dimensions of the space in which a modality lives before it is projected to channels."""
    drift: float = 0.8
    """Amplitude of the trajectory that a source's sound and sight share."""
    drift_dim: int = 8
    """Dimensions of that trajectory."""
    drift_seconds: tuple[float, float] = (0.8, 12.0)
    """Shortest and longest correlation time of the trajectory's dimensions."""
    lag_seconds: float = 0.15
    """Spread of a source's audio delay (either sign, at most three times this)."""
    offscreen_per_video: float = 1.1
    """Mean number of sounds without their sight, as far as there is room (less with few classes);
    with `silent_per_video` about two distractors to three events."""
    silent_per_video: float = 0.8
    """Mean number of sights without their sound, as far as there is room."""
    overhang: float = 0.3
    """Part of the events whose sound, or sight, begins before or goes on after the other, as far as
    there is room."""
    uneven: float = 0.1
    """Part of the videos whose modalities differ in length by one step."""

    def __post_init__(self) -> None:
        for name in ("num_videos", "visual_channels", "audio_channels", "drift_seconds"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        self._check_types()
        channels = (*self.visual_channels, *self.audio_channels)
        shortest, longest = self.drift_seconds
        checks = {
            "num_videos takes three counts, of which one is over 0": (
                len(self.num_videos) == 3 and min(self.num_videos) >= 0 and any(self.num_videos)
            ),
            "num_classes must be at least 2": self.num_classes >= 2,
            "every file needs at least 1 channel": all(count >= 1 for count in channels),
            "dtype must be float16 or float32": self.dtype in ("float16", "float32"),
            "seed must not be negative": self.seed >= 0,
            "alike must lie in [0, 1]": 0 <= self.alike <= 1,
            "latent_dim and drift_dim must be at least 1": min(self.latent_dim, self.drift_dim)
            >= 1,
            "drift_seconds must rise and be positive": 0 < shortest <= longest,
            "overhang and uneven must lie in [0, 1]": (
                0 <= self.overhang <= 1 and 0 <= self.uneven <= 1
            ),
            "amplitudes and rates must not be negative": (
                min(self.difficulty, self.frequency_exponent, self.drift, self.lag_seconds) >= 0
                and min(self.offscreen_per_video, self.silent_per_video) >= 0
            ),
        }
        for complaint, holds in checks.items():
            if not holds:
                raise LocoError(f"synthetic data: {complaint}")

    def _check_types(self) -> None:
        whole = ("num_videos", "num_classes", "visual_channels", "audio_channels", "seed",
                 "latent_dim", "drift_dim")  # fmt: skip
        for field in fields(self):
            value = getattr(self, field.name)
            try:
                for number in value if isinstance(value, tuple) else (value,):
                    if field.name != "dtype":
                        check_number(field.name, number, whole=field.name in whole)
            except ValueError as error:
                raise LocoError(f"synthetic data: {error}") from None


def random_stream(seed: int, *names: str) -> np.random.Generator:
    """A generator of its own for each name, so that nothing depends on the order of the work."""
    digest = hashlib.sha256("/".join((str(seed), *names)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist())
