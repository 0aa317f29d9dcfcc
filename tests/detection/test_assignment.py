"""Assignment against the definition in naive loops, the parity figures, and its edges."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loco.detection.assignment import (
    RangeAssigner,
    assign,
    assign_batch,
    default_ranges,
    make_points,
)
from loco.structures import Events, TimeGrid

FIXTURE = Path(__file__).parents[1] / "fixtures" / "label_assignment.npz"


def naive_assign(
    points: Tensor, segments: Tensor, labels: Tensor, num_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """One point, one class, one event at a time."""
    cls = np.zeros((len(points), num_classes), dtype=bool)
    offsets = np.zeros((len(points), num_classes, 2))
    for p, (step, low, high, stride) in enumerate(points.tolist()):
        for k in range(num_classes):
            shortest = math.inf
            for (start, end), label in zip(segments.tolist(), labels.tolist(), strict=True):
                reach = max(step - start, end - step)
                inside = start < step < end and low <= reach <= high
                if label == k and inside and end - start < shortest:
                    shortest = end - start
                    cls[p, k] = True
                    offsets[p, k] = (step - start) / stride, (end - step) / stride
    return cls, offsets


def events(pairs: list[tuple[float, float]], labels: list[int]) -> tuple[Tensor, Tensor]:
    return torch.tensor(pairs, dtype=torch.float64).reshape(-1, 2), torch.tensor(labels).long()


@st.composite
def event_lists(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Events on a grid of half steps, so that boundaries, equal lengths and ties are common."""
    count = draw(st.integers(0, 12))
    halves = st.integers(-6, 80)
    pairs = [(draw(halves) / 2, draw(halves) / 2) for _ in range(count)]
    return events(pairs, [draw(st.integers(0, 2)) for _ in range(count)])


def test_parity_figures() -> None:
    data = np.load(FIXTURE)
    num_classes = int(data["num_classes"])
    points = make_points(int(data["num_steps"]), data["strides"].tolist())
    segments = torch.from_numpy(data["segments"])
    labels = torch.from_numpy(data["labels"])
    bounds = data["video_offsets"].tolist()
    for v, (begin, end) in enumerate(pairwise(bounds)):
        cls, offsets = assign(points, segments[begin:end], labels[begin:end], num_classes)
        np.testing.assert_array_equal(cls.numpy(), data["expected_cls"][v])
        expected = np.where(cls[..., None].numpy(), data["expected_offsets"][v], 0)
        np.testing.assert_allclose(offsets.numpy(), expected, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(event_lists(), st.integers(1, 38))
def test_equals_the_naive_loops(drawn: tuple[Tensor, Tensor], num_steps: int) -> None:
    points = make_points(num_steps, (1, 2, 4), dtype=torch.float64)
    cls, offsets = assign(points, *drawn, 3)
    expected_cls, expected_offsets = naive_assign(points, *drawn, 3)
    np.testing.assert_array_equal(cls.numpy(), expected_cls)
    np.testing.assert_array_equal(offsets.numpy(), expected_offsets)


@settings(max_examples=40, deadline=None)
@given(st.lists(event_lists(), min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_a_batch_is_its_videos_one_by_one(videos, random) -> None:
    points = make_points(30, (1, 2, 4), dtype=torch.float64)
    video = torch.cat([torch.full_like(v[1], i) for i, v in enumerate(videos)])
    segments, labels = (torch.cat(parts) for parts in zip(*videos, strict=True))
    mixed = video.tolist()  # videos interleaved, each one's own order kept
    random.shuffle(mixed)
    mixed_video = torch.tensor(mixed).long()
    order = torch.argsort(torch.argsort(mixed_video, stable=True))
    segments, labels, video = segments[order], labels[order], video[order]
    assert torch.equal(video, mixed_video)
    positives = assign_batch(points, segments, labels, video, len(videos), 3)
    assert positives.video.tolist() == sorted(positives.video.tolist())
    for i, (own_segments, own_labels) in enumerate(videos):
        cls, offsets = assign(points, own_segments, own_labels, 3)
        mine = positives.video == i
        found = torch.zeros_like(cls)
        found[positives.point[mine], positives.label[mine]] = True
        assert torch.equal(found, cls)
        assert int(mine.sum()) == int(cls.sum())
        assert torch.equal(
            positives.offsets[mine], offsets[positives.point[mine], positives.label[mine]]
        )


def test_a_boundary_is_not_inside() -> None:
    points = make_points(8, (1,), [(0, math.inf)])
    cls, _ = assign(points, *events([(2.0, 5.0)], [0]), 1)
    assert cls[:, 0].nonzero().flatten().tolist() == [3, 4]


def test_both_ends_of_a_range_belong_to_it() -> None:
    points = make_points(9, (1, 1), [(0, 4), (4, 8)])
    cls, _ = assign(points, *events([(0.0, 8.0)], [0]), 1)
    assert cls[4, 0]
    assert cls[9 + 4, 0]  # reach 4 lies in both levels
    assert cls[:9, 0].sum() == 1


def test_the_shorter_event_wins_then_the_first() -> None:
    points = make_points(10, (1,), [(0, math.inf)])
    _, offsets = assign(points, *events([(0, 9), (2, 6), (3, 7)], [0, 0, 0]), 1)
    assert offsets[4, 0].tolist() == [2, 2]  # equally long: the first
    assert offsets[6, 0].tolist() == [3, 1]  # not inside the second any more
    assert offsets[8, 0].tolist() == [8, 1]


def test_classes_do_not_compete() -> None:
    points = make_points(10, (1,), [(0, math.inf)])
    cls, offsets = assign(points, *events([(0, 9), (2, 6)], [0, 2]), 3)
    assert cls[4].tolist() == [True, False, True]
    assert offsets[4].tolist() == [[4, 5], [0, 0], [2, 2]]


def test_no_events_and_no_points() -> None:
    cls, offsets = assign(make_points(5), *events([], []), 4)
    assert cls.shape == (make_points(5).shape[0], 4)
    assert not cls.any()
    assert offsets.shape == (*cls.shape, 2)
    cls, offsets = assign(make_points(0), *events([(0, 3)], [1]), 4)
    assert cls.shape == (0, 4)
    assert offsets.shape == (0, 4, 2)
    positives = assign_batch(make_points(5), *events([], []), torch.zeros(0).long(), 3, 4)
    assert [len(field) for field in positives] == [0, 0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type(dtype: torch.dtype) -> None:
    segments, labels = events([(1.5, 9.0), (3.0, 30.0)], [0, 1])
    points = make_points(32, dtype=dtype)
    cls, offsets = assign(points, segments.to(dtype), labels, 2)
    expected_cls, expected_offsets = naive_assign(points, segments, labels, 2)
    np.testing.assert_array_equal(cls.numpy(), expected_cls)
    np.testing.assert_array_equal(offsets.double().numpy(), expected_offsets)
    assert offsets.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_on_a_gpu() -> None:
    segments, labels = events([(1.5, 9.0), (3.0, 30.0), (2.0, 9.5)], [0, 1, 0])
    here = assign(make_points(32), segments, labels, 2)
    there = assign(make_points(32, device="cuda"), segments.cuda(), labels.cuda(), 2)
    assert torch.equal(here[0], there[0].cpu())
    assert torch.equal(here[1], there[1].cpu())


@pytest.mark.parametrize("num_steps", [1, 5, 31, 32, 33, 224])
def test_points_of_a_pyramid(num_steps: int) -> None:
    strides = (1, 2, 4, 8, 16, 32)
    points = make_points(num_steps, strides)
    counts = [math.ceil(num_steps / stride) for stride in strides]
    assert points.shape == (sum(counts), 4)
    for level, stride in zip(points.split(counts), strides, strict=True):
        assert level[:, 0].tolist() == list(range(0, num_steps, stride))
        assert (level[:, 3] == stride).all()


def test_default_ranges_double() -> None:
    assert default_ranges(6) == [(0, 4), (4, 8), (8, 16), (16, 32), (32, 64), (64, math.inf)]
    assert default_ranges(2) == [(0, 4), (4, math.inf)]
    assert default_ranges(1) == [(0, math.inf)]


def test_bad_input_is_refused() -> None:
    points, (segments, labels) = make_points(4), events([(0, 3)], [0])
    with pytest.raises(ValueError, match="num_steps"):
        make_points(-1)
    with pytest.raises(ValueError, match="strides"):
        make_points(4, ())
    with pytest.raises(ValueError, match="ranges must be one for each of the 1 levels, got 2"):
        make_points(4, (1,), [(0, 1), (1, 2)])
    with pytest.raises(ValueError, match="points"):
        assign(points[:, :3], segments, labels, 1)
    with pytest.raises(ValueError, match="segments"):
        assign(points, segments[0], labels, 1)
    with pytest.raises(ValueError, match="labels must lie"):
        assign(points, segments, labels + 1, 1)
    with pytest.raises(ValueError, match="video must lie"):
        assign_batch(points, segments, labels, labels - 1, 1, 1)


def test_the_assigner_reads_seconds_and_takes_ranges() -> None:
    """A part like criterion and decoding: events in seconds go in, the rule is `assign`'s."""
    grid = TimeGrid(fps=10, window=2, stride=5)
    truth = [
        Events(torch.tensor([[0.5, 3.0], [2.0, 9.0]], dtype=torch.float64), torch.tensor([1, 0])),
        Events.empty(),
        Events(torch.tensor([[1.0, 8.0]], dtype=torch.float64), torch.tensor([2])),
    ]
    assigner = RangeAssigner([(0, 6), (6, math.inf)])
    points = assigner.points(30, (1, 2))
    assert points[:, 1:3].unique(dim=0).tolist() == [[0, 6], [6, math.inf]]
    found = assigner(points, truth, grid, 3)
    for b, of_video in enumerate(truth):
        cls, offsets = assign(points, grid.to_steps(of_video.segments).float(), of_video.labels, 3)
        mine = found.video == b
        assert cls.sum() == mine.sum()
        assert cls[found.point[mine], found.label[mine]].all()
        expected = offsets[found.point[mine], found.label[mine]]
        assert torch.equal(found.offsets[mine], expected)
    assert torch.equal(RangeAssigner().points(40, (1, 2, 4)), make_points(40, (1, 2, 4)))


def test_ranges_that_are_none_are_refused() -> None:
    with pytest.raises(ValueError, match="0 ≤ low ≤ high"):
        RangeAssigner([(4, 2)])
    with pytest.raises(ValueError, match="ranges must be one for each of the 2 levels, got 1"):
        RangeAssigner([(0, 2)]).points(5, (1, 2))


def test_six_levels_by_default() -> None:
    points = make_points(64)
    assert points[:, 3].unique().tolist() == [1, 2, 4, 8, 16, 32]
    assert len(points) == 64 + 32 + 16 + 8 + 4 + 2
