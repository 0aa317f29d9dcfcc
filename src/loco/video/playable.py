"""Films that a browser plays: as they are, in another container, or written anew."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np

from loco.files import replacing
from loco.video.container import VideoInfo, import_av, open_container
from loco.video.reader import VideoReader

MP4 = {"h264", "av1"}, {"aac", "mp3", "opus", "flac", None}
WEBM = {"vp8", "vp9", "av1"}, {"opus", "vorbis", None}
HEIGHT = 720
"""Pixels that a film has at most when it is written anew."""
RATE = 48_000

Decorate = Callable[[np.ndarray, float], np.ndarray]
"""Takes a picture (H, W, 3) uint8 and its time in seconds."""


def how_to_play(info: VideoInfo, path: Path) -> Literal["as it is", "remux", "encode"]:
    """What a browser needs of a film; judged by its codecs and its file's ending."""
    sound = None if info.sound_codec is None else info.sound_codec.removesuffix("float")
    codec = info.codec.removeprefix("lib").removeprefix("dav1d") or "av1"
    for endings, (codecs, sounds) in (((".mp4", ".m4v"), MP4), ((".webm",), WEBM)):
        if path.suffix.lower() in endings and codec in codecs and sound in sounds:
            return "as it is"
    return "remux" if codec in MP4[0] and sound in MP4[1] else "encode"


def remux(path: Path, target: Path) -> None:
    """The same pictures and sound in an MP4 file."""
    av = import_av()
    with (
        open_container(path) as source,
        replacing(target) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as copy,
    ):
        streams = [source.streams.best("video"), source.streams.best("audio")]
        given = [stream for stream in streams if stream is not None]
        taken = {stream.index: copy.add_stream_from_template(stream) for stream in given}
        for packet in source.demux(given):
            if packet.dts is not None:
                packet.stream = taken[packet.stream.index]
                copy.mux(packet)


def encode(path: Path, target: Path, info: VideoInfo, decorate: Decorate | None = None) -> None:
    """The film in H.264 and AAC, at most `HEIGHT` pixels high and 30 frames a second.

    Args:
        path: of the film; what is damaged of it is left as it can be shown.
        target: an MP4 file.
        info: of the film.
        decorate: what is done to each picture.
    """
    av = import_av()
    reader = VideoReader(path, on_damage="keep")
    rate = Fraction(min(info.fps or 25.0, 30.0)).limit_denominator(1001)
    with (
        replacing(target) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as copy,
    ):
        film = copy.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        track = copy.add_stream("aac", rate=RATE, layout="mono") if reader.has_sound else None
        for number, picture in enumerate(reader.pictures(float(rate))):
            if number == 0:
                film.height, film.width = _size(*picture.shown_size)
                film.pix_fmt = "yuv420p"
            pixels = picture.rgb(film.height, film.width)
            if decorate is not None:
                pixels = decorate(pixels, number / float(rate))
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            copy.mux(film.encode(frame))
        copy.mux(film.encode())
        if track is not None:
            start = 0
            for wave in reader.sound(RATE):
                sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None]), "fltp", "mono")
                sound.sample_rate, sound.pts, sound.time_base = RATE, start, Fraction(1, RATE)
                start += len(wave)
                copy.mux(track.encode(sound))
            copy.mux(track.encode())


def _size(height: int, width: int) -> tuple[int, int]:
    """Even numbers, as H.264 wants them."""
    scale = min(1.0, HEIGHT / height)
    return tuple(max(2, 2 * round(scale * side / 2)) for side in (height, width))  # type: ignore[return-value]
