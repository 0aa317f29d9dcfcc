"""What the figures need from a trained detector: features, similarities, target windows.

A detector shows what it has, whatever its class: `encode(visual, audio, mask)` for the features of
both modalities, `correspondence.embed(visual, audio)` for the space that LCC compares them in, and
`pyramid` with an attention whose `target_points(context, mask)` are its windows. What one has not
got is a ValueError that says so; `spaces` and `has_windows` ask beforehand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from loco.evaluation.similarity import cosine_similarity
from loco.structures import Batch, Events, TimeGrid
from loco.training.module import LocalizationModule

Space = Literal["encoder", "common"]
"""Where features are compared: what the encoders say, or the space that LCC projects it into."""

SPACE_NAMES: dict[Space, str] = {"encoder": "encoder outputs", "common": "LCC's common space"}


@dataclass(frozen=True, slots=True, eq=False)
class VideoSimilarity:
    """The cross-similarity matrix of a video.

    Args:
        video_id: the video's name.
        matrix: (T, T) cosines; rows are visual, columns audio steps.
        events: ground truth, in seconds.
        duration: seconds.
        grid: where the steps lie in time.
    """

    video_id: str
    matrix: np.ndarray
    events: Events
    duration: float
    grid: TimeGrid


@dataclass(frozen=True, slots=True, eq=False)
class TargetWindows:
    """Where the heads of one level and direction look in one video.

    Args:
        queries: the modality that asks; the windows lie on the other one.
        level: of the pyramid, from 0.
        step: seconds between two steps of the level.
        base: (W, 2) first and last step of each base window, in seconds.
        target: (H, W, 2) first and last sampling point of each head in it, in seconds; equal to
            `base` where nothing is adapted.
    """

    queries: Literal["visual", "audio"]
    level: int
    step: float
    base: np.ndarray
    target: np.ndarray


def encoded_features(
    module: LocalizationModule, batch: Batch, space: Space = "encoder"
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Visual and audio features (T, D) of each video, its real steps alone.

    Args:
        space: "encoder" for the encoders' outputs (as the paper's Fig. 4); "common" for LCC's unit
            vectors, (T, D/2), which only a model trained with LCC has.

    Raises:
        ValueError: the detector has no encoders of both modalities, or no common space.
    """
    if space not in spaces(module):
        what = "no encoders of its own for each modality"
        if spaces(module):
            what = "no common space: it was trained without LCC"
        raise ValueError(f"{type(module.detector).__name__} has {what}")
    detector: Any = module.detector
    embed = _embed(module) if space == "common" else None
    with torch.no_grad():
        batch = batch.to(module.device)
        visual, audio = detector.encode(batch.visual, batch.audio, batch.mask)
        if embed is not None:
            visual, audio = embed(visual, audio)
    return [
        (visual[i, :steps].float().numpy(force=True), audio[i, :steps].float().numpy(force=True))
        for i, steps in enumerate(batch.mask.sum(1).tolist())
    ]


def spaces(module: LocalizationModule) -> list[Space]:
    """Where a detector's features can be compared; empty where it has no `encode`."""
    if not hasattr(module.detector, "encode"):
        return []
    return ["encoder"] if _embed(module) is None else ["encoder", "common"]


def has_windows(module: LocalizationModule) -> bool:
    """Whether a detector's attention has target windows to draw."""
    blocks = getattr(getattr(module.detector, "pyramid", None), "visual_blocks", ())
    return bool(blocks) and all(hasattr(block.attention, "target_points") for block in blocks)


def left_out(module: LocalizationModule) -> list[str]:
    """What no figure can show of a detector, since it has not got it; a line each."""
    name = type(module.detector).__name__
    lines = []
    if not spaces(module):
        lines.append(f"similarity matrices: {name} has no encoders of its own for each modality")
    if not has_windows(module):
        lines.append(f"target windows: {name} has no attention that moves its windows")
    return lines


def _embed(module: LocalizationModule) -> Callable[..., tuple[Tensor, Tensor]] | None:
    return getattr(getattr(module.detector, "correspondence", None), "embed", None)


def cross_similarity(
    module: LocalizationModule, batch: Batch, space: Space = "encoder"
) -> list[np.ndarray]:
    """The cross-similarity matrix (T, T) of each video, cosines; see `encoded_features`."""
    return [cosine_similarity(*pair) for pair in encoded_features(module, batch, space)]


def similarities(
    module: LocalizationModule, batches: Iterable[Batch], space: Space = "encoder"
) -> list[VideoSimilarity]:
    """The cross-similarities of all videos of a loader, such as `data.test_dataloader()`."""
    return [
        VideoSimilarity(video_id, matrix, events, float(duration), batch.grid)
        for batch in batches
        for video_id, matrix, events, duration in zip(
            batch.video_ids,
            cross_similarity(module, batch, space),
            batch.events,
            batch.durations,
            strict=True,
        )
    ]


def target_windows(module: LocalizationModule, batch: Batch) -> list[list[TargetWindows]]:
    """CDP's target windows of each video: one entry for each level and direction.

    Raises:
        ValueError: the detector's attention has no such windows.
    """
    if not has_windows(module):
        raise ValueError(f"{type(module.detector).__name__} has no attention with target windows")
    detector: Any = module.detector
    pyramid = detector.pyramid
    streams: tuple[tuple[Literal["visual", "audio"], Literal["visual", "audio"], Any], ...] = (
        ("visual", "audio", pyramid.visual_blocks), ("audio", "visual", pyramid.audio_blocks)
    )  # fmt: skip
    seen: dict[tuple[Literal["visual", "audio"], int], tuple[Tensor, Tensor, int]] = {}

    with ExitStack() as hooks:
        for own, other, blocks in streams:
            for level, block in enumerate(blocks):
                queries = own if block.asks == "self" else other

                def record(
                    attention: Any,
                    arguments: tuple[Tensor, Tensor, Tensor],
                    key: tuple[Literal["visual", "audio"], int] = (queries, level),
                ) -> None:
                    _, context, mask = arguments
                    points, coarse = attention.target_points(context, mask)
                    seen[key] = points, coarse, attention.window_size

                hooks.callback(block.attention.register_forward_pre_hook(record).remove)
        with torch.no_grad():
            batch = batch.to(module.device)
            detector(batch.visual, batch.audio, batch.mask)

    return [
        [
            _windows(queries, level, points[i].cpu(), mask[i].cpu(), width,
                     pyramid.strides[level], batch.grid)
            for (queries, level), (points, mask, width) in sorted(seen.items())
        ]
        for i in range(len(batch))
    ]  # fmt: skip


def _windows(
    queries: Literal["visual", "audio"],
    level: int,
    points: Tensor,
    mask: Tensor,
    width: int,
    stride: int,
    grid: TimeGrid,
) -> TargetWindows:
    """From sampling points (H, T) in steps of a level to windows in seconds."""
    steps = int(mask.sum())
    slots = [range(first, min(first + width, steps)) for first in range(0, steps, width)]
    base = np.array([[s.start, s.stop - 1] for s in slots], dtype=np.float64)
    real = points.numpy()
    target = np.stack(
        [np.stack([part.min(1), part.max(1)], 1) for s in slots for part in [real[:, list(s)]]], 1
    )
    return TargetWindows(
        queries,
        level,
        stride * grid.stride / grid.fps,
        grid.to_seconds(base * stride),
        grid.to_seconds(target * stride),
    )
