"""The reference answers beside which a table shows a model."""

import pytest
import torch

from loco.data.annotations import Video
from loco.evaluation.baselines import baseline_metrics, class_frequencies, constant_predictor
from loco.structures import Events


def video(name: str, *rows: tuple[float, float, int]) -> Video:
    events = Events(
        torch.tensor([row[:2] for row in rows], dtype=torch.float64).reshape(-1, 2),
        torch.tensor([row[2] for row in rows], dtype=torch.long),
    )
    return Video(name, 10.0, "test", events)


def test_frequencies_count_videos_not_events() -> None:
    videos = [video("a", (0, 1, 0), (2, 3, 0)), video("b", (0, 1, 1)), video("c"), video("d")]
    shares = class_frequencies([v.events for v in videos], 3)
    assert shares.tolist() == [0.25, 0.25, 0.0]
    constant = constant_predictor(10.0, torch.tensor([0.1, 0.5, 0.2]))
    assert constant.labels.tolist() == [1, 2, 0]
    assert constant.segments.tolist() == [[0.0, 10.0]] * 3


def test_the_oracle_is_right_where_events_fill_the_video() -> None:
    test = [video("a", (0, 10, 0)), video("b", (0, 10, 1))]
    metrics = baseline_metrics(test, test, 2)
    assert metrics["oracle of video-level classes"]["mAP"] == pytest.approx(1.0)
    assert metrics["constant predictor"]["mAP"] == pytest.approx((1.0 + 0.5) / 2)


def test_half_a_video_is_found_up_to_half_tiou() -> None:
    test = [video("a", (0, 5, 0))]
    oracle = baseline_metrics(test, test, 1)["oracle of video-level classes"]
    assert oracle["mAP@0.5"] == 1
    assert oracle["mAP@0.6"] == 0
