"""A film's pictures and sound on one clock, streamed: never more than a moment of it in memory.

Time zero is the start of the container, as in players. A picture is what is to be seen at a moment,
whatever the film's own frame rate; sound that begins late is preceded by silence.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch.nn.functional import interpolate

from loco.errors import VideoError
from loco.video.container import (
    import_av,
    length_of,
    open_container,
    picture_stream,
    sound_stream,
    start_of,
)

HALF = Fraction(1, 2)
SHORT_SECONDS, SHORT_PART = Fraction(1, 2), Fraction(1, 100)
"""A film is cut off that ends earlier than its header says by more than both of these."""
LONGEST = Fraction(600)
"""Seconds that a frame is shown at most; one that would be longer has a damaged time."""
DRIFT_SECONDS = Fraction(1, 25)
"""Sound is laid down anew where it is off its timestamps by more; less is jitter."""


class Picture:
    """What is to be seen at a moment: a decoded frame, converted when it is asked for.

    Args:
        frame: PyAV's.
        converters: by size; kept for the whole film, as setting one up is slow.
    """

    def __init__(self, frame: Any, converters: dict[tuple[int, int], Any]) -> None:
        self._frame = frame
        self._converters = converters
        self._converted: dict[tuple[int, int], np.ndarray] = {}

    @property
    def turned(self) -> bool:
        """Whether it is shown on its side, its stored height across."""
        return round(self._frame.rotation / 90) % 2 == 1

    @property
    def shown_size(self) -> tuple[int, int]:
        """(height, width) in pixels as players turn it, before any scaling."""
        size = (self._frame.height, self._frame.width)
        return size[::-1] if self.turned else size

    def rgb(self, height: int, width: int) -> np.ndarray:
        """(height, width, 3) uint8 of the whole picture, turned as players turn it."""
        size = (height, width)
        if size not in self._converted:
            quarters = round(self._frame.rotation / 90) % 4
            stored = size if quarters % 2 == 0 else size[::-1]
            if size not in self._converters:
                self._converters[size] = import_av().video.reformatter.VideoReformatter()
            small = self._converters[size].reformat(self._frame, stored[1], stored[0], "rgb24")
            self._converted[size] = np.ascontiguousarray(np.rot90(small.to_ndarray(), quarters))
        return self._converted[size]

    def short_size(self, side: int) -> tuple[int, int]:
        """(height, width) with the proportions kept and the shorter one `side`."""
        height, width = self.shown_size
        if height <= width:
            return side, side * width // height
        return side * height // width, side

    def resized(self, height: int, width: int) -> np.ndarray:
        """As `rgb`, by the filter of Pillow rather than FFmpeg's: of it, published features are."""
        whole = self.rgb(*self.shown_size)
        if whole.shape[:2] == (height, width):
            return whole
        x = torch.from_numpy(whole).permute(2, 0, 1)[None]
        x = interpolate(x, (height, width), mode="bilinear", antialias=True)
        return np.ascontiguousarray(x[0].permute(1, 2, 0).numpy())


class VideoReader:
    """One video file.

    Args:
        path: of the file.
        on_damage: "error" refuses a file that cannot be decoded to its end; "keep" takes what can
            be, holds the last picture and silence in place of the rest, and notes it in `warnings`.

    Raises:
        ValueError: `on_damage` is something else.
    """

    def __init__(self, path: str | Path, on_damage: Literal["error", "keep"] = "error") -> None:
        if on_damage not in ("error", "keep"):
            raise ValueError(f"on_damage must be 'error' or 'keep', got {on_damage!r}")
        self.path = Path(path)
        self.on_damage = on_damage
        self.warnings: list[str] = []
        """What was wrong and was kept, after reading."""
        self.duration = 0.0
        """Seconds, from the film's start to the end of its last picture, once all were read."""
        self.seconds: defaultdict[str, float] = defaultdict(float)
        """CPU seconds of this thread so far, by stage: decode, sound."""

    # -- pictures ---------------------------------------------------------------------------------

    def pictures(self, fps: float) -> Iterator[Picture]:
        """What is to be seen in each of the moments 0, 1, 2, … of 1/fps seconds.

        Moment k shows the last frame whose time is at most its middle, (k + ½)/fps; before the
        first frame, the first. There are as many as have their middle before the film's end.

        Raises:
            VideoError: no video stream, damaged, cut off, or frames without usable times.
        """
        with open_container(self.path) as container:
            stream = picture_stream(container, self.path)
            stream.thread_count = 1  # the cores are for several videos, and for what looks at them
            rate, start = Fraction(fps), start_of(container)
            converters: dict[tuple[int, int], Any] = {}
            shown: Picture | None = None
            moment, previous, last = 0, None, Fraction(0)
            for frame in self._frames(container, stream):
                odd = self._odd_time(frame, container, start, previous)
                if odd:
                    if self.on_damage == "error":
                        raise VideoError(
                            f"{self.path}: expected frames in the order of time, one {odd}; "
                            "writing the video anew mends that (ffmpeg -i OLD NEW.mp4), "
                            "on_damage=keep leaves such frames out"
                        )
                    self._damage(f"a frame that {odd} is left out")
                    continue
                last = frame.pts * frame.time_base - start
                picture = Picture(frame, converters)
                while moment + HALF < last * rate:
                    yield picture if shown is None else shown
                    moment += 1
                step = None if previous is None else last - previous
                shown, previous = picture, last
            if shown is None:
                raise VideoError(f"{self.path}: expected moving pictures, not one can be decoded")
            end = last + _frame_length(frame, stream, step)
            self._check_end(container, stream, end)
            while moment + HALF <= end * rate:
                yield shown
                moment += 1
            self.duration = float(end)

    def _frames(self, container: Any, stream: Any) -> Iterator[Any]:
        """Decoded frames in the order of showing; notes where the container's last packet ends."""
        av = import_av()
        packets = container.demux()  # of all streams: the longest one says where the film ends
        number, seen, start = 0, Fraction(0), start_of(container)
        self._last_packet = Fraction(0)
        untimed = container.format.name == "avi"  # it says nothing of when frames are shown
        decoded, first = -1, None
        while True:
            began = time.thread_time()
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                if packet.pts is not None:
                    end = (packet.pts + (packet.duration or 0)) * packet.time_base - start
                    self._last_packet = max(self._last_packet, end)
                if packet.stream is not stream:
                    continue
                number += 1
                frames = packet.decode()
            except av.error.FFmpegError as error:
                self._damage(f"damaged at packet {number} of its pictures, {float(seen):.1f} s "
                             f"({error.strerror})")  # fmt: skip
                continue
            finally:
                self.seconds["decode"] += time.thread_time() - began
            for frame in frames:
                if frame.is_corrupt:
                    self._damage(f"damaged: the picture after {float(seen):.1f} s is incomplete")
                if untimed:  # they leave the decoder in that order, each as late as the first
                    decoded = decoded + 1 if frame.dts is None else frame.dts
                    first = decoded if first is None else first
                    frame.pts = decoded - first
                if frame.pts is not None:
                    seen = frame.pts * frame.time_base - start
                yield frame

    @staticmethod
    def _odd_time(frame: Any, container: Any, start: Fraction, previous: Fraction | None) -> str:
        """What is wrong with a frame's time; nothing if it can be used."""
        if frame.pts is None:
            return "has no time"
        now = frame.pts * frame.time_base - start
        if previous is not None and now < previous:
            return f"is of {float(now):.2f} s after one of {float(previous):.2f} s"
        if now - (previous or 0) > LONGEST:
            return f"is of {float(now):.1f} s after one of {float(previous or 0):.1f} s"
        length = length_of(container) or Fraction(0)
        if previous is not None and length and now > 2 * length + 60:
            return f"is of {float(now):.1f} s in a film of {float(length):.1f} s"
        return ""

    def _check_end(self, container: Any, stream: Any, end: Fraction) -> None:
        """Whether a film goes on as long as its header says."""
        if stream.duration:
            said = stream.duration * stream.time_base
        elif length := length_of(container):  # of its longest stream
            said, end = length, max(end, self._last_packet)
        else:
            return
        if said - end > max(SHORT_SECONDS, SHORT_PART * said):
            self._damage(f"cut off: it ends at {float(end):.1f} s of {float(said):.1f} s")

    # -- sound ------------------------------------------------------------------------------------

    @property
    def has_sound(self) -> bool:
        """Whether there is a stream of sound."""
        with open_container(self.path) as container:
            return sound_stream(container, self.path) is not None

    def sound(self, rate: int) -> Iterator[np.ndarray]:
        """The sound from the film's start on, one channel, in pieces of (samples,) float32.

        Each piece stands where its timestamps say: silence fills what lies before the first one and
        between two of them.

        Args:
            rate: samples a second.

        Raises:
            VideoError: no stream of sound, or a damaged one.
        """
        with open_container(self.path) as container:
            stream = sound_stream(container, self.path)
            if stream is None:
                raise VideoError(f"{self.path}: expected sound, it has no audio stream")
            stream.thread_count = 1
            for piece in _laid_down(
                self._sound_frames(container, stream), start_of(container), rate
            ):
                if len(piece):
                    yield piece

    def _sound_frames(self, container: Any, stream: Any) -> Iterator[Any]:
        av = import_av()
        packets = container.demux(stream)
        number = 0
        while True:
            began = time.thread_time()
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                number += 1
                frames = packet.decode()
            except av.error.FFmpegError as error:
                self._damage(f"damaged at packet {number} of its sound ({error.strerror})")
                continue
            finally:
                self.seconds["sound"] += time.thread_time() - began
            yield from frames

    def _damage(self, what: str) -> None:
        if self.on_damage == "error":
            raise VideoError(f"{self.path}: {what}; on_damage=keep takes what can be decoded")
        if len(self.warnings) < 3:
            self.warnings.append(what)


def _frame_length(frame: Any, stream: Any, step: Fraction | None) -> Fraction:
    """Seconds for which the last frame is shown."""
    length = step or Fraction(0)
    if frame.duration:
        length = Fraction(frame.duration * frame.time_base)
    elif stream.average_rate:
        length = 1 / Fraction(stream.average_rate)
    return length if 0 <= length <= LONGEST else step or Fraction(0)


def _laid_down(frames: Iterator[Any], start: Fraction, rate: int) -> Iterator[np.ndarray]:
    """Resampled sound of decoded frames where their times say, from sample 0 on."""
    av = import_av()
    resampler, form = None, None
    written = 0  # samples given out
    expected = None  # the time at which the next frame begins if nothing is missing
    cut = 0  # samples still to drop: what lies before the start, or is there already

    def trimmed(resampled: list[Any]) -> Iterator[np.ndarray]:
        nonlocal written, cut
        for piece in resampled:
            samples = piece.to_ndarray()[0]
            dropped = min(cut, len(samples))
            cut -= dropped
            written += len(samples) - dropped
            yield samples[dropped:]

    for frame in frames:
        begin = expected if frame.pts is None else frame.pts * frame.time_base - start
        if begin is None:
            begin = Fraction(0)
        new_form = (frame.format.name, frame.layout.name, frame.sample_rate)
        apart = expected is None or abs(begin - expected) > DRIFT_SECONDS
        if apart or new_form != form:
            if resampler is not None:
                yield from trimmed(resampler.resample(None))
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=rate)
            form = new_form
            if apart:
                missing = round(begin * rate) - written
                cut = max(0, -missing)
                while missing > 0:  # in pieces: a gap may be long
                    yield np.zeros(min(missing, rate), np.float32)
                    written += min(missing, rate)
                    missing -= rate
                expected = begin
        assert resampler is not None
        assert expected is not None
        expected += Fraction(frame.samples, frame.sample_rate)
        frame.pts = None  # the resampler would fill gaps in its own way
        yield from trimmed(resampler.resample(frame))
    if resampler is not None:
        yield from trimmed(resampler.resample(None))
