"""Films that a browser plays: as they are, in another container, or written anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from loco.errors import VideoError
from loco.files import replacing
from loco.video.container import (
    VideoInfo,
    import_av,
    open_container,
    picture_stream,
    sound_stream,
    start_of,
)
from loco.video.reader import VideoReader

MP4 = {"h264", "av1"}, {"aac", "mp3", "opus", "flac", None}
WEBM = {"vp8", "vp9", "av1"}, {"opus", "vorbis", None}
HEIGHT = 720
"""Pixels that a film has at most when it is written anew."""
RATE = 48_000

Decorate = Callable[[np.ndarray, float], np.ndarray]
"""Takes a picture (H, W, 3) uint8 and its time in seconds."""


def how_to_play(info: VideoInfo, path: Path) -> Literal["as it is", "remux", "encode"]:
    """What a browser needs of a film; judged by its codecs, its container and its file's ending."""
    sound = None if info.sound_codec is None else info.sound_codec.removesuffix("float")
    codec = info.codec.removeprefix("lib").removeprefix("dav1d") or "av1"
    for endings, (codecs, sounds) in (((".mp4", ".m4v"), MP4), ((".webm",), WEBM)):
        if path.suffix.lower() in endings and codec in codecs and sound in sounds:
            return "as it is"
    if info.format == "avi":  # it does not say when its pictures are shown
        return "encode"
    return "remux" if codec in MP4[0] and sound in MP4[1] else "encode"


def remux(path: Path, target: Path) -> None:
    """The same pictures and sound in an MP4 file, from the film's start on.

    Raises:
        VideoError: FFmpeg cannot.
    """
    av = import_av()
    try:
        with (
            open_container(path) as source,
            replacing(target) as unfinished,
            av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as copy,
        ):
            streams = [picture_stream(source, path), sound_stream(source, path)]
            given = [stream for stream in streams if stream is not None]
            taken = {stream.index: copy.add_stream_from_template(stream) for stream in given}
            start = start_of(source)
            for packet in _with_times(packet for packet in source.demux(given) if packet.size):
                offset = round(start / packet.time_base)
                packet.pts, packet.dts = packet.pts - offset, packet.dts - offset
                packet.stream = taken[packet.stream.index]
                copy.mux(packet)
    except (av.error.FFmpegError, ValueError) as error:
        raise VideoError(f"{path}: cannot be put into an MP4 file ({error})") from None


def _with_times(packets: Iterable[Any]) -> Iterator[Any]:
    """Fills in the times of decoding that Matroska leaves out where a stream begins.

    Raises:
        ValueError: a packet does not say when it is shown.
    """
    waiting: dict[int, list[Any]] = {}  # by stream, until one has a time
    begun: set[int] = set()
    for packet in packets:
        if packet.pts is None:
            raise ValueError("a part without its time")
        held = waiting.setdefault(packet.stream.index, [])
        if packet.stream.index in begun:
            packet.dts = packet.pts if packet.dts is None else packet.dts
            yield packet
            continue
        held.append(packet)
        if packet.dts is not None:
            begun.add(packet.stream.index)
            # as far apart as the pictures are shown, and before the first time that is known
            shown = sorted(one.pts for one in held)
            step = max(1, min(np.diff(shown), default=1))
            for number, one in enumerate(reversed(held)):
                one.dts = packet.dts - number * int(step)
            yield from held
    for index, held in waiting.items():
        if index not in begun:  # not one time was known: nothing is shown in another order
            for one in held:
                one.dts = one.pts
                yield one


def encode(path: Path, target: Path, info: VideoInfo, decorate: Decorate | None = None) -> None:
    """The film in H.264 and AAC, at most `HEIGHT` pixels high and 25 to 30 frames a second.

    Args:
        path: of the film; what is damaged of it is left as it can be shown.
        target: an MP4 file.
        info: of the film.
        decorate: what is done to each picture.

    Raises:
        VideoError: FFmpeg cannot write it.
    """
    try:
        _encode(path, target, info, decorate)
    except import_av().error.FFmpegError as error:
        raise VideoError(f"{path}: cannot be written as {target} ({error.strerror})") from None


def _encode(path: Path, target: Path, info: VideoInfo, decorate: Decorate | None) -> None:
    av = import_av()
    reader = VideoReader(path, on_damage="keep")
    rate = Fraction(min(max(info.fps or 25.0, 25.0), 30.0)).limit_denominator(1001)
    with (
        replacing(target) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as copy,
    ):
        film = copy.add_stream("libx264", rate=rate, options={"preset": "veryfast", "crf": "23"})
        sound = None
        if reader.has_sound:
            sound = _Sound(copy, VideoReader(path, on_damage="keep").sound(RATE))
        for number, picture in enumerate(reader.pictures(float(rate))):
            if number == 0:
                aspect = 1 / info.pixel_aspect if picture.turned else info.pixel_aspect
                film.height, film.width = _size(*picture.shown_size, aspect)
                film.pix_fmt = "yuv420p"
            pixels = picture.rgb(film.height, film.width)
            if decorate is not None:
                pixels = decorate(pixels, number / float(rate))
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = number, 1 / rate
            copy.mux(film.encode(frame))
            if sound is not None:
                sound.write_to(number / float(rate))
        copy.mux(film.encode())
        if sound is not None:
            sound.finish(reader.duration)


class _Sound:
    """A track of sound, written beside the pictures: a browser finds both near one another."""

    def __init__(self, copy: Any, waves: Iterator[np.ndarray]) -> None:
        self._copy, self._waves = copy, waves
        self._track = copy.add_stream("aac", rate=RATE, layout="mono")
        self._written = 0

    def write_to(self, seconds: float) -> None:
        """What there is until then, and the rest of its piece."""
        av = import_av()
        while self._written < seconds * RATE:
            wave = next(self._waves, None)
            if wave is None:
                break
            sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(wave[None]), "fltp", "mono")
            sound.sample_rate, sound.time_base = RATE, Fraction(1, RATE)
            sound.pts = self._written
            self._written += len(wave)
            self._copy.mux(self._track.encode(sound))

    def finish(self, seconds: float) -> None:
        """As long as there are pictures."""
        self.write_to(seconds)
        self._copy.mux(self._track.encode())


def _size(height: int, width: int, aspect: float = 1.0) -> tuple[int, int]:
    """Even numbers, as H.264 wants them, of square pixels where those of the film are `aspect`."""
    scale = min(1.0, HEIGHT / height)
    return tuple(max(2, 2 * round(scale * side / 2)) for side in (height, aspect * width))  # type: ignore[return-value]
