"""How the ten classes of the small world sound, and the noise of its rooms."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from loco.video.world.scenes import Scene, Source

RATE = 16_000
Wave = np.ndarray
Maker = Callable[[np.ndarray, Source, np.random.Generator], Wave]
"""Takes the seconds since the source's start, (samples,)."""


def render_sound(scene: Scene) -> Wave:
    """The whole film's sound, (samples,) float32 in [−1, 1]."""
    random = np.random.default_rng((*scene.seed, 1))
    count = round(scene.duration * RATE)
    wave = random.uniform(0.004, 0.02) * _coloured(count, random.uniform(0.5, 0.97), random)
    for source in scene.sources:
        if source.heard:
            first, last = round(source.start * RATE), min(round(source.end * RATE), count)
            time = np.arange(last - first) / RATE
            sound = SOUNDS[source.label](time, source, random)
            edge = np.clip(np.minimum(time, time[-1] - time) / 0.02, 0, 1)
            wave[first:last] += 0.35 * source.loudness * edge * sound
    return np.clip(wave, -1, 1).astype(np.float32)


def _coloured(count: int, memory: float, random: np.random.Generator) -> Wave:
    """Noise of deviation 1 whose high parts are weaker the more it remembers."""
    spectrum = np.fft.rfft(random.standard_normal(count))
    turn = np.exp(-1j * np.linspace(0, np.pi, len(spectrum)))
    wave = np.fft.irfft(spectrum / (1 - memory * turn), count)
    return np.asarray(wave / wave.std())


def _since_beat(time: np.ndarray, period: float) -> np.ndarray:
    """Seconds since the last beat."""
    return np.mod(time, period)


def _tone(time: np.ndarray, hertz: float) -> Wave:
    return np.sin(2 * np.pi * hertz * time)


def _ball(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    since = _since_beat(time + source.period / 2, source.period)  # it is down in between
    return _tone(since, 110 * source.pitch) * np.exp(-since / 0.06) * 1.5


def _bell(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    since = _since_beat(time, source.period)
    partials = sum(_tone(since, 880 * source.pitch * k) / k for k in (1, 2.76, 5.4))
    return np.asarray(partials) * np.exp(-since / 0.25)


def _clock(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    since = _since_beat(time, source.period / 2)
    return _tone(since, 3200 * source.pitch) * np.exp(-since / 0.006) * 2


def _siren(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    sweep = 900 * source.pitch * (1 + 0.35 * np.sin(2 * np.pi * time / (2 * source.period)))
    return 0.7 * np.sin(2 * np.pi * np.cumsum(sweep) / RATE)


def _car(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    hum = sum(_tone(time, 70 * source.pitch * k) / k for k in (1, 2, 3, 4))
    return 0.5 * np.asarray(hum) + 0.2 * _coloured(len(time), 0.98, random)


def _bird(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    since = _since_beat(time, source.period / 2)
    chirp = 2500 * source.pitch * since + 9000 * since**2
    return np.sin(2 * np.pi * chirp) * np.exp(-(((since - 0.06) / 0.04) ** 2))


def _rain(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    return 0.4 * _coloured(len(time), 0.1, random)


def _fan(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    beat = 0.5 + 0.5 * _tone(time, 4 / source.period)
    return 0.7 * beat * _coloured(len(time), 0.9, random)


def _hammer(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    since = _since_beat(time, source.period)
    blow = _coloured(len(time), 0.5, random) * np.exp(-since / 0.015)
    return blow + 0.5 * _tone(since, 1700 * source.pitch) * np.exp(-since / 0.08)


def _frog(time: np.ndarray, source: Source, random: np.random.Generator) -> Wave:
    since = _since_beat(time, source.period)
    croak = np.sign(_tone(time, 240 * source.pitch)) * (_tone(time, 28) > 0)
    return np.asarray(0.6 * croak * (since < 0.25))


SOUNDS: tuple[Maker, ...] = (
    _ball, _bell, _clock, _siren, _car, _bird, _rain, _fan, _hammer, _frog,
)  # fmt: skip
"""By class."""
