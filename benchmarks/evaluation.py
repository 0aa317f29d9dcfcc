"""What evaluation costs: mAP, suppression and assignment, each against plain loops in one run.

    python benchmarks/evaluation.py [--annotations unav100_annotations.json]

The predictions are made up: 100 a video, two fifths of them around its events. Without a file the
events are made up too, as many and as long as those of UnAV-100's test split.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from itertools import pairwise
from statistics import median

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from loco.data.annotations import read_annotations
from loco.detection.assignment import assign_batch, make_points
from loco.detection.nms import soft_nms
from loco.evaluation.metrics import average_precision

THRESHOLDS = np.linspace(0.1, 0.9, 9)
NUM_CLASSES = 100
Columns = dict[str, np.ndarray]


# -- plain implementations, from the definitions --------------------------------------------------


def iou_with(segment: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of one segment (2,) with others (N, 2)."""
    overlap = np.minimum(segment[1], others[:, 1]) - np.maximum(segment[0], others[:, 0])
    overlap = np.maximum(overlap, 0)
    return overlap / ((segment[1] - segment[0]) + (others[:, 1] - others[:, 0]) - overlap)


def plain_average_precision(c: Columns) -> np.ndarray:
    """(Q, K): class by class and prediction by prediction, as the published evaluators do."""
    result = np.zeros((len(THRESHOLDS), NUM_CLASSES))
    for label in range(NUM_CLASSES):
        mine = np.flatnonzero(c["gt_labels"] == label)
        by_video = {v: mine[c["gt_video"][mine] == v] for v in np.unique(c["gt_video"][mine])}
        ranked = np.flatnonzero(c["pred_labels"] == label)
        ranked = ranked[np.argsort(-c["pred_scores"][ranked], kind="stable")]
        hits = np.zeros((len(THRESHOLDS), len(ranked)), dtype=bool)
        taken = [set() for _ in THRESHOLDS]
        for n, i in enumerate(ranked):
            truths = by_video.get(c["pred_video"][i])
            if truths is None:
                continue
            iou = iou_with(c["pred_segments"][i], c["gt_segments"][truths])
            for t, threshold in enumerate(THRESHOLDS):
                for j in np.argsort(-iou):
                    if iou[j] < threshold:
                        break
                    if truths[j] not in taken[t]:
                        taken[t].add(truths[j])
                        hits[t, n] = True
                        break
        if len(mine) == 0:
            result[:, label] = np.nan
            continue
        right = np.cumsum(hits, axis=1)
        precision = right / np.arange(1, len(ranked) + 1)
        precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        result[:, label] = (precision * hits).sum(1) / len(mine)
    return result


def plain_soft_nms(
    segments: np.ndarray, scores: np.ndarray, labels: np.ndarray, sigma: float = 0.4
) -> np.ndarray:
    """The best 100 scores of one video, class by class and pick by pick."""
    kept = []
    for label in np.unique(labels):
        pool, weight = segments[labels == label], scores[labels == label].copy()
        while len(weight):
            best = weight.argmax()
            kept.append(weight[best])
            weight *= np.exp(-(iou_with(pool[best], pool) ** 2) / sigma)
            weight[best] = 0
            left = weight >= 0.001
            pool, weight = pool[left], weight[left]
    return np.sort(kept)[::-1][:100]


def plain_assign(points: np.ndarray, segments: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """cls (P, K) of one video, point by point."""
    cls = np.zeros((len(points), NUM_CLASSES), dtype=bool)
    for p, (step, low, high, _) in enumerate(points):
        for (start, end), label in zip(segments, labels, strict=True):
            if start < step < end and low <= max(step - start, end - step) <= high:
                cls[p, label] = True
    return cls


# -- what they work on ----------------------------------------------------------------------------


def ground_truth(annotations: str | None, rng: np.random.Generator) -> Columns:
    """The events of a test split: the file's, or made up to UnAV-100's statistics."""
    if annotations:
        videos = [v for v in read_annotations(annotations).values() if v.subset == "test"]
        counts = [len(video.events) for video in videos]
        segments = torch.cat([video.events.segments for video in videos]).numpy()
        labels = torch.cat([video.events.labels for video in videos]).numpy()
    else:
        counts = np.minimum(rng.geometric(1 / 2.8, 2167), 23)
        main = np.repeat(rng.integers(0, NUM_CLASSES, len(counts)), counts)
        other = rng.integers(0, NUM_CLASSES, len(main))
        labels = np.where(rng.random(len(main)) < 0.75, main, other)
        start = rng.uniform(0, 40, len(main))
        length = np.clip(rng.lognormal(np.log(6.4), 1.2, len(main)), 0.21, 60)
        segments = np.stack([start, start + length], 1)
    video = np.repeat(np.arange(len(counts)), counts)
    return {"gt_video": video, "gt_segments": segments, "gt_labels": labels}


def predictions(truth: Columns, rng: np.random.Generator, per_video: int = 100) -> Columns:
    """As many for each video, two fifths near its events."""
    num_videos = int(truth["gt_video"].max()) + 1
    video = np.repeat(np.arange(num_videos), per_video)
    counts = np.bincount(truth["gt_video"], minlength=num_videos)
    first = counts.cumsum() - counts
    event = (first[video] + rng.random(len(video)) * counts[video]).astype(int)
    near = (rng.random(len(video)) < 0.4) & (counts[video] > 0)
    event[~near] = 0
    start = rng.uniform(0, 40, len(video))
    segments = np.stack([start, start + rng.gamma(1, 10, len(video)) + 0.1], 1)
    around = truth["gt_segments"][event]
    around = around + rng.normal(0, 0.2, around.shape) * np.diff(around)
    segments[near] = np.sort(around[near], axis=1)
    labels = rng.integers(0, NUM_CLASSES, len(video))
    labels[near] = truth["gt_labels"][event[near]]
    names = ("pred_video", "pred_segments", "pred_labels", "pred_scores")
    return dict(zip(names, (video, segments, labels, rng.random(len(video))), strict=True))


def candidates(num_classes: int, num_videos: int, rng: np.random.Generator) -> list[torch.Tensor]:
    """Segments, scores, labels and video of 4,000 a video, around a dozen events, few sure."""
    shape = (num_videos, 4000)
    near = rng.integers(0, 12, shape)
    centre = np.take_along_axis(rng.uniform(0, 224, (num_videos, 12)), near, 1)
    length = np.take_along_axis(rng.uniform(3, 60, (num_videos, 12)), near, 1)
    middle = centre + rng.normal(0, 0.15, shape) * length
    half = length * np.exp(rng.normal(0, 0.25, shape)) / 2
    scores = np.maximum(1 / (1 + np.exp(-rng.normal(-4, 1.6, shape))), 0.0011)
    return [
        torch.tensor(np.stack([middle - half, middle + half], -1).reshape(-1, 2)).float(),
        torch.tensor(scores.reshape(-1)).float(),
        torch.tensor(rng.integers(0, num_classes, shape).reshape(-1)),
        torch.arange(num_videos).repeat_interleave(4000),
    ]


def seconds(work: Callable[[], object], repeats: int, warm_up: int = 1) -> float:
    """Median time of several runs."""
    times = []
    for _ in range(warm_up + repeats):
        begin = time.perf_counter()
        work()
        times.append(time.perf_counter() - begin)
    return median(times[warm_up:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--annotations", help="an annotation file; its test split is used")
    parser.add_argument("--repeats", type=int, default=15, help="runs of each measurement")
    parser.add_argument("--threads", type=int, default=2, help="torch's threads")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    rng = np.random.default_rng(args.seed)
    rows: list[tuple[str, float, float]] = []

    truth = ground_truth(args.annotations, rng)
    c = truth | predictions(truth, rng)

    def ours() -> np.ndarray:
        return average_precision(**c, tiou_thresholds=THRESHOLDS, num_classes=NUM_CLASSES)

    np.testing.assert_allclose(ours(), plain_average_precision(c), rtol=0, atol=1e-9)
    name = f"mAP, {len(c['pred_labels']):,} predictions, {len(truth['gt_labels']):,} events"
    plain = seconds(lambda: plain_average_precision(c), 1, warm_up=0)
    rows.append((name, seconds(ours, args.repeats), plain))

    for num_classes in (100, 5):
        for num_videos in (1, 16):
            *columns, video = candidates(num_classes, num_videos, rng)
            arrays = [column.numpy() for column in columns]
            owner = None if num_videos == 1 else video
            found = soft_nms(*columns, video=owner)[1][:100].numpy()
            expected = plain_soft_nms(*(array[:4000] for array in arrays))
            np.testing.assert_allclose(found[: len(expected)], expected, rtol=0, atol=1e-5)
            fast = seconds(lambda x=columns, v=owner: soft_nms(*x, video=v), args.repeats)
            slow = seconds(lambda x=arrays: plain_soft_nms(*(a[:4000] for a in x)), 3)
            name = f"soft-NMS, {num_classes} classes, 4,000 a video, of {num_videos}"
            rows.append((name, fast / num_videos, slow))

    points = make_points(224)
    counts = np.minimum(rng.geometric(1 / 2.8, 16), 23)
    start = rng.uniform(0, 160, counts.sum())
    segments = np.stack([start, start + rng.lognormal(3, 1, len(start))], 1)
    labels = rng.integers(0, NUM_CLASSES, len(start))
    steps, video = torch.tensor(segments), torch.arange(16).repeat_interleave(torch.tensor(counts))
    bounds = list(pairwise(np.append(0, counts.cumsum())))

    def assign() -> int:
        return len(assign_batch(points, steps, torch.tensor(labels), video, 16, NUM_CLASSES).label)

    def assign_plainly() -> int:
        parts = [plain_assign(points.numpy(), segments[a:b], labels[a:b]) for a, b in bounds]
        return int(np.sum(parts))

    if assign() != assign_plainly():
        raise SystemExit("assignment and its plain implementation differ")
    name = f"assignment, 16 videos, T = 224, {counts.sum()} events"
    rows.append((name, seconds(assign, args.repeats), seconds(assign_plainly, 3)))

    table = Table(
        "work (NMS: for each video)", "ours, ms", "plain loops, ms", "ratio", title="Evaluation"
    )
    for name, fast, slow in rows:
        table.add_row(name, f"{1e3 * fast:.2f}", f"{1e3 * slow:.1f}", f"{slow / fast:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
