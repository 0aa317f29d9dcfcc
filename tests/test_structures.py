"""The values that flow between the parts."""

import pickle

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from loco.structures import Batch, Events, TimeGrid

GRIDS = st.builds(
    TimeGrid,
    fps=st.floats(1, 60),
    window=st.integers(1, 64),
    stride=st.integers(1, 32),
)


@given(GRIDS, st.floats(-100, 10_000))
def test_seconds_and_steps_round_trip(grid: TimeGrid, step: float) -> None:
    assert grid.to_steps(grid.to_seconds(step)) == pytest.approx(step, abs=1e-6)


def test_a_step_stands_at_the_centre_of_its_window() -> None:
    grid = TimeGrid(fps=25, window=24, stride=8)
    assert grid.to_seconds(0) == pytest.approx(12 / 25)
    assert grid.to_seconds(3) == pytest.approx((3 * 8 + 12) / 25)
    assert grid.end_seconds(1) == pytest.approx(24 / 25)
    assert grid.end_seconds(10) == pytest.approx((9 * 8 + 24) / 25)
    steps = torch.tensor([[0.0, 3.0]], dtype=torch.float64)
    assert torch.allclose(grid.to_steps(grid.to_seconds(steps)), steps)
    with pytest.raises(ValueError, match="stride"):
        TimeGrid(fps=25, window=24, stride=0)


def test_events_check_themselves() -> None:
    segments, labels = torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([1, 0])
    events = Events(segments, labels, torch.tensor([0.9, 0.1]))
    assert len(events) == 2
    assert events[torch.tensor([False, True])].labels.tolist() == [0]
    assert len(events[:1]) == 1
    assert len(Events.empty()) == 0
    assert Events.empty(scored=True).scores is not None
    with pytest.raises(ValueError, match="segments"):
        Events(segments[0], labels)
    with pytest.raises(ValueError, match="segments"):
        Events(segments.long(), labels)
    with pytest.raises(ValueError, match="labels"):
        Events(segments, labels.float())
    with pytest.raises(ValueError, match="scores"):
        Events(segments, labels, torch.zeros(3))
    assert torch.equal(pickle.loads(pickle.dumps(events)).segments, segments)


def test_a_batch_moves_its_features_and_keeps_its_truth() -> None:
    batch = Batch(
        visual=torch.zeros(2, 3, 4),
        audio=torch.zeros(2, 3, 5),
        mask=torch.ones(2, 3, dtype=torch.bool),
        durations=torch.tensor([1.0, 2.0], dtype=torch.float64),
        indices=torch.arange(2),
        video_ids=["a", "b"],
        events=[Events.empty(), Events.empty()],
        grid=TimeGrid(25, 24, 8),
    )
    moved = batch.to("meta")
    assert len(moved) == 2
    assert moved.visual.is_meta
    assert moved.mask.is_meta
    assert moved.events is batch.events
    assert not moved.durations.is_meta


def test_events_are_shown_in_a_line() -> None:
    events = Events(torch.tensor([[0.5, 4.25]] * 4), torch.arange(4), torch.full((4,), 0.75))
    assert repr(events) == (
        "Events(4: label 0 at 0.50–4.25 s, 0.750; label 1 at 0.50–4.25 s, 0.750; "
        "label 2 at 0.50–4.25 s, 0.750; …)"
    )
    assert (
        repr(Events(events.segments[:1], events.labels[:1])) == "Events(1: label 0 at 0.50–4.25 s)"
    )
    assert repr(Events.empty()) == "Events(0)"
