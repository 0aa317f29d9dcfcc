"""Reads feature files: .npy arrays of T steps × C channels, one or more for a video and modality.

The headers of a whole data set are checked before anything is trained, and everything that is
wrong is told at once. Only the rows that are asked for are read from the disk.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath

import numpy as np

from loco.data.headers import DTYPES, UNREADABLE, Header, read_header
from loco.errors import FeatureError, check_number
from loco.files import MAX_NAME_BYTES
from loco.structures import TimeGrid

_THREADS = 8  # hides the latency of a network file system
LARGEST = 1e8
"""Features beyond it are damage: in float32 the norms of a net would overflow some way further."""


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
        float64: files of float64 among the usable ones.
    """

    lengths: dict[str, int]
    visual_channels: int
    audio_channels: int
    problems: list[Problem]
    float64: int = 0


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
        check_number("max_length_difference", max_length_difference, 0, whole=True)
        self.root = Path(root)
        self.layout = layout
        self.max_length_difference = max_length_difference
        if not self.root.is_dir():
            raise FeatureError(f"{self.root}: expected the folder of the feature files, not found")

    def path(self, video_id: str, pattern: str) -> Path:
        """The file of a video for a pattern.

        Raises:
            FeatureError: the id could lead out of the folder, or makes too long a name.
        """
        if not is_file_name(video_id):
            raise FeatureError(
                f"video {video_id!r}: an id that names files must be without "
                "path separators, '..' and control characters"
            )
        name = pattern.replace("{id}", video_id)
        if max(len(part.encode()) for part in PurePosixPath(name).parts) > MAX_NAME_BYTES:
            raise FeatureError(
                f"video {video_id!r}: {name} is too long for a file's name, by file systems that "
                f"take {MAX_NAME_BYTES} bytes"
            )
        return self.root / name

    def find_videos(self) -> list[str]:
        """Ids of the videos whose first visual file is there, sorted; hidden files are none."""
        first, *others = self.layout.patterns
        before, after = first.split("{id}")
        length = len(PurePosixPath(first).parts)
        found = []
        for path in self.root.glob(f"{glob.escape(before)}*{glob.escape(after)}"):
            name = "/".join(path.parts[-length:])
            video_id = name[len(before) : len(name) - len(after)]
            hidden = any(part.startswith(".") for part in path.parts[-length:])
            if is_file_name(video_id) and not hidden:
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
            _most_common(h.channels for of_video in headers if isinstance(h := of_video[i], Header))
            for i in range(len(patterns))
        ]
        lengths: dict[str, int] = {}
        problems: list[Problem] = []
        float64 = 0
        for video_id, of_video in zip(video_ids, headers, strict=True):
            found = self._judge(video_id, of_video, channels)
            if found:
                problems.extend(found)
            else:
                good = [header for header in of_video if isinstance(header, Header)]
                lengths[video_id] = min(header.steps for header in good)
                float64 += sum(header.dtype.itemsize == 8 for header in good)
        split = len(self.layout.visual)
        visual, audio = sum(channels[:split]), sum(channels[split:])
        return Inspection(lengths, visual, audio, problems, float64)

    def _headers(self, video_id: str) -> list[Header | str]:
        """For each pattern what the file holds, or what is wrong with it."""
        if not is_file_name(video_id):
            return [
                "the id of a video must be without path separators, '..' and control characters"
            ] * len(self.layout.patterns)
        return [read_header(self.path(video_id, pattern)) for pattern in self.layout.patterns]

    def _judge(
        self, video_id: str, headers: list[Header | str], channels: list[int]
    ) -> list[Problem]:
        problems = []
        files = [pattern.replace("{id}", video_id) for pattern in self.layout.patterns]
        for file, header, expected in zip(files, headers, channels, strict=True):
            if isinstance(header, str):
                problems.append(Problem(video_id, file, header))
            elif header.channels != expected:
                reason = f"{header.channels} channels, other videos have {expected}"
                problems.append(Problem(video_id, file, reason))
        steps = {
            file: header.steps
            for file, header in zip(files, headers, strict=True)
            if isinstance(header, Header)
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
            Visual (T, C_visual) and audio (T, C_audio), in memory, float16 or float32 as stored,
            in this machine's byte order; float32 of a float64 file.

        Raises:
            FeatureError: a file cannot be read, lacks these steps, or holds what is not `usable`.
        """
        arrays = []
        for pattern in self.layout.patterns:
            path = self.path(video_id, pattern)
            try:
                # not a pipe or a device, which could be waited for without end
                array = _load_mapped(path) if path.is_file() else np.empty(0)
            except UNREADABLE:
                array = np.empty(0)  # judged below, with the words of the inspection
            if array.ndim != 2 or array.dtype.newbyteorder("=") not in DTYPES:
                header = read_header(path)
                reason = header if isinstance(header, str) else "cannot be read"
                raise FeatureError(str(Problem(video_id, str(path), reason)))
            arrays.append(array)

        length = min(len(array) for array in arrays)
        stop = length if stop is None else stop
        if not 0 <= start < stop <= length:
            raise FeatureError(
                f"video {video_id!r}: steps [{start}, {stop}) are asked for, "
                f"its files under {self.root} hold {length}"
            )
        parts = [_native(array[start:stop]) for array in arrays]
        split = len(self.layout.visual)
        visual, audio = np.concatenate(parts[:split], 1), np.concatenate(parts[split:], 1)
        if not (usable(visual) and usable(audio)):
            raise FeatureError(str(self._unusable(video_id, parts, start)))
        return visual, audio

    def check_values(
        self, video_ids: Sequence[str], progress: Callable[[], None] = lambda: None
    ) -> list[Problem]:
        """Reads every value of videos that `inspect` found usable; those whose values are not.

        Args:
            video_ids: the videos.
            progress: called after each.
        """

        def check(video_id: str) -> Problem | None:
            paths = [self.path(video_id, pattern) for pattern in self.layout.patterns]
            try:
                return self._unusable(video_id, [_native(_load_mapped(p)) for p in paths], 0)
            except UNREADABLE as error:
                return Problem(video_id, paths[0].name, f"cannot be read: {error}")

        found = []
        with ThreadPoolExecutor(_THREADS) as pool:
            for problem in pool.map(check, video_ids):
                progress()
                if problem is not None:
                    found.append(problem)
        return found

    def _unusable(self, video_id: str, parts: Iterable[np.ndarray], start: int) -> Problem | None:
        for pattern, part in zip(self.layout.patterns, parts, strict=True):
            if usable(part):
                continue
            finite = np.isfinite(part).all(axis=1)
            what, bad = "NaN or infinity", np.flatnonzero(~finite)
            if finite.all():
                what = f"values beyond ±{LARGEST:g}"
                bad = np.flatnonzero((np.abs(part) > LARGEST).any(axis=1))
            reason = f"{what} in {len(bad)} steps, the first is {start + bad[0]}"
            return Problem(video_id, str(self.path(video_id, pattern)), reason)
        return None


def usable(values: np.ndarray) -> bool:
    """Whether all are numbers that a net can add up: none is NaN, infinite or beyond `LARGEST`."""
    # of NaN neither holds
    return float(values.min(initial=0)) >= -LARGEST and float(values.max(initial=0)) <= LARGEST


def _load_mapped(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r", allow_pickle=False)


def _native(array: np.ndarray) -> np.ndarray:
    """float16 as it is, all else as float32, in this machine's byte order."""
    dtype = array.dtype.newbyteorder("=")
    with np.errstate(over="ignore"):  # becomes infinity, which is told
        return array.astype(dtype if dtype == np.float16 else np.float32, copy=False)


def _most_common(numbers: Iterable[int]) -> int:
    return next((number for number, _ in Counter(numbers).most_common(1)), 0)


def _is_pattern(pattern: str) -> bool:
    path: PurePath = PurePosixPath(pattern)
    absolute = path.is_absolute() or PureWindowsPath(pattern).is_absolute()
    return pattern.count("{id}") == 1 and not absolute and ".." not in path.parts


def is_file_name(video_id: str) -> bool:
    """Whether an id can stand in the name of a file, which then stays in its folder."""
    return (
        video_id not in ("", ".")
        and ".." not in video_id
        and not any(char in "/\\\x7f" or ord(char) < 32 for char in video_id)
        and not any("\ud800" <= char <= "\udfff" for char in video_id)
    )
