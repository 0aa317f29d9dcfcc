"""The embedded default data: a seeded benchmark, written in exactly the layout of the real one.

    root/annotations.json       UnAV-100's form
    root/features/{pattern}     T × C arrays, one a video and pattern of the layout
    root/sources.json           what is seen and heard when, the unlabelled distractors too
    root/synthetic.json         the settings, and what was made

`synthetic_events` says what happens in a video, `synthetic_render` how that sounds and looks.
"""

from __future__ import annotations

import json
import shutil
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from loco.data.annotations import SUBSETS, read_annotations
from loco.data.features import FeatureLayout, FeatureStore
from loco.data.synthetic.config import SyntheticConfig, random_stream
from loco.data.synthetic.events import (
    Source,
    Video,
    class_weights,
    draw_sources,
    draw_video,
    leading_classes,
)
from loco.data.synthetic.names import class_names
from loco.data.synthetic.record import finished, settings_of, whatever_stands
from loco.data.synthetic.rendering import World
from loco.errors import AnnotationError, LocoError

__all__ = ["SyntheticConfig", "SyntheticSummary", "make_synthetic"]

Database = dict[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class SyntheticSummary:
    """What stands in a finished folder."""

    root: Path
    videos: dict[str, int]
    """Videos by subset."""
    events: int
    classes: int
    """Classes that the data set knows, also where none of these videos shows them."""
    offscreen: int
    """Unlabelled sounds without their sight."""
    silent: int
    """Unlabelled sights without their sound."""
    num_bytes: int
    """Size of all feature files."""
    seconds: float
    """Time that this call took."""
    created: bool
    """False where a finished folder with the same settings was there already."""


def make_synthetic(
    root: Path | str,
    layout: FeatureLayout,
    config: SyntheticConfig | None = None,
    *,
    annotations: Path | str | None = None,
    max_videos: int | None = None,
    overwrite: bool = False,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> SyntheticSummary:
    """Make annotations and features under `root`; do nothing where the same stand there already.

    The work is done in a folder beside `root`, `.{name}.….partial`, and renamed at the end.

    Args:
        root: the folder to make.
        layout: names of the feature files, and their grid.
        config: the settings; None, with nothing else said either, takes what stands there already
            in this layout, or else the defaults.
        annotations: a real annotation file, to make features for its videos and events.
        max_videos: of that file, take so many videos; they keep the proportions of the subsets
            and show every class.
        overwrite: replace a folder that was made with other settings.
        workers: processes; the bytes are the same with any number of them. With more than one,
            a script that calls this needs its `if __name__ == "__main__":`.
        progress: called with (videos done, videos in all) after each video.

    Raises:
        LocoError: settings that do not fit together; a folder that holds something else.
        AnnotationError: an annotation file that cannot be used.
    """
    started = time.perf_counter()
    root = Path(root)
    if config is None and annotations is None and max_videos is None and not overwrite:
        made = whatever_stands(root, layout)
        if made is not None:
            return _summary(root, made, started, created=False)
    config = config or SyntheticConfig()
    for modality in ("visual", "audio"):
        patterns, channels = getattr(layout, modality), getattr(config, f"{modality}_channels")
        if len(patterns) != len(channels):
            raise LocoError(
                f"synthetic data: {len(channels)} {modality} channel counts {list(channels)} "
                f"for {len(patterns)} {modality} files {list(patterns)}"
            )
    if workers < 1:
        raise LocoError(f"synthetic data: expected workers ≥ 1, got {workers}")
    if max_videos is not None and annotations is None:
        raise LocoError("synthetic data: max_videos goes with an annotation file")
    settings = settings_of(layout, config, annotations, max_videos)
    if (found := finished(root, settings, overwrite)) is not None:
        return _summary(root, found, started, created=False)

    source: dict[str, Any] = {"version": "synthetic"}
    if annotations is None:
        source["database"] = _draw_database(config)
        weights = class_weights(config)
    else:
        num_classes = len(read_annotations(annotations).class_names)
        if num_classes == 0:
            raise AnnotationError(f"{annotations}: no events")
        config = replace(config, num_classes=num_classes)
        source = json.loads(Path(annotations).read_text(encoding="utf-8-sig"))
        weights = _class_frequency(source["database"], num_classes)
        if max_videos is not None:
            kept = _choose_videos(source["database"], max_videos, config.seed)
            source["database"] = {name: source["database"][name] for name in kept}
    _check_complete(source["database"], config.num_classes)

    partial = root.absolute().parent / f".{root.absolute().name}.{uuid.uuid4().hex[:8]}.partial"
    try:
        (partial / "features").mkdir(parents=True)
        made, sources = _write_features(
            _Writer(World(config), FeatureStore(partial / "features", layout), weights),
            source["database"],
            workers,
            progress,
        )
        _write_json(partial / "annotations.json", source)
        _write_json(partial / "sources.json", sources)
        _write_json(partial / "synthetic.json", {"settings": settings, "made": made})
        if root.is_dir() and (overwrite or not any(root.iterdir())):
            shutil.rmtree(root)
        partial.rename(root.absolute())
    except OSError as error:  # another run may have made the same meanwhile
        if not root.exists() or (found := finished(root, settings, overwrite=False)) is None:
            raise LocoError(f"{root}: cannot be made ({error})") from error
        return _summary(root, found, started, created=False)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return _summary(root, made, started, created=True)


def _draw_database(config: SyntheticConfig) -> Database:
    """Videos and events of the generator's own, in the annotation file's form."""
    names = class_names(config.num_classes)
    database: Database = {}
    for subset, count in zip(SUBSETS, config.num_videos, strict=True):
        for index, leading in enumerate(leading_classes(config, subset, count)):
            name = f"{subset}_{index:05d}"
            video = draw_video(config, name, int(leading))
            database[name] = {
                "duration": video.duration,
                "subset": subset,
                "annotations": [
                    {"segment": [start, end], "label": names[k], "label_id": k}
                    for start, end, k in video.events
                ],
            }
    return database


def _class_frequency(database: Database, num_classes: int) -> np.ndarray:
    """(K,) part that each class has of all pairs of a video and a class it shows."""
    shown = [k for v in database.values() for k in {a["label_id"] for a in v["annotations"]}]
    counts = np.bincount(shown, minlength=num_classes)
    return counts / counts.sum()


def _check_complete(database: Database, num_classes: int) -> None:
    """Refuse videos that leave a class out: class ids would have gaps.

    Raises:
        LocoError: so few videos cannot show all classes.
    """
    shown = {a["label_id"] for video in database.values() for a in video["annotations"]}
    if len(shown) < num_classes:
        raise LocoError(
            f"synthetic data: {len(database)} videos show {len(shown)} of {num_classes} classes; "
            "take more videos"
        )


def _choose_videos(database: Database, count: int, seed: int) -> list[str]:
    """`count` videos of a real file: subsets in proportion, each with all classes if it can."""
    count = min(count, len(database))
    members = {
        subset: sorted(name for name, video in database.items() if video["subset"] == subset)
        for subset in SUBSETS
    }
    shares = {subset: count * len(names) / len(database) for subset, names in members.items()}
    quotas = {subset: int(share) for subset, share in shares.items()}
    for subset in sorted(shares, key=lambda s: quotas[s] - shares[s])[
        : count - sum(quotas.values())
    ]:
        quotas[subset] += 1  # the largest remainders

    classes = {name: {a["label_id"] for a in v["annotations"]} for name, v in database.items()}
    chosen: list[str] = []
    shown: set[int] = set()
    for subset, names in members.items():
        order = [names[i] for i in random_stream(seed, "choose", subset).permutation(len(names))]
        holders: dict[int, list[str]] = {}
        for name in order:
            for label in classes[name]:
                holders.setdefault(label, []).append(name)
        picked: dict[str, None] = {}
        covered: set[int] = set()
        # First the classes that no subset shows yet, of these the rarest.
        for label in sorted(holders, key=lambda k: (k in shown, len(holders[k]), k)):
            if label not in covered and len(picked) < quotas[subset]:
                picked[holders[label][0]] = None
                covered |= classes[holders[label][0]]
        for name in order:
            if len(picked) < quotas[subset]:
                picked.setdefault(name)
        chosen += picked
        shown.update(*(classes[name] for name in picked))
    return chosen


@dataclass(frozen=True, slots=True)
class _Writer:
    """Renders a video and writes its feature files."""

    world: World
    store: FeatureStore
    weights: np.ndarray

    def __call__(self, job: tuple[str, dict[str, Any]]) -> tuple[list[Source], int]:
        """Returns the video's sources, and the size of its files."""
        name, entry = job
        config, grid = self.world.config, self.store.layout.grid
        events = [(*a["segment"], a["label_id"]) for a in entry["annotations"]]
        video = Video(entry["duration"], events)
        sources = draw_sources(config, name, video, self.weights)
        num_steps = 1 + max(0, int((video.duration * grid.fps - grid.window) // grid.stride))
        features = self.world.render(name, sources, num_steps, grid)
        rng = random_stream(config.seed, "length", name)
        shorter = (
            ("visual", "audio")[int(rng.random() < 0.5)] if rng.random() < config.uneven else ""
        )
        num_bytes = 0
        layout = self.store.layout
        for modality, patterns in (("visual", layout.visual), ("audio", layout.audio)):
            length = max(1, num_steps - (modality == shorter))
            for pattern, values in zip(patterns, features[modality], strict=True):
                path = self.store.path(name, pattern)
                path.parent.mkdir(parents=True, exist_ok=True)
                np.save(path, values[:length].astype(config.dtype))
                num_bytes += path.stat().st_size
        return sources, num_bytes


def _write_features(
    write: _Writer,
    database: Database,
    workers: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[dict[str, Any], dict[str, list[dict[str, Any]]]]:
    """Render all videos; returns what the summary counts, and the sources of each video."""
    made = dict.fromkeys(("offscreen", "silent", "num_bytes"), 0)
    all_sources = {}
    jobs = sorted(database.items())
    pool = ProcessPoolExecutor(workers, get_context("spawn")) if workers > 1 else None
    try:
        written = map(write, jobs) if pool is None else pool.map(write, jobs, chunksize=8)
        for done, ((name, _), (sources, num_bytes)) in enumerate(
            zip(jobs, written, strict=True), 1
        ):
            all_sources[name] = [source.to_json() for source in sources]
            made["num_bytes"] += num_bytes
            made["offscreen"] += sum(s.visual[1] <= s.visual[0] for s in sources)
            made["silent"] += sum(s.audio[1] <= s.audio[0] for s in sources)
            if progress is not None:
                progress(done, len(jobs))
    except BrokenProcessPool as error:
        raise LocoError(
            "synthetic data: a process died, for want of memory perhaps (fewer workers need less), "
            'or as the script that calls this has no `if __name__ == "__main__":`'
        ) from error
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    subsets = [video["subset"] for video in database.values()]
    events = sum(len(video["annotations"]) for video in database.values())
    videos = {subset: subsets.count(subset) for subset in SUBSETS}
    classes = write.world.config.num_classes
    return {**made, "events": events, "videos": videos, "classes": classes}, all_sources


def _write_json(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n", "utf-8")


def _summary(
    root: Path, made: dict[str, Any], started: float, *, created: bool
) -> SyntheticSummary:
    seconds = time.perf_counter() - started
    return SyntheticSummary(root=root, seconds=seconds, created=created, **made)
