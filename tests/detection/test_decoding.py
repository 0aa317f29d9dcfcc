"""Decoding of a batch against a loop over every point, class and video."""

import pytest
import torch

from loco.detection.assignment import make_points
from loco.detection.decoding import Decoding
from loco.detection.nms import soft_nms
from loco.detection.suppression import Voting
from loco.structures import Events, TimeGrid

GRID = TimeGrid(fps=25, window=24, stride=8)


def outputs(seed: int = 0) -> tuple[torch.Tensor, ...]:
    torch.manual_seed(seed)
    points = make_points(20, strides=(1, 2, 4))
    logits = torch.randn(3, len(points), 2) * 3 - 3
    offsets = torch.rand(3, len(points), 2, 2) * 3
    mask = torch.rand(3, len(points)) < 0.8
    mask[2] = False
    durations = torch.tensor([7.0, 6.9, 7.5], dtype=torch.float64)
    return logits, offsets, mask, points, durations


def test_against_a_loop() -> None:
    logits, offsets, mask, points, durations = outputs()
    decoding = Decoding(score_threshold=0.05, top_k=6, min_length=2.0, max_segments=9)
    found = decoding(logits, offsets, mask, points, durations=durations, grid=GRID)
    for b in range(3):
        segments, scores, labels = [], [], []
        for stride in (1.0, 2.0, 4.0):
            level = []
            for p in range(len(points)):
                if points[p, 3] != stride or not mask[b, p]:
                    continue
                for k in range(2):
                    score = logits[b, p, k].sigmoid().item()
                    start, end = (offsets[b, p, k] * stride).tolist()
                    step = points[p, 0].item()
                    level.append((score, k, step - start, step + end))
            for score, k, start, end in sorted(level, reverse=True)[:6]:
                if score > 0.05 and end - start > 2.0:
                    segments.append([GRID.to_seconds(start), GRID.to_seconds(end)])
                    scores.append(score)
                    labels.append(k)
        expected = soft_nms(
            torch.tensor(segments).reshape(-1, 2),
            torch.tensor(scores),
            torch.tensor(labels, dtype=torch.long),
            max_segments=9,
        )
        clipped = expected[0].clamp(0, durations[b].item())
        assert torch.allclose(found[b].segments, clipped, atol=1e-5)
        assert torch.allclose(found[b].scores, expected[1], atol=1e-6)
        assert torch.equal(found[b].labels, expected[2])
    assert len(found[2]) == 0


def test_a_batch_is_its_videos_one_by_one() -> None:
    logits, offsets, mask, points, durations = outputs(1)
    for decoding in (Decoding(), Decoding(nms="hard", iou_threshold=0.3)):
        together = decoding(logits, offsets, mask, points, durations=durations, grid=GRID)
        for b in range(3):
            one = slice(b, b + 1)
            (alone,) = decoding(
                logits[one], offsets[one], mask[one], points, durations=durations[one], grid=GRID
            )
            # sigmoid and exp may differ in the last bit, by their place in a vector register
            assert torch.allclose(alone.segments, together[b].segments, rtol=0, atol=1e-6)
            assert torch.allclose(alone.scores, together[b].scores, rtol=1e-5)
            assert torch.equal(alone.labels, together[b].labels)


def test_offsets_common_to_the_classes() -> None:
    """(B, P, 2) is the same as each class having a copy of them."""
    logits, offsets, mask, points, durations = outputs(2)
    common = offsets[:, :, 0]
    copies = common.unsqueeze(2).expand_as(offsets)
    for decoding in (Decoding(), Decoding(class_aware=False)):
        first, second = (
            decoding(logits, x, mask, points, durations=durations, grid=GRID)
            for x in (common, copies)
        )
        for ours, theirs in zip(first, second, strict=True):
            assert_same_events(ours, theirs)


def assert_same_events(first: Events, second: Events) -> None:
    assert torch.equal(first.segments, second.segments)
    assert torch.equal(first.labels, second.labels)
    assert first.scores is not None
    assert second.scores is not None
    assert torch.equal(first.scores, second.scores)


def test_unknown_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="soft, hard or none"):
        Decoding(nms="fast")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="class_aware=false"):
        Decoding(voting=Voting())
    with pytest.raises(ValueError, match="threshold"):
        Voting(threshold=0)
    with pytest.raises(ValueError, match="weight"):
        Voting(weight="iou")  # type: ignore[arg-type]
