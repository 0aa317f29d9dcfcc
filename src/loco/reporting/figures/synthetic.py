"""Shows that the synthetic data holds the properties it is built for, measured on its files.

Audio and visual features live in different channels, so their similarity is taken after an
alignment: a ridge regression from audio to visual steps, fitted on the train videos. The rest is
the cosine of what the audio predicts with what is seen, both centred.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from loco.data.annotations import Video, read_annotations
from loco.data.features import FeatureLayout, FeatureStore
from loco.evaluation import similarity
from loco.reporting.figures.style import TextFigure, short, write_figure

MAX_VIDEOS = 150  # that a similarity is measured on


@dataclass(frozen=True, slots=True)
class Alignment:
    """A linear map from audio to visual features.

    Args:
        audio_mean: (C_audio,)
        visual_mean: (C_visual,)
        weights: (C_audio, C_visual)
    """

    audio_mean: np.ndarray
    visual_mean: np.ndarray
    weights: np.ndarray

    @classmethod
    def fit(cls, store: FeatureStore, videos: Iterable[Video], penalty: float = 1.0) -> Alignment:
        """Ridge regression over all steps; `penalty` is per hundred steps."""
        pairs = [store.load(video.id) for video in videos]
        visual = np.concatenate([pair[0] for pair in pairs]).astype(np.float64)
        audio = np.concatenate([pair[1] for pair in pairs]).astype(np.float64)
        audio_mean, visual_mean = audio.mean(0), visual.mean(0)
        audio -= audio_mean
        ridge = penalty * len(audio) / 100 * np.eye(audio.shape[1])
        weights = np.linalg.solve(audio.T @ audio + ridge, audio.T @ (visual - visual_mean))
        return cls(audio_mean, visual_mean, weights)

    def similarity(self, visual: np.ndarray, audio: np.ndarray) -> np.ndarray:
        """(T, T) cosine of visual step i and audio step j."""
        seen = visual.astype(np.float64) - self.visual_mean
        heard = (audio.astype(np.float64) - self.audio_mean) @ self.weights
        return similarity.cosine_similarity(seen, heard)


def similarity_by_distance(
    alignment: Alignment, store: FeatureStore, videos: Iterable[Video], num_steps: int
) -> tuple[np.ndarray, np.ndarray]:
    """`loco.evaluation.similarity.similarity_by_distance` of these videos, after the alignment."""
    videos = list(videos)
    return similarity.similarity_by_distance(
        (alignment.similarity(*store.load(video.id)) for video in videos),
        (video.events.segments.numpy() for video in videos),
        store.layout.grid,
        num_steps,
    )


def plot_properties(root: Path, layout: FeatureLayout, path: Path) -> None:
    """Draw the properties of the data set under `root` into an image file.

    Raises:
        LocoError: files that are missing or unusable.
    """
    annotations = read_annotations(root / "annotations.json")
    store = FeatureStore(root / "features", layout)
    videos = list(annotations.values())
    alignment = Alignment.fit(store, annotations.split("train")[: 2 * MAX_VIDEOS])
    shown = [video for video in videos if video.subset != "train"] or videos
    example = _example(shown)
    sources = json.loads((root / "sources.json").read_text(encoding="utf-8"))[example.id]

    figure = TextFigure(figsize=(15, 8.5), layout="constrained")
    axes = figure.subplots(2, 3)
    _plot_decay(axes[0, 0], alignment, store, shown[:MAX_VIDEOS])
    _plot_lengths(axes[0, 1], videos)
    _plot_counts(axes[0, 2], videos)
    _plot_similarity(axes[1, 0], alignment, store, example)
    _plot_sources(axes[1, 1], example, sources, annotations.class_names)
    _plot_frequency(axes[1, 2], videos)
    write_figure(figure, path, dpi=110)


def _example(videos: list[Video]) -> Video:
    """A video with several events and classes, if there is one."""
    return max(videos, key=lambda v: (min(len(set(v.events.labels.tolist())), 3), -len(v.events)))


def _plot_decay(axes: Axes, alignment: Alignment, store: FeatureStore, videos: list[Video]) -> None:
    step = store.layout.grid.stride / store.layout.grid.fps
    count = int(20 / step)
    inside, across = similarity_by_distance(alignment, store, videos, count)
    seconds = np.arange(count) * step
    axes.plot(seconds, inside, label="inside one event")
    axes.plot(seconds, across, label="inside / outside")
    axes.set(title="Audio–visual similarity", xlabel="distance, s", ylabel="mean cosine")
    axes.legend()


def _plot_lengths(axes: Axes, videos: list[Video]) -> None:
    segments = np.concatenate([video.events.segments.numpy() for video in videos])
    lengths = segments[:, 1] - segments[:, 0]
    axes.hist(lengths, bins=np.geomspace(0.2, 60, 40).tolist())
    axes.set(
        xscale="log",
        title=f"Event lengths: median {np.median(lengths):.1f} s, mean {lengths.mean():.1f} s",
        xlabel="s",
        ylabel="events",
    )


def _plot_counts(axes: Axes, videos: list[Video]) -> None:
    events = Counter(len(video.events) for video in videos)
    classes = Counter(len(set(video.events.labels.tolist())) for video in videos)
    for shift, (counter, label) in enumerate(((events, "events"), (classes, "classes"))):
        x = np.array(sorted(counter))
        heights = [counter[i] / len(videos) for i in x]
        axes.bar(x + 0.4 * (shift - 0.5), heights, width=0.4, label=label)
    axes.set(title="Events and classes of a video", xlabel="number", ylabel="part of the videos")
    axes.legend()


def _plot_similarity(axes: Axes, alignment: Alignment, store: FeatureStore, video: Video) -> None:
    grid = store.layout.grid
    matrix = alignment.similarity(*store.load(video.id))
    first, last = grid.to_seconds(0.0), grid.to_seconds(float(len(matrix) - 1))
    image = axes.imshow(
        matrix,
        origin="lower",
        extent=(first, last, first, last),
        cmap="RdBu_r",
        vmin=-1,
        vmax=1,
    )
    for start, end in video.events.segments.numpy():
        box = ([start, end, end, start, start], [start, start, end, end, start])
        axes.plot(*box, color="black", linewidth=1)
    axes.set(title=f"{video.id}: similarity, events framed", xlabel="audio, s", ylabel="visual, s")
    axes.figure.colorbar(image, ax=axes, shrink=0.8)


def _plot_sources(axes: Axes, video: Video, sources: list[dict], names: list[str]) -> None:
    """Each source's sight above its sound; the sources of the events come first."""
    for row, source in enumerate(sources):
        for offset, modality in ((-0.2, "visual"), (0.2, "audio")):
            if source[modality]:
                start, end = source[modality]
                color = "tab:blue" if modality == "visual" else "tab:orange"
                axes.barh(row + offset, end - start, left=start, height=0.36, color=color)
    axes.set_yticks(range(len(sources)), short([names[s["label_id"]] for s in sources]))
    axes.axhline(len(video.events) - 0.5, color="black", linewidth=1)
    axes.invert_yaxis()
    axes.set(
        title="Seen (blue), heard (orange); below the line: no event",
        xlabel="s",
        xlim=(0, video.duration),
    )


def _plot_frequency(axes: Axes, videos: list[Video]) -> None:
    counter = Counter(label for video in videos for label in set(video.events.labels.tolist()))
    axes.bar(range(len(counter)), sorted(counter.values(), reverse=True))
    axes.set(title="Class frequency", xlabel="rank of the class", ylabel="videos that show it")
