"""Detection losses: parity figures, loops from the formulas, and the normaliser's life."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from loco.detection.assignment import Positives
from loco.detection.losses import DetectionLoss, diou_loss, focal_loss, giou_loss

FIXTURE = Path(__file__).parents[1] / "fixtures" / "losses.npz"


def fixture(name: str) -> torch.Tensor:
    with np.load(FIXTURE) as figures:
        return torch.from_numpy(figures[name])


def test_focal_parity() -> None:
    ours = focal_loss(fixture("logits"), fixture("targets"))
    assert torch.allclose(ours, fixture("focal"), rtol=1e-5, atol=1e-7)


def test_diou_parity() -> None:
    ours = diou_loss(fixture("pred_offsets"), fixture("target_offsets"))
    assert torch.allclose(ours, fixture("diou"), rtol=1e-5, atol=1e-6)


def test_focal_against_a_loop() -> None:
    torch.manual_seed(0)
    logits = torch.randn(5, 4, dtype=torch.float64) * 3
    targets = (torch.rand(5, 4) < 0.3).double()
    ours = focal_loss(logits, targets)
    for i in range(5):
        for j in range(4):
            p = 1 / (1 + math.exp(-logits[i, j]))
            expected = (
                -0.25 * (1 - p) ** 2 * math.log(p)
                if targets[i, j]
                else -0.75 * p**2 * math.log(1 - p)
            )
            assert ours[i, j].item() == pytest.approx(expected, rel=1e-9)


def test_giou_is_iou_around_a_common_point() -> None:
    """With the intervals written out: overlap, union, hull."""
    torch.manual_seed(0)
    predicted, target = torch.rand(2, 50, 2, dtype=torch.float64) * 10
    ours = giou_loss(predicted, target)
    for n in range(50):
        (a0, a1), (b0, b1) = ((-x[n, 0].item(), x[n, 1].item()) for x in (predicted, target))
        overlap = max(0.0, min(a1, b1) - max(a0, b0))
        union = (a1 - a0) + (b1 - b0) - overlap
        hull = max(a1, b1) - min(a0, b0)
        giou = overlap / union - (hull - union) / hull
        assert ours[n].item() == pytest.approx(1 - giou, abs=1e-9)
        centre = ((b0 + b1) - (a0 + a1)) / 2
        diou = overlap / union - (centre / hull) ** 2
        assert diou_loss(predicted[n], target[n]).item() == pytest.approx(1 - diou, abs=1e-9)


def test_empty_intervals_give_no_nan() -> None:
    zero = torch.zeros(1, 2, requires_grad=True)
    for loss in (giou_loss, diou_loss):
        loss(zero, torch.zeros(1, 2)).sum().backward()
        assert zero.grad is not None
        assert zero.grad.isfinite().all()


def example() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Positives]:
    torch.manual_seed(0)
    positives = Positives(
        video=torch.tensor([0, 0, 1]),
        point=torch.tensor([1, 2, 3]),
        label=torch.tensor([0, 2, 1]),
        offsets=torch.rand(3, 2),
    )
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    return torch.randn(2, 4, 3), torch.rand(2, 4, 3, 2), mask, positives


def test_losses_count_real_points_and_positives_only() -> None:
    logits, offsets, mask, positives = example()
    losses = DetectionLoss(normalizer=7.0, momentum=0.5)(logits, offsets, mask, positives)
    classification = regression = 0.0
    for b in range(2):
        for p in range(4):
            for k in range(3):
                claims = [
                    m
                    for m in range(3)
                    if (positives.video[m], positives.point[m], positives.label[m]) == (b, p, k)
                ]
                if not mask[b, p]:
                    continue
                target = torch.tensor(float(bool(claims)))
                classification += focal_loss(logits[b, p, k], target).item()
                for m in claims:
                    regression += giou_loss(offsets[b, p, k], positives.offsets[m]).item()
    divisor = (7 + 2) / 2  # the third positive is padding
    assert losses["loss_cls"].item() == pytest.approx(classification / divisor, rel=1e-5)
    assert losses["loss_reg"].item() == pytest.approx(regression / divisor, rel=1e-5)


def test_the_normalizer_moves_in_training_only_and_is_saved() -> None:
    criterion = DetectionLoss(normalizer=100.0)
    criterion.eval()(*example())
    assert criterion.normalizer == 100
    criterion.train()(*example())
    assert criterion.normalizer.item() == pytest.approx(0.9 * 100 + 0.1 * 2)  # the third is padding
    other = DetectionLoss()
    other.load_state_dict(criterion.state_dict())
    assert other.normalizer == criterion.normalizer


def test_outside_of_training_each_batch_counts_its_own_positives() -> None:
    """Split as one likes, the losses weighted by `normalizer` have the same mean."""
    logits, offsets, mask, positives = example()
    mask = torch.ones_like(mask)  # two positives in the first video, one in the second
    criterion = DetectionLoss(normalizer=100.0).eval()
    whole = criterion(logits, offsets, mask, positives)
    assert whole["normalizer"] == 3
    for name in ("loss_cls", "loss_reg"):
        weighted = 0.0
        for video in range(2):
            own = Positives(*(field[positives.video == video] for field in positives))
            part = slice(video, video + 1)
            said = criterion(
                logits[part], offsets[part], mask[part], own._replace(video=own.video * 0)
            )
            weighted += (said[name] * said["normalizer"]).item()
        assert weighted / 3 == pytest.approx(whole[name].item(), rel=1e-5), name
    none = Positives(*(field[:0] for field in positives))
    assert criterion(logits, offsets, mask, none)["normalizer"] == 1


def test_a_point_that_is_positive_for_two_classes_counts_once() -> None:
    logits, offsets, mask, positives = example()
    twice = Positives(*(torch.cat([field, field[:1]]) for field in positives))
    twice.label[-1] = 1
    criterion = DetectionLoss(normalizer=100.0)
    losses = criterion(logits, offsets, mask, twice)
    assert criterion.normalizer.item() == pytest.approx(0.9 * 100 + 0.1 * 2)
    assert losses["normalizer"] == criterion.normalizer


def test_two_losses_before_one_backward() -> None:
    """`forward` changes no tensor that an earlier graph still needs."""
    logits, offsets, mask, positives = example()
    logits.requires_grad_()
    criterion = DetectionLoss()
    total = sum(criterion(logits, offsets, mask, positives)["loss_cls"] for _ in range(2))
    assert isinstance(total, torch.Tensor)
    total.backward()
    assert logits.grad is not None
    assert criterion.normalizer.item() == pytest.approx(250 * 0.81 + 2 * (0.09 + 0.1))


def test_an_unknown_regression_loss_is_refused() -> None:
    with pytest.raises(ValueError, match="giou"):
        DetectionLoss(regression="iou")  # type: ignore[arg-type]
