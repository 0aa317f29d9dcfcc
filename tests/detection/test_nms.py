"""Suppression against the definition in loops, the parity figures, and its edges."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from loco.detection import nms as postprocess
from loco.detection.nms import hard_nms, soft_nms

FIXTURE = Path(__file__).parents[1] / "fixtures" / "soft_nms.npz"
Row = tuple[float, float, float, int]
Suppress = Callable[..., tuple[Tensor, ...]]


def naive(
    rows: list[Row], weaken: Callable[[float], float], min_score: float, cap: int | None
) -> list[Row]:
    """Greedy suppression of (start, end, score, label) rows, class by class, pick by pick."""
    kept: list[Row] = []
    for label in {row[3] for row in rows}:
        pool = [row for row in rows if row[3] == label and row[2] >= min_score]
        while pool:
            pool.sort(key=lambda row: (-row[2], row[0], row[1]))
            best, *others = pool
            kept.append(best)
            pool = []
            for start, end, score, _ in others:
                overlap = max(min(end, best[1]) - max(start, best[0]), 0.0)
                union = (end - start) + (best[1] - best[0]) - overlap
                score *= weaken(overlap / union if union > 0 else 0.0)
                if score >= min_score:
                    pool.append((start, end, score, label))
    kept.sort(key=lambda row: (-row[2], row[0], row[1], row[3]))
    return kept[:cap]


def tensors(rows: list[Row]) -> tuple[Tensor, Tensor, Tensor]:
    table = torch.tensor(rows, dtype=torch.float64).reshape(-1, 4)
    return table[:, :2], table[:, 2], table[:, 3].long()


def random_candidates(seed: int, count: int = 400, num_labels: int = 4) -> list[Row]:
    """Clusters around a few events, as a detector leaves them; scores of every size."""
    rng = np.random.default_rng(seed)
    centre, length = rng.uniform(0, 100, 8), rng.uniform(2, 30, 8)
    near = rng.integers(0, 8, count)
    middle = centre[near] + rng.normal(0, 0.2, count) * length[near]
    half = length[near] * np.exp(rng.normal(0, 0.3, count)) / 2
    score = 1 / (1 + np.exp(-rng.normal(-3, 2, count)))
    label = rng.integers(0, num_labels, count)
    columns = (middle - half, middle + half, score, label)
    return [(a, b, s, int(k)) for a, b, s, k in zip(*columns, strict=True)]


def same(ours: tuple[Tensor, ...], expected: list[Row]) -> None:
    segments, scores, labels = tensors(expected)
    assert torch.equal(ours[0], segments)
    torch.testing.assert_close(ours[1], scores, rtol=0, atol=1e-12)
    assert torch.equal(ours[2], labels)


@pytest.mark.parametrize(
    ("name", "suppress", "settings_"),
    [
        ("soft", soft_nms, {}),
        ("soft_all", soft_nms, {"max_segments": None}),
        ("hard", hard_nms, {"iou_threshold": 0.7}),
    ],
)
def test_parity_figures(name: str, suppress: Suppress, settings_: dict[str, float]) -> None:
    data = np.load(FIXTURE)
    columns = [torch.from_numpy(data[k]) for k in ("segments", "scores", "labels")]
    segments, scores, labels = suppress(*columns, **settings_)
    np.testing.assert_array_equal(segments.numpy(), data[f"{name}_segments"])
    np.testing.assert_allclose(scores.numpy(), data[f"{name}_scores"], rtol=0, atol=1e-6)
    np.testing.assert_array_equal(labels.numpy(), data[f"{name}_labels"])


@pytest.mark.parametrize("cap", [1, 7, 100, None])
@pytest.mark.parametrize("num_labels", [1, 4, 50])
@pytest.mark.parametrize("sigma", [0.05, 0.4, 5.0])
def test_soft_equals_the_definition(cap: int | None, num_labels: int, sigma: float) -> None:
    rows = random_candidates(num_labels, num_labels=num_labels)
    expected = naive(rows, lambda iou: math.exp(-(iou**2) / sigma), 0.001, cap)
    same(soft_nms(*tensors(rows), sigma=sigma, max_segments=cap), expected)


@pytest.mark.parametrize("cap", [1, 7, 100, None])
@pytest.mark.parametrize("threshold", [0.1, 0.5, 1.0])
def test_hard_equals_the_definition(cap: int | None, threshold: float) -> None:
    rows = random_candidates(3)
    expected = naive(rows, lambda iou: float(iou < threshold), 0.001, cap)
    same(hard_nms(*tensors(rows), threshold, max_segments=cap), expected)


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(0, 8), st.integers(0, 8)).map(sorted),
            st.sampled_from([0.0, 0.0005, 0.25, 0.5, 1.0]),
            st.integers(0, 2),
        ),
        max_size=14,
    ),
    st.sampled_from([1, 3, None]),
    st.randoms(use_true_random=False),
)
def test_hard_with_ties_in_any_order(drawn, cap: int | None, random) -> None:
    """Equal scores go by start, end and label, so the order of the input never matters."""
    rows = [(float(a), float(b), s, k) for (a, b), s, k in drawn]
    expected = naive(rows, lambda iou: float(iou < 0.5), 0.001, cap)
    random.shuffle(rows)
    same(hard_nms(*tensors(rows), 0.5, max_segments=cap), expected)


@pytest.mark.parametrize("seed", range(3))
def test_soft_does_not_depend_on_the_order(seed: int) -> None:
    columns = tensors(random_candidates(seed, 1500))
    order = torch.randperm(1500, generator=torch.Generator().manual_seed(seed))
    for ours, other in zip(
        soft_nms(*columns), soft_nms(*(column[order] for column in columns)), strict=True
    ):
        assert torch.equal(ours, other)


@pytest.mark.parametrize("suppress", [soft_nms, lambda *a, **k: hard_nms(*a, 0.6, **k)])
@pytest.mark.parametrize("cap", [5, 60, None])
def test_a_batch_is_its_videos_one_by_one(suppress: Suppress, cap: int | None) -> None:
    counts = {3: 900, 0: 1, 12: 300, 40_000: 40, 7: 0}
    parts = {v: tensors(random_candidates(v, n)) for v, n in counts.items()}
    video = torch.cat([torch.full((n,), v) for v, n in counts.items()])
    order = torch.randperm(len(video), generator=torch.Generator().manual_seed(0))
    columns = [torch.cat(column)[order] for column in zip(*parts.values(), strict=True)]
    *together, owner = suppress(*columns, max_segments=cap, video=video[order])
    assert owner.tolist() == sorted(owner.tolist())
    for v, part in parts.items():
        alone = suppress(*part, max_segments=cap)
        mine = owner == v
        assert torch.equal(together[0][mine], alone[0])
        torch.testing.assert_close(together[1][mine], alone[1], rtol=0, atol=1e-12)
        assert torch.equal(together[2][mine], alone[2])


@pytest.mark.parametrize("pairs", [0, 1 << 30])
@pytest.mark.parametrize("window", [1, 2, 1000])
def test_speed_settings_change_nothing(
    pairs: int, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = random_candidates(8)
    expected = naive(rows, lambda iou: math.exp(-(iou**2) / 0.4), 0.001, 30)
    monkeypatch.setattr(postprocess, "_PAIRS", pairs)
    monkeypatch.setattr(postprocess, "_WINDOW", window)
    same(soft_nms(*tensors(rows), max_segments=30), expected)


@pytest.mark.parametrize("suppress", [soft_nms, lambda *a, **k: hard_nms(*a, 0.5, **k)])
def test_nothing_in_nothing_out(suppress: Suppress) -> None:
    columns = tensors([])
    assert [tuple(x.shape) for x in suppress(*columns)] == [(0, 2), (0,), (0,)]
    *_, owner = suppress(*columns, video=torch.zeros(0).long())
    assert owner.shape == (0,)
    weak = tensors([(0, 1, 0.0001, 0)])
    assert len(suppress(*weak)[1]) == 0
    assert len(suppress(*weak, min_score=0, max_segments=None)[1]) == 1


def test_moments_without_length_do_not_touch_one_another() -> None:
    rows = [(2.0, 2.0, 0.9, 0), (2.0, 2.0, 0.8, 0), (0.0, 4.0, 0.7, 0)]
    for result in (soft_nms(*tensors(rows)), hard_nms(*tensors(rows), 0.1)):
        assert result[1].tolist() == [0.9, 0.8, 0.7]


def test_an_iou_equal_to_the_threshold_is_removed() -> None:
    columns = tensors([(0, 10, 0.9, 0), (0, 5, 0.8, 0)])
    assert len(hard_nms(*columns, 0.5)[1]) == 1
    assert len(hard_nms(*columns, 0.5001)[1]) == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_are_kept(dtype: torch.dtype) -> None:
    segments, scores, labels = tensors(random_candidates(1))
    result = soft_nms(segments.to(dtype), scores.to(dtype), labels)
    assert [x.dtype for x in result] == [dtype, dtype, torch.long]
    assert (result[1][1:] <= result[1][:-1]).all()


def test_gradients_are_left_behind() -> None:
    segments, scores, labels = tensors(random_candidates(1))
    assert not soft_nms(segments, scores.requires_grad_(), labels)[1].requires_grad


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_same_from_a_gpu() -> None:
    columns = tensors(random_candidates(2))
    there = soft_nms(*(column.cuda() for column in columns))
    for ours, other in zip(soft_nms(*columns), there, strict=True):
        assert other.is_cuda
        assert torch.equal(ours, other.cpu())


def test_bad_input_is_refused() -> None:
    segments, scores, labels = tensors([(0, 1, 0.5, 0)])
    with pytest.raises(ValueError, match="segments must be"):
        soft_nms(segments[0], scores, labels)
    with pytest.raises(ValueError, match="scores must be"):
        soft_nms(segments, scores[None], labels)
    with pytest.raises(ValueError, match="labels must be long"):
        soft_nms(segments, scores, labels.float())
    with pytest.raises(ValueError, match="video must be long"):
        soft_nms(segments, scores, labels, video=torch.zeros(2).long())
    with pytest.raises(ValueError, match="must be finite"):
        soft_nms(segments, scores * torch.nan, labels)
    with pytest.raises(ValueError, match="must be finite"):
        hard_nms(segments * torch.inf, scores, labels, 0.5)
    with pytest.raises(ValueError, match="sigma"):
        soft_nms(segments, scores, labels, sigma=0)
    with pytest.raises(ValueError, match="iou_threshold"):
        hard_nms(segments, scores, labels, 1.5)
    with pytest.raises(ValueError, match="min_score"):
        soft_nms(segments, scores, labels, min_score=-1)
    with pytest.raises(ValueError, match="max_segments"):
        soft_nms(segments, scores, labels, max_segments=0)
