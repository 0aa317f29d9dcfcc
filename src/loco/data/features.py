"""Reads feature files: .npy arrays of T steps × C channels, one or more for a video and modality.

The headers of a whole data set are checked before anything is trained, and everything that is
wrong is told at once. Only the rows that are asked for are read from the disk.
"""

from __future__ import annotations

import glob
import io
import os
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np

from loco.errors import FeatureError
from loco.structures import TimeGrid

DTYPES = (np.dtype(np.float16), np.dtype(np.float32))
_HEAD_BYTES = 128  # what numpy writes for an ordinary 2-D array; longer headers are read again
# CPython 3.11 counts how deep its parser is for all threads together, and numpy parses headers with
# it: two threads at a time could end in a SystemError, "AST constructor recursion depth mismatch"
_PARSING = threading.Lock()
_THREADS = 8  # hides the latency of a network file system


@dataclass(frozen=True, slots=True)
class FeatureLayout:
    """How a set of feature files is named, and where its steps lie in time.

    Args:
        visual: file patterns relative to the root, such as "{id}_rgb.npy"; the arrays of several
            files are concatenated along the channels, in this order.
        audio: the same of the other modality.
        fps: frames a second.
        window: frames that one feature vector sees.
        stride: frames between the starts of two windows.

    Raises:
        ValueError: a pattern is not a relative path with "{id}" once, or the grid is not positive.
    """

    visual: Sequence[str]
    audio: Sequence[str]
    fps: float
    window: int
    stride: int

    def __post_init__(self) -> None:
        for field in ("visual", "audio"):
            patterns = getattr(self, field)
            if isinstance(patterns, str) or not patterns:
                raise ValueError(
                    f"FeatureLayout.{field} must be a list of one or more file patterns, "
                    f"got {patterns!r}"
                )
            for pattern in patterns:
                if not isinstance(pattern, str) or not _is_pattern(pattern):
                    raise ValueError(
                        f"FeatureLayout.{field}: a pattern must be a relative path with '{{id}}' "
                        f"once, such as '{{id}}_rgb.npy', got {pattern!r}"
                    )
            # plain tuples, also from Hydra's lists: hashable, and they pickle to any worker
            object.__setattr__(self, field, tuple(patterns))
        if len(set(self.patterns)) < len(self.patterns):
            raise ValueError(f"FeatureLayout: a pattern is there twice: {list(self.patterns)}")
        _ = self.grid

    @property
    def grid(self) -> TimeGrid:
        """The feature grid that all files share."""
        return TimeGrid(self.fps, self.window, self.stride)

    @property
    def patterns(self) -> tuple[str, ...]:
        """All patterns, visual before audio."""
        return (*self.visual, *self.audio)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with the files of one video."""

    video_id: str
    file: str
    reason: str

    def __str__(self) -> str:
        return f"video {self.video_id!r}: {self.file}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the headers of a set of videos say.

    Args:
        lengths: steps of each usable video, in the order asked for; its shortest file counts.
        visual_channels: C of the visual features, 0 where no file could be read.
        audio_channels: C of the audio features, likewise.
        problems: all that is wrong; a video with a problem is not in `lengths`.
    """

    lengths: dict[str, int]
    visual_channels: int
    audio_channels: int
    problems: list[Problem]


class FeatureStore:
    """The feature files under one folder.

    Args:
        root: the folder.
        layout: how the files are named.
        max_length_difference: steps by which the files of a video may differ in length.

    Raises:
        FeatureError: the folder does not exist.
    """

    def __init__(
        self, root: str | Path, layout: FeatureLayout, max_length_difference: int = 8
    ) -> None:
        if max_length_difference < 0:
            raise ValueError(f"max_length_difference must be ≥ 0, got {max_length_difference}")
        self.root = Path(root)
        self.layout = layout
        self.max_length_difference = max_length_difference
        if not self.root.is_dir():
            raise FeatureError(f"{self.root}: expected the folder of the feature files, not found")

    def path(self, video_id: str, pattern: str) -> Path:
        """The file of a video for a pattern.

        Raises:
            FeatureError: the id could lead out of the folder.
        """
        if not _is_safe(video_id):
            raise FeatureError(
                f"video {video_id!r}: an id that names files must be without "
                "path separators, '..' and control characters"
            )
        return self.root / pattern.replace("{id}", video_id)

    def find_videos(self) -> list[str]:
        """Ids of the videos whose first visual file is there, sorted."""
        first, *others = self.layout.patterns
        before, after = first.split("{id}")
        length = len(PurePosixPath(first).parts)
        found = []
        for path in self.root.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
            name = "/".join(path.parts[-length:])
            video_id = name[len(before) : len(name) - len(after)]
            if _is_safe(video_id):
                found.append(video_id)
        # '{id}.npy' also matches the 'x_audio.npy' of video x
        taken = {other.replace("{id}", video_id) for video_id in found for other in others}
        return sorted(
            video_id for video_id in found if first.replace("{id}", video_id) not in taken
        )

    def inspect(self, video_ids: Iterable[str]) -> Inspection:
        """Reads the headers of all files of these videos, and no features."""
        video_ids = list(dict.fromkeys(video_ids))
        patterns = self.layout.patterns
        with ThreadPoolExecutor(_THREADS) as pool:
            headers = list(pool.map(self._headers, video_ids, chunksize=64))

        channels = [
            _most_common(shape[1] for shapes in headers if isinstance(shape := shapes[i], tuple))
            for i in range(len(patterns))
        ]
        lengths: dict[str, int] = {}
        problems: list[Problem] = []
        for video_id, shapes in zip(video_ids, headers, strict=True):
            found = self._judge(video_id, shapes, channels)
            if found:
                problems.extend(found)
            else:
                lengths[video_id] = min(shape[0] for shape in shapes if isinstance(shape, tuple))
        split = len(self.layout.visual)
        return Inspection(lengths, sum(channels[:split]), sum(channels[split:]), problems)

    def _headers(self, video_id: str) -> list[tuple[int, int] | str]:
        """For each pattern the shape (T, C), or what is wrong with the file."""
        if not _is_safe(video_id):
            return [
                "the id of a video must be without path separators, '..' and control characters"
            ] * len(self.layout.patterns)
        return [_read_shape(self.path(video_id, pattern)) for pattern in self.layout.patterns]

    def _judge(
        self, video_id: str, shapes: list[tuple[int, int] | str], channels: list[int]
    ) -> list[Problem]:
        problems = []
        files = [pattern.replace("{id}", video_id) for pattern in self.layout.patterns]
        for file, shape, expected in zip(files, shapes, channels, strict=True):
            if isinstance(shape, str):
                problems.append(Problem(video_id, file, shape))
            elif shape[1] != expected:
                reason = f"{shape[1]} channels, other videos have {expected}"
                problems.append(Problem(video_id, file, reason))
        steps = {
            file: shape[0]
            for file, shape in zip(files, shapes, strict=True)
            if isinstance(shape, tuple)
        }
        if steps:
            short, long = min(steps, key=steps.__getitem__), max(steps, key=steps.__getitem__)
            if steps[long] - steps[short] > self.max_length_difference:
                reason = (
                    f"{steps[short]} steps, {long} has {steps[long]}; a difference of at most "
                    f"{self.max_length_difference} is allowed (max_length_difference)"
                )
                problems.append(Problem(video_id, short, reason))
        return problems

    def load(
        self, video_id: str, start: int = 0, stop: int | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Features of the steps [start, stop), to the end where `stop` is None.

        Returns:
            Visual (T, C_visual) and audio (T, C_audio), in memory, float16 or float32 as stored.

        Raises:
            FeatureError: a file cannot be read, lacks these steps, or holds NaN or infinity there.
        """
        arrays = []
        for pattern in self.layout.patterns:
            path = self.path(video_id, pattern)
            try:
                arrays.append(np.load(path, mmap_mode="r", allow_pickle=False))
            except (OSError, ValueError, EOFError):
                arrays.append(np.empty(0))  # judged below, with the words of the inspection
            if arrays[-1].ndim != 2 or arrays[-1].dtype not in DTYPES:
                reason = _read_shape(path)
                reason = reason if isinstance(reason, str) else "cannot be read"
                raise FeatureError(str(Problem(video_id, str(path), reason)))

        length = min(len(array) for array in arrays)
        stop = length if stop is None else stop
        if not 0 <= start < stop <= length:
            raise FeatureError(
                f"video {video_id!r}: steps [{start}, {stop}) are asked for, "
                f"its files under {self.root} hold {length}"
            )
        parts = [array[start:stop] for array in arrays]
        split = len(self.layout.visual)
        visual, audio = np.concatenate(parts[:split], 1), np.concatenate(parts[split:], 1)
        if not (np.isfinite(visual).all() and np.isfinite(audio).all()):
            self._raise_not_finite(video_id, parts, start)
        return visual, audio

    def _raise_not_finite(self, video_id: str, parts: list[np.ndarray], start: int) -> None:
        for pattern, part in zip(self.layout.patterns, parts, strict=True):
            bad = np.flatnonzero(~np.isfinite(part).all(axis=1))
            if len(bad):
                path = self.path(video_id, pattern)
                reason = f"NaN or infinity in {len(bad)} steps, the first is {start + bad[0]}"
                raise FeatureError(str(Problem(video_id, str(path), reason)))


def _read_shape(path: Path) -> tuple[int, int] | str:
    """Shape (T, C) of an .npy file by its header, or what is wrong with the file."""
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_HEAD_BYTES)
            header = _parse_header(head)
            if header is None and len(head) == _HEAD_BYTES:
                header = _parse_header.__wrapped__(head + file.read(1 << 17))  # not cached
    except FileNotFoundError:
        return "missing"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    if size == 0:
        return "empty, 0 bytes"
    if header is None:
        return "not an .npy file"
    shape, dtype, offset = header
    if dtype.hasobject:
        return "holds pickled Python objects, expected float16 or float32 numbers"
    if dtype not in DTYPES:
        return f"dtype {dtype}, expected float16 or float32"
    if len(shape) != 2:
        return f"shape {shape}, expected 2 dimensions (steps, channels)"
    if 0 in shape:
        return f"shape {shape}, expected at least one step and one channel"
    expected = offset + shape[0] * shape[1] * dtype.itemsize
    if size < expected:
        return f"truncated, {size} of {expected} bytes"
    return shape[0], shape[1]


@lru_cache(maxsize=4096)  # the headers of a data set differ in T only
def _parse_header(head: bytes) -> tuple[tuple[int, ...], np.dtype, int] | None:
    """Shape, type and the bytes before the data; None for what is not an .npy header."""
    stream = io.BytesIO(head)
    try:
        version = np.lib.format.read_magic(stream)
        with _PARSING:
            if version == (1, 0):
                shape, _, dtype = np.lib.format.read_array_header_1_0(stream)
            else:
                shape, _, dtype = np.lib.format.read_array_header_2_0(stream)
    except (ValueError, TypeError, SyntaxError, EOFError):
        return None
    return shape, dtype, stream.tell()


def _most_common(numbers: Iterable[int]) -> int:
    return next((number for number, _ in Counter(numbers).most_common(1)), 0)


def _is_pattern(pattern: str) -> bool:
    path: PurePath = PurePosixPath(pattern)
    absolute = path.is_absolute() or PureWindowsPath(pattern).is_absolute()
    return pattern.count("{id}") == 1 and not absolute and ".." not in path.parts


def _is_safe(video_id: str) -> bool:
    return (
        video_id not in ("", ".")
        and ".." not in video_id
        and not any(char in "/\\" or ord(char) < 32 for char in video_id)
    )
