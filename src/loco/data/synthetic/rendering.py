"""From the sources of a video to its feature files: how a synthetic recording sounds and looks.

Each modality m has a latent space. A source of class c adds, while it is on,

    gain · (prototype_m[c] + drift · z(time) @ drift_map_m)

to it, where the trajectory z is one for both modalities: it wanders, so that sound and sight of the
same moment agree and those of distant moments do not. To that come what has nothing to do with the
other modality: a signature that is constant in a video, a background with long memory and fast
noise. A step is the mean over its window's frames, projected to the channels of each file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from loco.data.synthetic.config import SyntheticConfig, random_stream
from loco.data.synthetic.events import Interval, Source
from loco.structures import TimeGrid

BACKGROUND_SECONDS = np.geomspace(0.5, 64.0, 5)  # equal power an octave: about 1/f
SIGNATURE, BACKGROUND, FAST, CHANNEL = 0.6, 0.8, 0.7, 0.3  # amplitudes at difficulty 1
GAIN_SPREAD = 0.3  # of a source's log loudness, and of its log visibility


class World:
    """What all videos of a data set share: prototypes and projections, drawn from the seed.

    Class c sounds like its partner in the pairs (0, 1), (2, 3), … and looks like its partner in
    (1, 2), (3, 4), …, (K−1, 0): on a ring of classes the neighbours are alike in one modality.

    Attributes:
        prototypes: modality → (K, L), rows of root mean square near 1; L is `latent_dim`.
        drift_maps: modality → (drift_dim, L).
        projections: modality → (L, C) for each of its files.
    """

    def __init__(self, config: SyntheticConfig) -> None:
        self.config = config
        count, latent = config.num_classes, config.latent_dim
        places = np.arange(count)
        groups = {"audio": places // 2, "visual": (places + 1) // 2}
        if count % 2 == 0:
            groups["visual"] %= count // 2
        channels = {"audio": config.audio_channels, "visual": config.visual_channels}
        self.prototypes, self.drift_maps, self.projections = {}, {}, {}
        for modality, group in groups.items():
            rng = random_stream(config.seed, "world", modality)
            shared, own = rng.standard_normal((2, count + 1, latent))
            self.prototypes[modality] = (
                math.sqrt(config.alike) * shared[group] + math.sqrt(1 - config.alike) * own[places]
            )
            scale = 1 / math.sqrt(config.drift_dim)
            self.drift_maps[modality] = scale * rng.standard_normal((config.drift_dim, latent))
            self.projections[modality] = [
                rng.standard_normal((latent, width)) / math.sqrt(latent)
                for width in channels[modality]
            ]

    def render(
        self, name: str, sources: Sequence[Source], num_steps: int, grid: TimeGrid
    ) -> dict[str, list[np.ndarray]]:
        """Features of one video: modality → (T, C) for each of its files, float32."""
        config = self.config
        rng = random_stream(config.seed, "render", name)
        num_frames = (num_steps - 1) * grid.stride + grid.window
        latents = {m: np.zeros((num_frames, config.latent_dim)) for m in self.prototypes}
        for source in sources:
            self._add_source(rng, latents, source, grid)
        features = {}
        for modality, latent in latents.items():
            steps = window_means(latent, num_steps, grid.window, grid.stride)
            steps += config.difficulty * self._noise(rng, num_steps, grid)
            features[modality] = [
                self._to_channels(rng, steps, projection, grid)
                for projection in self.projections[modality]
            ]
        return features

    def _add_source(
        self,
        rng: np.random.Generator,
        latents: dict[str, np.ndarray],
        source: Source,
        grid: TimeGrid,
    ) -> None:
        """Add what a source is heard and seen of to the frames (F, L) of both modalities."""
        config = self.config
        num_frames = len(latents["audio"])
        delay = round(source.lag * grid.fps)  # whole frames
        reach = math.ceil(3 * config.lag_seconds * grid.fps) + 1
        memory = np.geomspace(*config.drift_seconds, config.drift_dim) * grid.fps
        path = long_memory(rng, num_frames + 2 * reach, memory)
        for modality, interval in (("visual", source.visual), ("audio", source.audio)):
            shift = delay if modality == "audio" else 0
            gain = math.exp(GAIN_SPREAD * rng.standard_normal())
            level = frame_coverage(interval, num_frames, grid.fps, shift / grid.fps)
            on = np.flatnonzero(level)
            drift = path[on + reach - shift] @ self.drift_maps[modality]
            content = self.prototypes[modality][source.label] + config.drift * drift
            latents[modality][on] += gain * level[on, None] * content

    def _noise(self, rng: np.random.Generator, num_steps: int, grid: TimeGrid) -> np.ndarray:
        """(T, L) signature, long-memory background and fast noise of one modality."""
        width = self.config.latent_dim
        block = math.gcd(grid.window, grid.stride)  # frames; the noise is drawn at this rate
        window, stride = grid.window // block, grid.stride // block
        count = (num_steps - 1) * stride + window
        memory = np.repeat(BACKGROUND_SECONDS * grid.fps / block, width)
        background = long_memory(rng, count, memory).reshape(count, len(BACKGROUND_SECONDS), width)
        fast = rng.standard_normal((count, width)) * math.sqrt(window)
        noise = BACKGROUND * background.sum(1) / math.sqrt(len(BACKGROUND_SECONDS)) + FAST * fast
        signature = SIGNATURE * rng.standard_normal(width)
        return signature + window_means(noise, num_steps, window, stride)

    def _to_channels(
        self, rng: np.random.Generator, steps: np.ndarray, projection: np.ndarray, grid: TimeGrid
    ) -> np.ndarray:
        """Project (T, L) to a file's (T, C), and add what noise the extractor itself has."""
        block = math.gcd(grid.window, grid.stride)
        window, stride = grid.window // block, grid.stride // block
        shape = ((len(steps) - 1) * stride + window, projection.shape[1])
        noise = window_means(
            rng.standard_normal(shape, dtype=np.float32), len(steps), window, stride
        )
        features = (steps @ projection).astype(np.float32)
        scale = np.float32(self.config.difficulty * CHANNEL * math.sqrt(window))
        return features + scale * noise


def window_means(values: np.ndarray, num_steps: int, window: int, stride: int) -> np.ndarray:
    """(T, …) mean of the `window` rows that each step sees, of (F, …) rows."""
    total = np.zeros((num_steps, *values.shape[1:]), values.dtype)
    for offset in range(window):
        total += values[offset : offset + (num_steps - 1) * stride + 1 : stride]
    return total / window


def frame_coverage(interval: Interval, num_frames: int, fps: float, delay: float) -> np.ndarray:
    """(F,) part of each frame that lies in the interval (seconds), once delayed."""
    start, end = ((time + delay) * fps for time in interval)
    frames = np.arange(num_frames)
    return np.clip(np.minimum(frames + 1, end) - np.maximum(frames, start), 0, 1)


def long_memory(rng: np.random.Generator, count: int, memory: np.ndarray) -> np.ndarray:
    """(count, D) stationary Ornstein–Uhlenbeck paths of unit variance.

    Args:
        rng: where the increments come from.
        count: samples.
        memory: (D,) correlation times, in samples.
    """
    decay = np.exp(-1 / memory)
    paths = rng.standard_normal((count, len(memory)))
    paths[1:] *= np.sqrt(1 - decay**2)
    # x_t = decay · x_{t−1} + e_t, by doubling: after a pass, 2 · hop terms of the sum stand in x_t.
    hop = 1
    while hop < count and (weight := decay**hop).max() > 1e-12:
        paths[hop:] = paths[hop:] + weight * paths[:-hop]
        hop *= 2
    return paths
