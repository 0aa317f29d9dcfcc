"""The breakdown of a result: cases made to be one thing each, and sums that must hold."""

from __future__ import annotations

import json

import numpy as np
import pytest

from evaluation.test_metrics import THRESHOLDS, columns, random_columns
from loco.evaluation.diagnosis import diagnose
from loco.evaluation.metrics import average_precision

KINDS = ("true_positive", "double", "wrong_label", "localization", "confusion", "background")


def kinds(result: dict) -> dict[str, float]:
    return {k: v for k, v in result["predictions"].items() if k in KINDS and v}


@pytest.mark.parametrize("seed", range(3))
def test_the_whole_agrees_with_the_metric(seed: int) -> None:
    c = random_columns(seed)
    for tiou in THRESHOLDS[[0, 4, 8]]:
        result = diagnose(c, num_classes=6, tiou=tiou)
        ap = average_precision(**c, tiou_thresholds=[tiou], num_classes=6)
        assert result["mAP"] == pytest.approx(np.nanmean(ap), abs=1e-12)
        assert sum(result["predictions"][kind] for kind in KINDS) == pytest.approx(1)
        for name in ("by_length", "by_events_in_video", "by_overlap"):
            buckets = result[name].values()
            assert sum(bucket["num_events"] for bucket in buckets) == len(c["gt_labels"])
            missed = sum(b["num_events"] * b["missed"] for b in buckets if b["num_events"])
            assert missed / len(c["gt_labels"]) == pytest.approx(result["missed"])
        recall = list(result["recall_at"].values())
        assert recall == sorted(recall)
        assert recall[-1] == pytest.approx(1 - result["missed"])
        json.dumps(result, allow_nan=False)


@pytest.mark.parametrize(
    ("prediction", "kind"),
    [
        ((0, 0, 10, 0, 0.5), "double"),
        ((0, 0, 10, 1, 0.5), "wrong_label"),
        ((0, 0, 3, 0, 0.5), "localization"),
        ((0, 0, 3, 1, 0.5), "confusion"),
        ((0, 40, 50, 0, 0.5), "background"),
        ((1, 0, 10, 0, 0.5), "background"),
    ],
)
def test_each_kind_of_mistake(prediction: tuple, kind: str) -> None:
    c = columns([(0, 0, 10, 0, 0.9), prediction], [(0, 0, 10, 0), (0, 80, 90, 1)])
    assert kinds(diagnose(c, num_classes=2)) == {"true_positive": 0.5, kind: 0.5}


def test_only_ten_times_as_many_predictions_as_events_are_rated() -> None:
    c = columns([(0, 50 + i, 51 + i, 0, 0.9) for i in range(30)], [(0, 0, 4, 0), (0, 9, 12, 0)])
    result = diagnose(c, num_classes=1)
    assert result["predictions"]["num_rated"] == 20
    assert result["missed"] == 1


def test_matches_of_other_buckets_are_neither_right_nor_wrong() -> None:
    truths = [(0, 0.0, 2.0, 0), (0, 10.0, 40.0, 0)]
    c = columns([(0, 10, 40, 0, 0.9), (0, 0, 2, 0, 0.8), (0, 60, 70, 0, 0.7)], truths)
    by_length = diagnose(c, num_classes=1)["by_length"]
    assert by_length["short"] == {"num_events": 1, "missed": 0.0, "mAP": 1.0}
    assert by_length["medium"] == {"num_events": 0, "missed": None, "mAP": None}
    assert by_length["long"]["mAP"] == 1.0


def test_overlap_and_number_of_events() -> None:
    truths = [(0, 0, 9, 0), (0, 1, 2, 1), (0, 5, 6, 1), (0, 9, 12, 0), (1, 0, 9, 0), (2, 0, 1, 0)]
    truths += [(2, 10.0 * i, 10.0 * i + 1, 0) for i in range(1, 5)]
    result = diagnose(columns([], truths), num_classes=2)
    assert result["by_overlap"]["overlapping"]["num_events"] == 3  # touching is not overlapping
    counts = {k: v["num_events"] for k, v in result["by_events_in_video"].items()}
    assert counts == {"1": 1, "2-4": 4, "5+": 5}
    assert result["mAP"] == 0


def test_recall_counts_the_best_of_each_video() -> None:
    truths = [(0, 0, 4, 0), (0, 6, 9, 1), (1, 0, 4, 0), (1, 6, 9, 1)]
    found = [(0, 0, 4, 0, 0.3), (0, 6, 9, 1, 0.9), (1, 30, 34, 0, 0.2), (1, 6, 9, 1, 0.1)]
    result = diagnose(columns(found, truths), num_classes=2, recall_at=(1, 2))
    assert result["recall_at"] == {"1": 0.25, "2": 0.75}


@pytest.mark.parametrize("classes", [(0, 1), (1, 0)])
def test_equal_scores_are_taken_by_time_whatever_the_number_of_a_class(
    classes: tuple[int, int],
) -> None:
    right, wrong = classes
    found = [(0, 10, 14, wrong, 0.5), (0, 1, 4, right, 0.5)]
    result = diagnose(columns(found, [(0, 1, 4, right)]), num_classes=2, recall_at=(1,))
    assert result["recall_at"] == {"1": 1.0}


def test_nothing_at_all() -> None:
    result = diagnose(columns([], []), num_classes=3)
    assert result["mAP"] is None
    assert result["missed"] is None
    json.dumps(result, allow_nan=False)
    with pytest.raises(ValueError, match="tiou"):
        diagnose(columns([], []), num_classes=3, tiou=0)
