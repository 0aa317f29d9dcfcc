"""One clock for pictures and sound in all that cameras write; and what is wrong is told."""

from __future__ import annotations

import os
import shutil
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import RATE, brightness, flash, steady, tone, turn, write_clip
from loco.errors import VideoError
from loco.video.container import probe
from loco.video.reader import VideoReader

FPS = 25
AT = 4.0
SOUND = tone(AT, 6.0)
VFR = [Fraction(n, 6) for n in range(12)] + [2 + Fraction(n, 30) for n in range(120)]


def shown(path: Path) -> float:
    """The moment at which the flash begins."""
    light = brightness(VideoReader(path).pictures(FPS))
    return float(np.argmax(light > 128) / FPS)


def heard(path: Path, rate: int = 16_000) -> float:
    """The moment at which the tone begins."""
    wave = np.concatenate(list(VideoReader(path).sound(rate)))
    return float(np.argmax(np.abs(wave) > 0.2) / rate)


CLIPS: dict[str, dict[str, Any]] = {
    "25.mp4": {"times": steady(6, 25)},
    "60.mp4": {"times": steady(6, 60)},
    "12.5.mp4": {"times": steady(6, 12.5)},
    "29.97.mp4": {"times": steady(6, Fraction(30000, 1001)), "time_base": Fraction(1, 30000)},
    "vfr.mp4": {"times": VFR},
    "vfr.mkv": {"times": VFR, "time_base": Fraction(1, 1000)},
    "late_sound.mp4": {"times": steady(6), "sound": SOUND[2 * RATE :], "sound_from": 2.0},
    "late_sound.mkv": {"times": steady(6), "sound": SOUND[2 * RATE :], "sound_from": 2.0,
                       "time_base": Fraction(1, 1000)},
    "late_pictures.mp4": {"times": [1 + t for t in steady(5)]},
    "stream.ts": {"times": steady(6), "codec": "mpeg2video", "sound_codec": "mp2",
                  "time_base": Fraction(1, 25)},
    "h264.ts": {"times": steady(6), "codec": "libx264"},
    "web.webm": {"times": steady(6), "codec": "libvpx", "sound_codec": "libopus",
                 "time_base": Fraction(1, 1000)},
    "old.avi": {"times": steady(6), "codec": "mpeg4", "sound_codec": "mp2",
                "time_base": Fraction(1, 25)},
    "reordered.avi": {"times": steady(6), "codec": "libx264", "sound_codec": "mp3",
                      "time_base": Fraction(1, 25)},
}  # fmt: skip


@pytest.mark.parametrize("name", CLIPS)
def test_flash_and_tone_are_where_they_are(name: str, tmp_path: Path) -> None:
    path = write_clip(tmp_path / name, flash(AT), **{"sound": SOUND, **CLIPS[name]})
    assert shown(path) == pytest.approx(AT, abs=1 / FPS + 1e-9)
    assert heard(path) == pytest.approx(AT, abs=1 / FPS)
    assert heard(path, 8000) == pytest.approx(AT, abs=1 / FPS)


def test_a_turned_video_is_turned_and_in_time(tmp_path: Path) -> None:
    def picture(time: float) -> np.ndarray:
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24] = 235 if time >= AT else 60  # above
        return image

    path = turn(write_clip(tmp_path / "phone.mp4", picture, steady(6), SOUND))
    pictures = [p.rgb(64, 48) for p in VideoReader(path).pictures(FPS)]
    last = pictures[-1].mean(2)
    assert last[:, 28:].min() > 180  # by 90° clockwise: what was above is on the right
    assert last[:, :20].max() < 60
    first = next(k for k, p in enumerate(pictures) if p.mean() > 60)
    assert first / FPS == pytest.approx(AT, abs=1 / FPS)


def test_moments_show_the_last_frame_of_their_first_half(tmp_path: Path) -> None:
    """Against a plain search for each moment."""
    times = sorted({Fraction(int(t), 1000) for t in np.random.default_rng(0).integers(0, 4000, 60)})
    times = [t - times[0] for t in times]
    grey = {round(float(t), 4): 20 + 3 * k for k, t in enumerate(times)}

    def picture(time: float) -> np.ndarray:
        return np.full((48, 64, 3), grey[round(time, 4)], np.uint8)

    path = write_clip(tmp_path / "x.mkv", picture, times, time_base=Fraction(1, 1000))
    for fps in (25, 16, 29.97):
        light = brightness(VideoReader(path).pictures(fps))
        expected = [
            grey[round(float([t for t in times if t <= (k + 0.5) / fps][-1]), 4)]
            for k in range(len(light))
        ]
        np.testing.assert_allclose(light, expected, atol=3)


def test_sound_is_laid_down_by_its_times(tmp_path: Path) -> None:
    wave = np.concatenate(list(VideoReader(
        write_clip(tmp_path / "x.mp4", times=steady(6), sound=SOUND, sound_from=1.5)
    ).sound(RATE)))  # fmt: skip
    assert np.abs(wave[: int(1.4 * RATE)]).max() < 0.01
    assert np.argmax(np.abs(wave) > 0.2) / RATE == pytest.approx(AT + 1.5, abs=0.03)


def test_what_a_header_says(tmp_path: Path) -> None:
    info = probe(write_clip(tmp_path / "x.mp4", sound=tone(1, 2)))
    assert (info.width, info.height, info.codec, info.sound_codec) == (64, 48, "mpeg4", "aac")
    assert info.fps == 25
    assert info.duration == pytest.approx(2, abs=0.1)


# -- what is wrong ---------------------------------------------------------------------------------


def complaint(path: Path, sound: bool = False, **settings: Any) -> str:
    reader = VideoReader(path, **settings)
    with pytest.raises(VideoError) as told:
        _ = list(reader.sound(RATE)) if sound else list(reader.pictures(FPS))
    text = str(told.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_what_is_no_video(tmp_path: Path) -> None:
    assert "found nothing" in complaint(tmp_path / "gone.mp4")
    assert "found a folder" in complaint(tmp_path)
    long = f"{'x' * 300}.mp4"  # as a folder that may not be entered, no answer but an error
    assert "cannot be read: File name too long" in complaint(tmp_path / long)
    locked = tmp_path / "locked.mp4"
    locked.write_bytes(b"")
    locked.chmod(0)
    if not os.access(locked, os.R_OK):  # all but the superuser
        assert "cannot be read: Permission denied" in complaint(locked)
    (tmp_path / "empty.mp4").write_bytes(b"")
    assert "empty, 0 bytes" in complaint(tmp_path / "empty.mp4")
    (tmp_path / "text.mp4").write_text("dear diary, " * 100)
    assert "not a video that FFmpeg can read" in complaint(tmp_path / "text.mp4")
    whole = write_clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    assert "cut off: an MP4 file without its index" in complaint(tmp_path / "cut.mp4")


def test_what_lacks_pictures_or_sound(tmp_path: Path) -> None:
    song = write_clip(tmp_path / "song.m4a", None, (), tone(1, 2))
    assert "no video stream (found: audio)" in complaint(song)
    mute = write_clip(tmp_path / "mute.mp4")
    assert not VideoReader(mute).has_sound
    assert "no audio stream" in complaint(mute, sound=True)


@pytest.mark.parametrize(("name", "options"), [
    ("x.mp4", {"movflags": "faststart"}), ("x.mkv", {"reserve_index_space": "20000"}),
])  # fmt: skip
def test_a_shortened_file(name: str, options: dict[str, str], tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (150, 48, 64, 3), dtype=np.uint8)
    path = write_clip(
        tmp_path / name, lambda time: noise[round(time * 25)], steady(6), SOUND,
        time_base=Fraction(1, 1000), **options,
    )  # fmt: skip
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * 0.6)])
    text = complaint(path)
    assert "cut off: it ends at" in text or "damaged" in text
    assert "on_damage=keep" in text
    reader = VideoReader(path, "keep")
    count = len(list(reader.pictures(FPS)))
    assert 50 < count < 130
    assert reader.warnings
    wave = np.concatenate(list(reader.sound(RATE)))
    assert 2 * RATE < len(wave) < 5.5 * RATE


@pytest.mark.parametrize("name", ["x.mkv", "x.mp4"])
def test_a_clock_that_begins_late(name: str, tmp_path: Path) -> None:
    """Matroska's header says when a film ends, others how long it is: four seconds."""
    path = write_clip(
        tmp_path / name, times=[time + 10 for time in steady(4)], sound=tone(1, 4),
        sound_from=10.0, time_base=Fraction(1, 1000),
    )  # fmt: skip
    assert probe(path).duration == pytest.approx(4, abs=0.15)
    reader = VideoReader(path)
    assert len(list(reader.pictures(FPS))) == pytest.approx(4 * FPS, abs=2)
    assert reader.duration == pytest.approx(4, abs=0.1)
    assert not reader.warnings


def test_a_damaged_file(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (150, 48, 64, 3), dtype=np.uint8)
    path = write_clip(
        tmp_path / "x.mp4", lambda time: noise[round(time * 25)], steady(6), SOUND, codec="libx264",
    )  # fmt: skip
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(data)
    assert "damaged" in complaint(path)
    reader = VideoReader(path, "keep")
    assert len(list(reader.pictures(FPS))) == pytest.approx(150, abs=1)
    assert any("damaged" in warning for warning in reader.warnings)


def test_a_frame_that_would_stand_for_hours(tmp_path: Path) -> None:
    times = [*steady(1), Fraction(7200), Fraction(7201)]
    path = write_clip(tmp_path / "x.mkv", times=times, time_base=Fraction(1, 1000))
    assert "one is of 7200.0 s after one of 1.0 s" in complaint(path)
    reader = VideoReader(path, "keep")
    assert len(list(reader.pictures(FPS))) == 25
    assert any("left out" in warning for warning in reader.warnings)


def test_odd_names_are_files(tmp_path: Path) -> None:
    path = tmp_path / "concat:it's 100% #1 ümläut.mp4"
    shutil.copyfile(write_clip(tmp_path / "x.mp4"), path)
    assert len(list(VideoReader(path).pictures(FPS))) == 50


def test_without_pyav_its_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"needs PyAV .*: pip install '.\[video\]'"):
        probe(tmp_path / "x.mp4")


def test_settings() -> None:
    with pytest.raises(ValueError, match="on_damage must be"):
        VideoReader("x.mp4", "ignore")  # type: ignore[arg-type]
