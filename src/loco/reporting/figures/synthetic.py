"""Shows that the synthetic data holds the properties it is built for, measured on its files.

Audio and visual features live in different channels, so their similarity is taken after an
alignment: a ridge regression from audio to visual steps, fitted on the train videos. The rest is
the cosine of what the audio predicts with what is seen, both centred.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from loco.data.annotations import Video, read_annotations
from loco.data.features import FeatureLayout, FeatureStore
from loco.evaluation import similarity
from loco.files import read_json
from loco.reporting.figures.dataset import plot_classes, plot_counts, plot_lengths
from loco.reporting.figures.similarity import mark_events, plot_coherence
from loco.reporting.figures.style import (
    INK,
    SEQUENTIAL,
    TextFigure,
    color_of,
    legend,
    name_ticks,
    plain,
)

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


def plot_properties(root: Path, layout: FeatureLayout) -> Figure:
    """What the data set under `root` is built to hold.

    Raises:
        LocoError: files that are missing or unusable.
    """
    annotations = read_annotations(root / "annotations.json")
    store = FeatureStore(root / "features", layout)
    videos = list(annotations.values())
    alignment = Alignment.fit(store, annotations.split("train")[: 2 * MAX_VIDEOS])
    shown = [video for video in videos if video.subset != "train"] or videos
    example = _example(shown)
    sources = read_json(root / "sources.json")[example.id]

    figure = TextFigure(figsize=(8.4, 9.6), layout="constrained")
    axes = figure.subplots(3, 2)
    _plot_sources(axes[0, 0], example, sources, annotations.class_names)
    _plot_similarity(axes[0, 1], alignment, store, example)
    reach = int(20 * layout.grid.fps / layout.grid.stride)
    curves = similarity_by_distance(alignment, store, shown[:MAX_VIDEOS], reach)
    plot_classes(axes[1, 0], annotations)
    plot_coherence({"": curves}, layout.grid, axes[1, 1])
    plot_lengths(axes[2, 0], annotations)
    plot_counts(axes[2, 1], annotations)
    events = sum(len(video.events) for video in videos)
    figure.suptitle(
        f"Synthetic UnAV: {len(videos):,} videos, {events:,} events, "
        f"{len(annotations.class_names)} classes",
        fontsize=11,
        color=INK,
    )
    return figure


def _example(videos: list[Video]) -> Video:
    """A video with several classes, if there is one, and few events, none of them too short."""

    def rating(video: Video) -> tuple[int, bool, float]:
        segments = video.events.segments
        shortest = float((segments[:, 1] - segments[:, 0]).min()) if len(segments) else 0.0
        return min(len(set(video.events.labels.tolist())), 3), len(segments) <= 5, shortest

    return max(videos, key=rating)


def _plot_similarity(axes: Axes, alignment: Alignment, store: FeatureStore, video: Video) -> None:
    plain(axes, "Its sight against its sound", "audio time (s)", "visual time (s)")
    axes.grid(visible=False)
    grid = store.layout.grid
    matrix = alignment.similarity(*store.load(video.id))
    # the edges of the first and the last pixel, whose centres are the steps
    first, last = grid.to_seconds(-0.5), grid.to_seconds(len(matrix) - 0.5)
    image = axes.imshow(
        matrix, origin="lower", extent=(first, last, first, last), cmap=SEQUENTIAL
    )  # fmt: skip
    mark_events(axes, video.events, first, last)
    bar = axes.figure.colorbar(image, ax=axes, shrink=0.8)
    bar.set_label("cosine similarity", fontsize=8, color=INK)
    bar.ax.tick_params(labelsize=7, colors=INK)


def _plot_sources(axes: Axes, video: Video, sources: list[dict], names: list[str]) -> None:
    """Each source's sight above its sound; the sources of the events come first."""
    plain(axes, f"{video.id}: what is seen and heard", "time (s)", "")
    for row, source in enumerate(sources):
        for i, (modality, label) in enumerate((("visual", "seen"), ("audio", "heard"))):
            start, end = source[modality] or (0.0, 0.0)
            axes.barh(
                row + 0.4 * (i - 0.5), end - start, left=start, height=0.36, color=color_of(i),
                label=label if row == 0 else None,
            )  # fmt: skip
    name_ticks(axes.yaxis, range(len(sources)), [names[s["label_id"]] for s in sources])
    line = len(video.events) - 0.5
    axes.axhline(line, color=INK, linewidth=1)
    axes.annotate(
        "no events below", (video.duration, line), xytext=(0, -2), textcoords="offset points",
        fontsize=7, ha="right", va="top", color=INK,
    )  # fmt: skip
    axes.set(xlim=(0, video.duration), ylim=(len(sources) - 0.5, -0.5))
    axes.grid(visible=False, axis="y")
    legend(axes, loc="upper left", bbox_to_anchor=(0, -0.16), ncols=2)
