"""Two reference answers that need no model, so that a table shows what an mAP is worth."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from loco.data.annotations import Video
from loco.evaluation.metrics import DetectionMAP
from loco.structures import Events


def class_frequencies(events: Iterable[Events], num_classes: int) -> torch.Tensor:
    """Share of the videos that hold each class, (K,)."""
    counts = torch.zeros(num_classes)
    videos = 0
    for of_video in events:
        counts[of_video.labels.unique()] += 1
        videos += 1
    return counts / max(videos, 1)


def constant_predictor(duration: float, frequencies: torch.Tensor) -> Events:
    """Every class over the whole video, scored by its frequency in training."""
    scores, labels = frequencies.sort(descending=True, stable=True)
    segments = torch.tensor([[0.0, duration]], dtype=torch.float64).repeat(len(labels), 1)
    return Events(segments, labels, scores)


def video_level_oracle(duration: float, truth: Events) -> Events:
    """The classes that a video really holds, each over the whole video."""
    labels = truth.labels.unique()
    segments = torch.tensor([[0.0, duration]], dtype=torch.float64).repeat(len(labels), 1)
    return Events(segments, labels, torch.ones(len(labels)))


def baseline_answers(
    train: Sequence[Video], test: Sequence[Video], num_classes: int
) -> dict[str, list[Events]]:
    """What both say of each test video, by name; the constant one needs training videos."""
    frequencies = class_frequencies([video.events for video in train], num_classes)
    answers = {
        "constant predictor": [constant_predictor(v.duration, frequencies) for v in test],
        "oracle of video-level classes": [video_level_oracle(v.duration, v.events) for v in test],
    }
    if not train:  # nothing to know the classes' frequencies from
        del answers["constant predictor"]
    return answers


def baseline_metrics(
    train: Sequence[Video], test: Sequence[Video], num_classes: int
) -> dict[str, dict[str, float]]:
    """mAP of both on the test videos, by name; the constant one needs training videos."""
    metrics = {}
    for name, predictions in baseline_answers(train, test, num_classes).items():
        # of this process alone: with several, only the first one asks
        metric = DetectionMAP(num_classes, sync_on_compute=False)
        metric.update(predictions, [video.events for video in test])
        metrics[name] = {key: float(value) for key, value in metric.compute().items()}
    return metrics
