"""What the figures need from a trained LoCo: features, cross-similarities, CDP's target windows."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from loco.detectors.loco.correspondence import CorrespondenceLoss
from loco.detectors.loco.detector import LoCo
from loco.evaluation.similarity import cosine_similarity
from loco.nn.attention import CrossModalDynamicPerception
from loco.nn.layers import downsample_mask, zero_padding
from loco.structures import Batch, Events, TimeGrid
from loco.training.module import LocalizationModule

Space = Literal["encoder", "common"]
"""Where features are compared: what the encoders say, or the space that LCC projects it into."""


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
        ValueError: the detector is no LoCo, or has no common space.
    """
    detector = _loco(module)
    embed = None
    if space == "common":
        if not isinstance(detector.correspondence, CorrespondenceLoss):
            raise ValueError("this model was trained without LCC: it has no common space")
        embed = detector.correspondence.embed
    with torch.no_grad():
        batch = batch.to(module.device)
        visual, audio = detector.encode(batch.visual, batch.audio, batch.mask)
        if embed is not None:
            visual, audio = embed(visual, audio)
    return [
        (visual[i, :steps].float().numpy(force=True), audio[i, :steps].float().numpy(force=True))
        for i, steps in enumerate(batch.mask.sum(1).tolist())
    ]


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
        ValueError: the detector is no LoCo, or its attention is another one.
    """
    detector = _loco(module)
    pyramid = detector.pyramid
    streams: dict[Literal["visual", "audio"], Any] = {
        "visual": pyramid.visual_blocks, "audio": pyramid.audio_blocks
    }  # fmt: skip
    seen: dict[tuple[Literal["visual", "audio"], int], tuple[Tensor, Tensor, int]] = {}

    with ExitStack() as hooks:
        for queries, blocks in streams.items():
            for level, block in enumerate(blocks):
                if not isinstance(block.attention, CrossModalDynamicPerception):
                    raise ValueError(
                        f"target windows are CDP's, this model has {type(block.attention).__name__}"
                    )

                def record(
                    attention: CrossModalDynamicPerception,
                    arguments: tuple[Tensor, Tensor, Tensor],
                    key: tuple[Literal["visual", "audio"], int] = (queries, level),
                ) -> None:
                    _, context, mask = arguments
                    coarse = downsample_mask(mask, attention.stride)
                    features = zero_padding(attention.key.features(context, mask), coarse)
                    size, offset = attention.adapt_windows(features, coarse)
                    points = attention.sampling_points(size, offset, coarse.shape[1])
                    seen[key] = points, coarse, attention.window_size

                hooks.callback(block.attention.register_forward_pre_hook(record).remove)
        with torch.no_grad():
            batch = batch.to(module.device)
            detector.pyramid(*detector.encode(batch.visual, batch.audio, batch.mask), batch.mask)

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


def _loco(module: LocalizationModule) -> LoCo:
    if not isinstance(module.detector, LoCo):
        raise ValueError(f"expected a LoCo model, got {type(module.detector).__name__}")
    return module.detector
