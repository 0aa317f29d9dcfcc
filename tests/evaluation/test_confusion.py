"""Which class is taken for which, and the mAP of single videos, against naive loops."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from loco.evaluation.confusion import confusion
from loco.evaluation.matching import Columns
from loco.evaluation.metrics import DEFAULT_THRESHOLDS, average_precision, map_by_video

K, VIDEOS = 4, 6


def random_columns(seed: int, found: int = 120, true: int = 25) -> Columns:
    random = np.random.default_rng(seed)

    def segments(count: int) -> np.ndarray:
        starts = random.integers(0, 20, count) / 2
        return np.stack([starts, starts + random.integers(1, 12, count) / 2], 1)

    return Columns(
        pred_video=random.integers(0, VIDEOS, found), pred_segments=segments(found),
        pred_labels=random.integers(0, K, found),
        pred_scores=random.integers(1, 40, found) / 40,  # some are equal
        gt_video=random.integers(0, VIDEOS - 1, true), gt_segments=segments(true),
        gt_labels=random.integers(0, K, true),
    )  # fmt: skip


def tiou(a: np.ndarray, b: np.ndarray) -> float:
    common = max(0.0, min(a[1], b[1]) - max(a[0], b[0]))
    return common / (a[1] - a[0] + b[1] - b[0] - common)


def f1(columns: Any, least: float) -> float:
    """By taking the predictions of each class one by one."""
    held: set[int] = set()
    kept = [i for i, score in enumerate(columns["pred_scores"]) if score >= least]
    key = lambda i: (-columns["pred_scores"][i], columns["pred_video"][i],  # noqa: E731
                     *columns["pred_segments"][i])  # fmt: skip
    right = 0
    for i in sorted(kept, key=key):
        best = [
            (tiou(columns["pred_segments"][i], columns["gt_segments"][j]), -j)
            for j in range(len(columns["gt_video"]))
            if j not in held
            and columns["gt_video"][j] == columns["pred_video"][i]
            and columns["gt_labels"][j] == columns["pred_labels"][i]
        ]
        if best and max(best)[0] >= 0.5:
            held.add(-max(best)[1])
            right += 1
    return 2 * right / (len(kept) + len(columns["gt_video"]))


@pytest.mark.parametrize("seed", range(4))
def test_confusion_is_that_of_loops(seed: int) -> None:
    columns: Any = random_columns(seed)
    counts, least = confusion(columns, K)
    scores = np.unique(columns["pred_scores"])
    assert f1(columns, least) == pytest.approx(max(f1(columns, score) for score in scores))
    expected = np.zeros((K + 1, K + 1), dtype=int)
    kept = [i for i in range(len(columns["pred_video"])) if columns["pred_scores"][i] >= least]
    near = {
        (i, j): value
        for i in kept
        for j in range(len(columns["gt_video"]))
        if columns["pred_video"][i] == columns["gt_video"][j]
        and (value := tiou(columns["pred_segments"][i], columns["gt_segments"][j])) >= 0.5
    }
    for j, label in enumerate(columns["gt_labels"]):
        own = [(columns["pred_scores"][i], value, -columns["pred_labels"][i])
               for (i, other), value in near.items() if other == j]  # fmt: skip
        expected[label, -max(own)[2] if own else K] += 1
    for i in kept:
        expected[K, columns["pred_labels"][i]] += not any(own == i for own, _ in near)
    np.testing.assert_array_equal(counts, expected)
    assert counts[:K].sum() == len(columns["gt_video"])


def test_confusion_of_nothing() -> None:
    nothing: Any = {**random_columns(0, found=0)}
    counts, least = confusion(nothing, K)
    assert counts[:K, :K].sum() == counts[K].sum() == 0
    assert counts[:, K].sum() == 25
    assert least == 1.0
    assert confusion(random_columns(0, found=5, true=0), K).counts.sum() <= 5


def test_all_classes_mistaken_is_confusion_and_nothing_missed() -> None:
    """Two classes swapped, each event found in its place; a prediction of low score is noise."""
    columns: Any = {
        "pred_video": np.array([0, 0, 0, 0]), "pred_labels": np.array([1, 1, 0, 0]),
        "pred_segments": np.array([[0.0, 1], [2, 3], [4, 5], [7, 9]]),
        "pred_scores": np.array([0.9, 0.8, 0.7, 0.1]),
        "gt_video": np.zeros(3, int), "gt_labels": np.array([0, 0, 1]),
        "gt_segments": np.array([[0.0, 1], [2, 3], [4, 5]]),
    }  # fmt: skip
    counts, least = confusion(columns, 2)
    assert counts.tolist() == [[0, 2, 0], [1, 0, 0], [0, 0, 0]]
    assert least == 0.7


@pytest.mark.parametrize("seed", range(3))
def test_the_map_of_a_video_is_that_of_a_test_set_of_it(seed: int) -> None:
    columns: Any = random_columns(seed)
    for video, value in enumerate(map_by_video(columns, VIDEOS, K)):
        alone: Any = {
            key: of[columns[f"{key.partition('_')[0]}_video"] == video]
            for key, of in columns.items()
        }
        matrix = average_precision(**alone, tiou_thresholds=DEFAULT_THRESHOLDS, num_classes=K)
        rated = ~np.isnan(matrix).all(0)
        np.testing.assert_allclose(value, matrix[:, rated].mean() if rated.any() else np.nan)
    assert np.isnan(map_by_video(columns, VIDEOS, K)[-1])  # it has no event
    assert len(map_by_video(random_columns(0, 0, 0), 0, 0)) == 0
