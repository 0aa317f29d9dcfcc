"""From one video to the feature arrays of a layout: decoded once, looked at by all encoders.

One thread decodes and makes pictures small, while those of a pool look at them in blocks of a fixed
size. A block is computed by one thread and by itself, so that a film's features do not depend on
how many films or threads there are beside it.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, TypeVar

import numpy as np

from loco.data.features import LARGEST, FeatureLayout, usable
from loco.errors import VideoError
from loco.files import sampled_sha256
from loco.structures import TimeGrid
from loco.video.encoders.base import AudioEncoder, VisualEncoder
from loco.video.reader import VideoReader
from loco.video.windows import FrameWindows, num_steps, sound_windows

PICTURES = 16
"""Pictures that an encoder looks at together."""
WINDOWS = 64
"""Windows of sound that an encoder hears together."""
AHEAD = 3
"""Blocks that decoding may be ahead of looking."""

Item = TypeVar("Item")
Seconds = defaultdict[str, float]
Kind = tuple[int, int, bool]
"""Of pictures: how large, how many moments to the next, whether they keep their proportions."""


def kind_of(encoder: VisualEncoder) -> Kind:
    """Which pictures an encoder takes."""
    return encoder.size, encoder.every, getattr(encoder, "shape", "square") == "short"


@dataclass(slots=True)
class Extracted:
    """What came of one video.

    Args:
        arrays: file pattern → (T, C) float16.
        duration: seconds of the film.
        bytes: of its file.
        sample: what `sampled_sha256` says of it.
        warnings: what was wrong with it and was kept.
        seconds: CPU seconds by stage: decode, resize, see, sound, hear.
    """

    arrays: dict[str, np.ndarray]
    duration: float
    bytes: int
    sample: str
    warnings: list[str]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        """T, of the shortest array."""
        return min(map(len, self.arrays.values()))


class Extractor:
    """The encoders of a layout: one for each of its file patterns.

    Args:
        layout: names of the files, and the grid.
        visual: an encoder for each visual pattern, in their order.
        audio: an encoder for each audio pattern, likewise.
        on_no_audio: "error" refuses a video without sound; "silence" takes it for a silent one, and
            notes it.

    Raises:
        ValueError: numbers that do not fit together.
    """

    def __init__(
        self,
        layout: FeatureLayout,
        visual: Sequence[VisualEncoder],
        audio: Sequence[AudioEncoder],
        on_no_audio: Literal["error", "silence"] = "error",
    ) -> None:
        for name, encoders, patterns in (
            ("visual", visual, layout.visual), ("audio", audio, layout.audio),
        ):  # fmt: skip
            if len(encoders) != len(patterns):
                raise ValueError(
                    f"Extractor: the layout has {len(patterns)} {name} patterns, "
                    f"{', '.join(patterns)}, for {len(encoders)} {name} encoders"
                )
        if on_no_audio not in ("error", "silence"):
            raise ValueError(f"on_no_audio must be 'error' or 'silence', got {on_no_audio!r}")
        self.layout = layout
        self.visual, self.audio = list(visual), list(audio)
        self.on_no_audio = on_no_audio
        for encoder in self.visual:
            FrameWindows(self.grid, encoder.every)  # refuses what does not fit

    @property
    def grid(self) -> TimeGrid:
        """Where the steps lie in time."""
        return self.layout.grid

    def to(self, device: str) -> Extractor:
        """The encoders that can compute elsewhere do so from now on.

        Raises:
            VideoError: there is no such device.
        """
        for encoder in (*self.visual, *self.audio):
            if (move := getattr(encoder, "to", None)) is not None:
                try:
                    move(device)
                except (RuntimeError, AssertionError) as error:
                    reason = str(error).splitlines()[0][:150]
                    raise VideoError(f"device={device}: cannot be used: {reason}") from None
        return self

    def identities(self) -> dict[str, dict[str, Any]]:
        """Of each pattern, all that its numbers depend on."""
        encoders: list[VisualEncoder | AudioEncoder] = [*self.visual, *self.audio]
        return {
            pattern: encoder.identity()
            for pattern, encoder in zip(self.layout.patterns, encoders, strict=True)
        }

    @property
    def unchecked(self) -> list[str]:
        """Nets that nobody has compared with published features."""
        encoders = (*self.visual, *self.audio)
        return [name for e in encoders if (name := getattr(e, "unchecked", None)) is not None]

    def extract(
        self,
        reader: VideoReader,
        pool: Executor,
        progress: Callable[[float], None] = lambda seconds: None,
    ) -> Extracted:
        """The features of one video.

        Args:
            reader: of the video.
            pool: threads that look and hear; the calling one decodes.
            progress: called with the seconds of film that are decoded, now and then.

        Raises:
            VideoError: the video cannot be used.
        """
        seconds: Seconds = defaultdict(float)
        silent = not reader.has_sound
        if silent and self.on_no_audio == "error":
            raise VideoError(
                f"{reader.path}: expected sound, it has no audio stream; on_no_audio=silence takes "
                "it for a silent film"
            )
        # it may be gone at the end
        size, sample = reader.path.stat().st_size, sampled_sha256(reader.path)
        moments, seen = self._see(reader, pool, progress, seconds)
        # one that sees pairs of pictures may lack the last step
        steps = min(num_steps(moments, self.grid), *map(len, seen))
        if not steps:
            one_more = any(getattr(encoder, "pairs", False) for encoder in self.visual)
            raise VideoError(
                f"{reader.path}: {reader.duration:.2f} s long, expected at least one window of "
                f"{self.grid.end_seconds(1) + one_more / self.grid.fps:.2f} s"
            )
        seen = [vectors[:steps] for vectors in seen]  # the end of the last window may be unseen
        heard = self._hear(reader, steps, silent, pool, seconds)
        arrays = dict(zip(self.layout.patterns, [*seen, *heard], strict=True))
        for pattern, array in arrays.items():
            if not usable(array):
                raise VideoError(
                    f"{reader.path}: its features {pattern} hold NaN, infinity or values beyond "
                    f"±{LARGEST:g}"
                )
        warnings = [*reader.warnings, *(["no sound, taken for silence"] if silent else [])]
        spent = {**seconds, **reader.seconds}
        return Extracted(arrays, reader.duration, size, sample, warnings, spent)

    def _see(
        self,
        reader: VideoReader,
        pool: Executor,
        progress: Callable[[float], None],
        seconds: Seconds,
    ) -> tuple[int, list[np.ndarray]]:
        """Moments of the film, and of each visual encoder (T, C)."""
        lines = [_Line(encoder, self.grid, pool, seconds) for encoder in self.visual]
        blocks: dict[Kind, list[np.ndarray]] = {kind_of(line.encoder): [] for line in lines}
        sizes: dict[Kind, tuple[int, int]] = {}

        def hand_on(kind: Kind) -> None:
            block = np.stack(blocks[kind])
            blocks[kind].clear()
            for line in lines:
                if kind_of(line.encoder) == kind:
                    line.push(block)

        moments = 0
        for picture in reader.pictures(self.grid.fps):
            for kind, block in blocks.items():
                size, every, short = kind
                if moments % every == 0:
                    began = time.thread_time()
                    if short:  # as the first picture has it, should a film change its size
                        block.append(
                            picture.resized(*sizes.setdefault(kind, picture.short_size(size)))
                        )
                    else:
                        block.append(picture.rgb(size, size))
                    seconds["resize"] += time.thread_time() - began
                    if len(block) == PICTURES:
                        hand_on(kind)
            moments += 1
            progress(moments / self.grid.fps)
        for kind, block in blocks.items():
            if block:
                hand_on(kind)
        return moments, [line.finish() for line in lines]

    def _hear(
        self,
        reader: VideoReader,
        steps: int,
        silent: bool,
        pool: Executor,
        seconds: Seconds,
    ) -> list[np.ndarray]:
        """Of each audio encoder (T, C); sound is decoded once for all that hear as much of it."""
        found: dict[int, list[np.ndarray]] = {i: [] for i in range(len(self.audio))}
        kinds = [(encoder.rate, getattr(encoder, "beyond", 0)) for encoder in self.audio]
        for kind in dict.fromkeys(kinds):
            rate, beyond = kind
            pieces: Iterable[np.ndarray] = () if silent else reader.sound(rate)
            windows = sound_windows(pieces, rate, self.grid, steps, beyond)
            for waves in map(np.stack, _batches(windows, WINDOWS)):
                for i, encoder in enumerate(self.audio):
                    if kinds[i] == kind:
                        vectors = pool.submit(_timed, encoder.hear, waves).result()
                        found[i].append(_taken(vectors, seconds, "hear"))
        return [np.concatenate(vectors) for vectors in found.values()]


class _Line:
    """What one visual encoder makes of a film: blocks in, vectors out in the order of steps."""

    def __init__(
        self, encoder: VisualEncoder, grid: TimeGrid, pool: Executor, seconds: Seconds
    ) -> None:
        self.encoder = encoder
        self._pool, self._seconds = pool, seconds
        self._windows = FrameWindows(grid, encoder.every)
        self._looking: deque[Future[tuple[np.ndarray, float]]] = deque()
        self._summing: deque[Future[tuple[np.ndarray, float]]] = deque()
        self._vectors: list[np.ndarray] = []
        self._pairs = getattr(encoder, "pairs", False)
        self._last: np.ndarray | None = None

    def push(self, block: np.ndarray, ahead: int = AHEAD) -> None:
        """Looks at what comes next, and waits where too much is under way."""
        if self._pairs:
            block = block if self._last is None else np.concatenate([self._last, block])
            self._last = block[-1:]
            if len(block) == 1:
                return
        self._looking.append(self._pool.submit(_timed, self.encoder.look, block))
        self._take(ahead)

    def finish(self) -> np.ndarray:
        """(T, C) float16."""
        self._take(0)
        empty = np.zeros((0, self.encoder.channels), np.float16)
        return np.concatenate([empty, *self._vectors])

    def _take(self, ahead: int) -> None:
        while len(self._looking) > ahead:
            looked, spent = self._looking.popleft().result()
            self._seconds["see"] += spent
            windows = list(self._windows.push(looked))
            if windows:
                job = self._pool.submit(_timed, self.encoder.sum_up, np.stack(windows))
                self._summing.append(job)
        while len(self._summing) > ahead:
            self._vectors.append(_taken(self._summing.popleft().result(), self._seconds, "see"))


def _timed(work: Callable[[np.ndarray], np.ndarray], given: np.ndarray) -> tuple[np.ndarray, float]:
    """What some work gives, and the CPU seconds of this thread that it took."""
    began = time.thread_time()
    result = work(given)
    return result, time.thread_time() - began


def _taken(timed: tuple[np.ndarray, float], seconds: Seconds, stage: str) -> np.ndarray:
    """The result as it is stored; its time is noted."""
    vectors, spent = timed
    seconds[stage] += spent
    with np.errstate(over="ignore"):  # becomes infinity, which is told
        return vectors.astype(np.float16)


def _batches(items: Iterator[Item], size: int) -> Iterator[list[Item]]:
    while batch := list(islice(items, size)):
        yield batch
