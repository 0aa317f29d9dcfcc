"""Class-agnostic assignment: the published code's targets, and a loop over points and events."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from loco.detection.assignment import make_points
from loco.detection.center_sampling import CenterAssigner, assign_centers
from loco.structures import Events, TimeGrid

FIXTURE = Path(__file__).parents[1] / "fixtures" / "center_sampling.npz"
RADII = {"radius1.5": 1.5, "radius2.5": 2.5, "none": None}


@pytest.mark.parametrize("radius", RADII)
def test_parity(radius: str) -> None:
    """Five videos at once; one has no events, one has ties."""
    with np.load(FIXTURE) as arrays:
        figures = {key: torch.from_numpy(arrays[key]) for key in arrays.files}
    segments = [figures[f"segments{b}"] for b in range(5)]
    video = torch.cat([torch.full((len(s),), b) for b, s in enumerate(segments)])
    labels = torch.cat([figures[f"labels{b}"] for b in range(5)])
    points = figures["points"]
    found = assign_centers(points, torch.cat(segments), labels, video, 5, 6, RADII[radius])
    cls = torch.zeros(5, len(points), 6, dtype=torch.int8)
    cls[found.video, found.point, found.label] = 1
    assert len(found.video) == cls.sum()
    for b in range(5):
        assert torch.equal(cls[b], figures[f"{radius}.cls{b}"]), b
    expected = torch.stack([figures[f"{radius}.reg{b}"] for b in range(5)])
    assert torch.allclose(found.offsets, expected[found.video, found.point], rtol=0, atol=1e-5)
    order = (found.video * len(points) + found.point) * 6 + found.label
    assert (order.diff() > 0).all()


def loop(points: Tensor, segments: Tensor, labels: Tensor, radius: float) -> dict:
    """point → (labels, left, right), by the words of the rule."""
    targets = {}
    for p, (step, low, high, stride) in enumerate(points.tolist()):
        mine = []
        for n, (start, end) in enumerate(segments.tolist()):
            centre = (start + end) / 2
            first = max(start, centre - radius * stride)
            last = min(end, centre + radius * stride)
            if first < step < last and low <= max(step - start, end - step) <= high:
                mine.append((end - start, n))
        if mine:
            shortest, best = min(mine)
            marked = {labels[n].item() for length, n in mine if length <= shortest + 1e-3}
            start, end = segments[best].tolist()
            targets[p] = (marked, (step - start) / stride, (end - step) / stride)
    return targets


@pytest.mark.parametrize("radius", [1.5, math.inf])
def test_against_a_loop(radius: float) -> None:
    torch.manual_seed(0)
    points = make_points(60, strides=(1, 2, 4, 8), dtype=torch.float64)
    segments = (torch.rand(14, 2, dtype=torch.float64) * 60).sort(1).values
    segments[7] = segments[3]
    labels = torch.randint(4, (14,))
    found = assign_centers(points, segments, labels, torch.zeros_like(labels), 1, 4, radius)
    expected = loop(points, segments, labels, radius)
    assert len(found.label) == sum(len(marked) for marked, *_ in expected.values())
    for point, label, (left, right) in zip(
        found.point.tolist(), found.label.tolist(), found.offsets.tolist(), strict=True
    ):
        marked, *offsets = expected[point]
        assert label in marked
        assert [left, right] == pytest.approx(offsets)


def test_it_stands_where_a_range_assigner_can() -> None:
    grid = TimeGrid(fps=25, window=24, stride=8)
    truth = [Events.empty(), Events(torch.tensor([[1.0, 6.0]]), torch.tensor([2]))]
    assigner = CenterAssigner([(0.0, 100.0)] * 2, radius=2.0)
    points = assigner.points(30, (1, 2))
    found = assigner(points, truth, grid, 3)
    assert set(found.video.tolist()) == {1}
    assert set(found.label.tolist()) == {2}
    centre = grid.to_steps(3.5)
    assert ((points[found.point, 0] - centre).abs() < 2 * points[found.point, 3]).all()


def test_a_radius_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="radius"):
        CenterAssigner(radius=0)
