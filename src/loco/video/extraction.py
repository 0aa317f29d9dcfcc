"""Many videos → feature files that the data module reads, whole or not at all, and what made them.

A run that was killed goes on where it was; several can work on the same folder, each on its shard.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from filelock import FileLock

from loco.data.extraction import ExtractedVideo, Extraction, read_extraction, write_extraction
from loco.data.features import FeatureStore
from loco.errors import FeatureError, VideoError
from loco.files import replacing, sampled_sha256
from loco.video.container import import_av
from loco.video.extractor import Extracted, Extractor
from loco.video.reader import VideoReader

NOTE_SECONDS = 5.0
"""How often the record on the disk is brought up to date; what a kill takes is done again."""

Progress = Callable[[str, float, bool], None]
"""Takes an id, the seconds of it that are decoded, and whether it is done with."""


@dataclass(slots=True)
class Summary:
    """What an extraction did.

    Args:
        made: ids of the videos whose files were written.
        kept: ids of those whose files were there.
        failed: of the others, why; the file is named there.
        warned: id → what was wrong with a video and was kept.
        film_seconds: of the videos that were made.
        seconds: CPU seconds by stage.
        wall: seconds that all of it took.
    """

    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    warned: dict[str, list[str]] = field(default_factory=dict)
    film_seconds: float = 0.0
    seconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    wall: float = 0.0


class Stopped(Exception):
    """Ends the work on a video that is not wanted any more."""


def describe_extractor(extractor: Extractor, config: dict[str, Any] | None = None) -> Extraction:
    """The record of what an extractor makes, without videos.

    Args:
        extractor: of which it is.
        config: plain values with `_target_` from which it can be built again.
    """
    layout = extractor.layout
    return Extraction(
        layout={
            "visual": list(layout.visual), "audio": list(layout.audio), "fps": float(layout.fps),
            "window": layout.window, "stride": layout.stride,
        },
        encoders=extractor.identities(),
        extractor=config or {},
        versions={"av": import_av().__version__, "torch": torch.__version__},
    )  # fmt: skip


def extract_videos(
    videos: Mapping[str, Path],
    root: str | Path,
    extractor: Extractor,
    *,
    config: dict[str, Any] | None = None,
    workers: int | None = None,
    on_damage: Literal["error", "keep"] = "error",
    progress: Progress = lambda video_id, seconds, done: None,
) -> Summary:
    """Write the feature files of videos into a folder, and what made them.

    A video whose files stand there, of the same source, is left as it is. One that
    cannot be used is told in the summary; the others go on.

    Args:
        videos: id → file.
        root: folder of the feature files; made where it is not there.
        extractor: what makes the features.
        config: plain values from which the extractor can be built again, for checkpoints.
        workers: videos at once, and threads that compute; None is the number of cores.
        on_damage: as `VideoReader` has it.
        progress: called now and then, also by other threads.

    Raises:
        VideoError: the folder holds features of something else.
    """
    workers = cores() if workers is None else workers
    if workers < 1:
        raise VideoError(f"workers={workers}: expected 1 or more")
    began = time.perf_counter()
    folder = _Folder(Path(root), extractor, describe_extractor(extractor, config))
    summary, stop = Summary(), threading.Event()
    todo = {}
    for video_id, path in videos.items():
        try:
            whole = folder.is_whole(video_id, path)
        except FeatureError as error:  # an id that cannot name files
            summary.failed[video_id] = f"{path}: {error}"
            continue
        if whole:
            summary.kept.append(video_id)
            progress(video_id, 0.0, True)
        else:
            todo[video_id] = path

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the pool's threads are the parallel ones
    try:
        with (
            ThreadPoolExecutor(workers, "look") as pool,
            ThreadPoolExecutor(workers, "decode") as readers,
        ):

            def work(video_id: str, path: Path) -> Extracted:
                reader = VideoReader(path, on_damage)
                return _extract(
                    reader, extractor, pool, stop, lambda s: progress(video_id, s, False)
                )

            try:
                _all(todo, work, readers, folder, summary, progress)
            except BaseException:
                stop.set()
                readers.shutdown(wait=True, cancel_futures=True)
                raise
    finally:
        torch.set_num_threads(threads)
        folder.note(force=True)
    summary.wall = time.perf_counter() - began
    return summary


def _all(
    todo: Mapping[str, Path],
    work: Callable[[str, Path], Extracted],
    readers: ThreadPoolExecutor,
    folder: _Folder,
    summary: Summary,
    progress: Progress,
) -> None:
    """Do all, writing each as soon as it is done."""
    running: dict[Future[Extracted], str] = {
        readers.submit(work, video_id, path): video_id for video_id, path in todo.items()
    }
    while running:
        done, _ = wait(running, return_when=FIRST_COMPLETED)
        for job in done:
            video_id = running.pop(job)
            progress(video_id, 0.0, True)
            try:
                extracted = job.result()
            except VideoError as error:
                summary.failed[video_id] = str(error)
                continue
            folder.write(video_id, todo[video_id], extracted)
            summary.made.append(video_id)
            summary.film_seconds += extracted.duration
            for stage, spent in extracted.seconds.items():
                summary.seconds[stage] += spent
            if extracted.warnings:
                summary.warned[video_id] = extracted.warnings


def _extract(
    reader: VideoReader,
    extractor: Extractor,
    pool: ThreadPoolExecutor,
    stop: threading.Event,
    progress: Callable[[float], None],
) -> Extracted:
    """One video; what FFmpeg cannot do with it is an error of ours."""
    told = 0.0

    def decoded(seconds: float) -> None:
        nonlocal told
        if stop.is_set():
            raise Stopped
        if seconds - told > 1:
            told = seconds
            progress(seconds)

    try:
        return extractor.extract(reader, pool, decoded)
    except import_av().error.FFmpegError as error:
        raise VideoError(f"{reader.path}: cannot be decoded ({error.strerror})") from None


class _Folder:
    """The feature files below a root, and their record."""

    def __init__(self, root: Path, extractor: Extractor, record: Extraction) -> None:
        self.root = root
        self.record = record
        self._lock = FileLock(root / ".extraction.lock")
        self._new: dict[str, ExtractedVideo] = {}
        self._noted = time.monotonic()
        try:
            root.mkdir(parents=True, exist_ok=True)
            self.store = FeatureStore(root, extractor.layout)
            with self._lock:
                self.record = self._merged()
                write_extraction(root, self.record)
        except OSError as error:
            raise VideoError(
                f"{root}: expected a folder that can be written into ({error.strerror}); take "
                "another root"
            ) from None

    def is_whole(self, video_id: str, path: Path) -> bool:
        """Whether a video's files are there, of the same source and as long as they were."""
        paths = [self.store.path(video_id, pattern) for pattern in self.store.layout.patterns]
        known = self.record.videos.get(video_id)
        if known is None:
            return False
        try:
            same = path.stat().st_size == known.bytes and (
                not known.sample or sampled_sha256(path) == known.sample
            )
        except OSError:  # said when it is looked at
            return False
        return same and all(file.is_file() for file in paths) and (
            self.store.inspect([video_id]).lengths.get(video_id) == known.steps
        )  # fmt: skip

    def write(self, video_id: str, path: Path, extracted: Extracted) -> None:
        """A video's files, each whole or not at all."""
        for pattern, array in extracted.arrays.items():
            file = self.store.path(video_id, pattern)
            with replacing(file) as unfinished, unfinished.open("wb") as stream:
                np.save(stream, array)
        self._new[video_id] = ExtractedVideo(
            path.name, extracted.bytes, round(extracted.duration, 6), extracted.steps,
            extracted.warnings, extracted.sample,
        )  # fmt: skip
        self.note()

    def note(self, force: bool = False) -> None:
        """Bring the record on the disk up to date, now and then."""
        if self._new and (force or time.monotonic() - self._noted > NOTE_SECONDS):
            with self._lock:
                self.record = self._merged()
                write_extraction(self.root, self.record)
            self._new, self._noted = {}, time.monotonic()

    def _merged(self) -> Extraction:
        """Ours, with the videos on the disk, which others may have noted, and the new ones.

        Raises:
            VideoError: the folder's files are of something else.
        """
        there = read_extraction(self.root)
        if there is not None and not there.videos and not self.store.find_videos():
            there = None  # of a run that made nothing
        if there is not None and there.identity != self.record.identity:
            raise VideoError(
                f"{self.root}: holds features of {there.described}, these would be of "
                f"{self.record.described}; take another root "
                f"(different: {there.differences(self.record)})"
            )
        if there is None and (strange := self.store.find_videos()):
            raise VideoError(
                f"{self.root}: holds features of {strange[0]!r} of which nothing says what made "
                "them; take another root"
            )
        before = {} if there is None else there.videos
        return replace(self.record, videos=dict(sorted((before | self._new).items())))


def cores() -> int:
    """Processors that this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
