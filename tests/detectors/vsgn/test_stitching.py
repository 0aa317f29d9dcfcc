"""Where steps lie in a row, what is drawn as a clip, and what becomes of events."""

from __future__ import annotations

import pytest
import torch

from loco.detectors.vsgn.losses import balanced_cross_entropy, frame_targets
from loco.detectors.vsgn.stitching import SelfStitch, make_targets
from loco.structures import Events, TimeGrid

GRID = TimeGrid(fps=25, window=24, stride=8)


def events_of_steps(*segments: tuple[float, float]) -> Events:
    steps = torch.tensor(segments, dtype=torch.float64).reshape(-1, 2)
    return Events(GRID.to_seconds(steps), torch.arange(len(steps)))


@pytest.mark.parametrize("count", [1, 2, 7, 25, 26, 64, 200])
def test_there_and_back(count: int) -> None:
    """Events are where their features are, in either part, and come back to where they were."""
    layout = SelfStitch().whole(torch.tensor([count]), 64, training=True)
    assert layout.stitched.item() == (count <= 25)
    ramp = torch.arange(count, dtype=torch.float).view(1, -1, 1)
    rows, real = layout.fill(ramp)[0, :, 0], layout.real()[0]
    assert not rows[~real].any()
    assert (real.sum() == 64 - 6) if count <= 25 else (real.sum() == min(count, 64))
    row = torch.tensor([0])
    last = count - 1.0
    for right in [False, True] if count <= 25 else [False]:
        start, end = layout.to_frames(torch.tensor([[0.0, last]]), row, right)[0].tolist()
        assert rows[round(start)] == 0
        assert rows[round(end)] == pytest.approx(last, abs=1e-3)
        if count > 1:
            boxes = torch.tensor([[0.25, 0.5 * last]])
            back = layout.to_steps(layout.to_frames(boxes, row, right).unsqueeze(0))[0]
            assert torch.allclose(back, boxes, atol=1e-4)


def test_events_stand_in_both_parts() -> None:
    layout = SelfStitch(gap=4).whole(torch.tensor([20, 64, 1]), 64, training=True)
    truth = [events_of_steps((-1.5, 20.5), (3, 7)), events_of_steps((5, 80)), Events.empty()]
    targets = make_targets(layout, truth, GRID)
    assert targets.real.sum(1).tolist() == [4, 1, 0]
    scale = 39 / 19
    expected = [[-1.5, 20.5], [3, 7], [24 - 1.5 * scale, 24 + 20.5 * scale],
                [24 + 3 * scale, 24 + 7 * scale]]  # fmt: skip
    assert torch.allclose(targets.boxes[0], torch.tensor(expected), atol=1e-4)
    assert targets.labels[0].tolist() == [0, 1, 0, 1]
    action, start, _ = frame_targets(layout, targets)
    assert not action[2].any()
    assert start[0, 0] == 1  # a start before the first frame is one at it


def test_short_videos_are_left_alone_where_asked() -> None:
    stitch, counts = SelfStitch(in_detection=False), torch.tensor([10, 64])
    assert stitch.whole(counts, 64, training=True).stitched.tolist() == [True, False]
    assert not stitch.whole(counts, 64, training=False).stitched.any()
    assert SelfStitch().whole(counts, 64, training=False).stitched.tolist() == [True, False]


def test_clips_hold_their_event() -> None:
    """Whole, within the clip's length, behind an earlier event, before a later one that is cut."""
    stitch, counts = SelfStitch(), torch.tensor([120, 120, 30, 120])
    truth = [
        events_of_steps((40.2, 50.7)),
        events_of_steps((30, 35), (40.2, 50.7), (56, 62), (60, 110)),
        events_of_steps((3, 5)),  # a short video: stitched as it is
        events_of_steps((3, 118)),  # nothing short
    ]
    seen = set()
    for seed in range(80):
        torch.manual_seed(seed)
        clips = stitch.clips(truth, GRID, counts, 128)
        assert clips.video.tolist() == [0, 1]
        assert clips.stitched.all()
        first, last = clips.first, clips.first + clips.steps - 1
        assert (clips.steps <= 48).all()
        assert 0 <= first[0] <= 40
        assert 51 <= last[0] <= 119
        seen.add(int(first[0]))
        if first[1] > 30:
            assert first[1] >= 35
            assert not 56 <= last[1] < 62  # no event is cut
        targets = make_targets(clips, truth, GRID)
        assert targets.real.sum(1).min() >= 2
        assert torch.allclose(targets.boxes[0, 0], torch.tensor([40.2, 50.7]) - first[0], atol=1e-3)
    assert 4 <= min(seen) <= 8  # 51 + 1 − 48
    assert max(seen) == 40


def test_clips_follow_from_torchs_generator() -> None:
    truth = [events_of_steps((20, 25), (40, 50)), events_of_steps((60, 70))]
    drawn = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        clips = SelfStitch().clips(truth, GRID, torch.tensor([120, 110]), 128)
        drawn.append((clips.first.tolist(), clips.steps.tolist()))
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize("wrong", [{"short": 1.0}, {"clip": 0.5}, {"gap": -1}])
def test_wrong_settings_are_told(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        SelfStitch(**wrong)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_frames_of_one_kind_give_no_nan(value: float) -> None:
    probability = torch.full((1, 8), 0.3, requires_grad=True)
    loss = balanced_cross_entropy(probability, torch.full((1, 8), value))
    loss.backward()
    assert loss.isfinite()
    assert probability.grad.isfinite().all()
