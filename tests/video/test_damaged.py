"""Films with bytes overwritten, taken out or missing: features or a line, never another error."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest

from clips import Brightness, steady, tone, write_clip
from loco.data.features import FeatureLayout
from loco.errors import VideoError
from loco.video.container import probe
from loco.video.encoders.logmel import LogMel
from loco.video.extraction import _extract
from loco.video.extractor import Extractor
from loco.video.playable import encode, remux
from loco.video.reader import VideoReader

MILLI = Fraction(1, 1000)
FORMS: dict[str, dict[str, Any]] = {
    "a.mp4": {"codec": "libx264", "movflags": "faststart"},
    "b.mkv": {"codec": "libx264", "time_base": MILLI},
    "c.ts": {"codec": "mpeg2video", "sound_codec": "mp2", "time_base": Fraction(1, 25)},
    "d.avi": {"sound_codec": "mp2", "time_base": Fraction(1, 25)},
    "e.webm": {"codec": "libvpx", "sound_codec": "libopus", "time_base": MILLI},
    "f.mov": {"codec": "libx264", "sound_codec": "pcm_s16le"},
}


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Bytes overwritten, anywhere or in the header; a part taken out; the end missing."""
    found = np.frombuffer(data, np.uint8).copy()
    kind, place = random.integers(4), int(random.integers(len(found)))
    if kind < 2:
        end, count = (len(found), 60) if kind == 0 else (min(3000, len(found)), 12)
        at = random.integers(end, size=random.integers(1, count))
        found[at] = random.integers(256, size=len(at))
        return found.tobytes()
    rest = found[place + random.integers(1, 5000) :] if kind == 2 else found[:0]
    return found[:place].tobytes() + rest.tobytes()


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_film_is_a_line(name: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (60, 48, 64, 3), dtype=np.uint8)
    whole = write_clip(
        tmp_path / name, lambda time: noise[min(59, round(time * 25))], steady(2), tone(1, 2),
        **FORMS[name],
    ).read_bytes()  # fmt: skip
    layout = FeatureLayout(["{id}_v.npy"], ["{id}_a.npy"], 25, 24, 8)
    extractor = Extractor(layout, [Brightness()], [LogMel(bands=4)], "silence")
    random = np.random.default_rng(1)
    film, copy = tmp_path / f"damaged{Path(name).suffix}", tmp_path / "copy.mp4"
    modes: tuple[Literal["error", "keep"], ...] = ("error", "keep")
    made, told = 0, []
    with ThreadPoolExecutor(1) as pool:
        for _ in range(12):
            film.write_bytes(damaged(whole, random))
            for mode in modes:
                try:
                    _extract(
                        VideoReader(film, mode), extractor, pool, threading.Event(), lambda _: None
                    )
                    made += 1
                except VideoError as error:
                    told.append(str(error))
            for copied in (lambda: remux(film, copy), lambda: encode(film, copy, probe(film))):
                try:
                    copied()
                except VideoError as error:
                    told.append(str(error))
    assert made > 0
    assert told
    assert all(str(film) in line and "\n" not in line for line in told)
