"""LCC beside the paper's: pairs by loops over steps, balance, control, σ, projectors."""

from __future__ import annotations

import copy
import math
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from batches import GRID, events_of, make_batch, total
from helpers import Composer, Stopped, assert_same, last_checkpoint
from loco.detectors.loco.correspondence import CorrespondenceLoss, GaussianTarget
from loco.detectors.loco.detector import LoCo
from loco.detectors.loco.pairs import PairRule
from loco.detectors.loco.projectors import DeepProjector, HalfProjector
from loco.nn.gradient_balance import GradientBalance
from loco.runs.logs import read_log
from loco.runs.train import train
from loco.structures import Batch, TimeGrid
from loco.training.optim import AdamW, clip_gradients

LENGTHS = (9, 5, 7, 1)
EVENTS = [events_of((0.6, 1.9, 0), (1.5, 2.7, 2)), events_of((0.4, 1.6, 0)), events_of((1, 9, 1))]


def batch_of() -> Batch:
    return make_batch(LENGTHS, EVENTS)


# -- pairs -----------------------------------------------------------------------------------------


def classes_at(b: int, t: int) -> set[int]:
    """Of the events around a step of the batch, from their seconds."""
    if b >= len(EVENTS):
        return set()
    time = GRID.to_seconds(float(t))
    rows = zip(EVENTS[b].segments.tolist(), EVENTS[b].labels.tolist(), strict=True)
    return {label for (start, end), label in rows if start <= time <= end}


def naive(loss: CorrespondenceLoss, rule: PairRule, visual: Tensor, audio: Tensor) -> Tensor:
    """Both directions, step by step, from the text."""
    steps = [(b, t) for b, length in enumerate(LENGTHS) for t in range(length)]
    y = loss.target(batch_of().mask)
    v, a = loss.embed(visual, audio)
    rows = [n for n, at in enumerate(steps) if rule.rows == "all" or classes_at(*at)]
    sum_ = torch.zeros(())
    for mine, other in ((v, a), (a, v)):
        for n in rows:
            b, i = steps[n]
            scores, targets = [], []
            alike = [c != b and bool(classes_at(c, j) & classes_at(b, i)) for c, j in steps]
            beta = rule.pull if rule.same_class == "pull" and any(alike) else 0.0
            for (c, j), same in zip(steps, alike, strict=True):
                if same and rule.same_class == "ignore":
                    continue
                if c == b and rule.far == "ignore" and y[b, i, j] < rule.near * y[b, i, i]:
                    continue
                scores.append(mine[b, i] @ other[c, j] / loss.temperature)
                inside = (1 - beta) * y[b, i, j] if c == b else torch.zeros(())
                targets.append(inside + beta * same / max(sum(alike), 1))
            log_p = torch.stack(scores).log_softmax(0)
            for target, log in zip(targets, log_p, strict=True):
                if target > 0:
                    sum_ = sum_ + target * ((loss.divergence == "kl") * target.log() - log)
    return loss.weight * sum_ / len(rows) / 2


RULES = {
    "events": PairRule("events", "repel", "repel"),
    "spared": PairRule("all", "ignore", "ignore", near=0.3),
    "both": PairRule("events", "ignore", "ignore", near=0.3),
    "pulled": PairRule("events", "pull", "repel", pull=0.3),
}


@pytest.mark.parametrize("divergence", ["kl", "cross_entropy"])
@pytest.mark.parametrize("name", RULES)
def test_chosen_pairs_against_loops(name: str, divergence: str) -> None:
    torch.manual_seed(0)
    loss = CorrespondenceLoss(
        8, target=GaussianTarget(0.9), divergence=divergence, pairs=RULES[name]
    )
    visual, audio = torch.randn(2, 4, 9, 8)
    batch = batch_of()
    ours = loss(visual, audio, batch.mask, batch)["loss_lcc"]
    ours.backward()
    gradients = {n: p.grad.clone() for n, p in loss.named_parameters()}
    loss.zero_grad()
    expected = naive(loss, RULES[name], visual, audio)
    assert ours.item() == pytest.approx(expected.item(), rel=1e-5)
    expected.backward()
    for parameter, p in loss.named_parameters():
        assert torch.allclose(gradients[parameter], p.grad, rtol=1e-3, atol=1e-5), parameter


def test_a_rule_that_leaves_nothing_out_is_the_paper_s_loss() -> None:
    torch.manual_seed(0)
    plain = CorrespondenceLoss(8)
    chosen = copy.deepcopy(plain)
    chosen.pairs = PairRule("all", "repel", "repel")
    visual, audio = torch.randn(2, 4, 9, 8)
    batch = batch_of()
    expected = plain(visual, audio, batch.mask)["loss_lcc"]
    found = chosen(visual, audio, batch.mask, batch)["loss_lcc"]
    assert found.item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_batch_without_events_has_no_rows_and_no_loss() -> None:
    loss = CorrespondenceLoss(8, pairs=PairRule("events", "pull", "ignore"))
    batch = make_batch((4, 2))
    visual, audio = torch.randn(2, 2, 4, 8).unbind(0)
    found = loss(visual, audio, batch.mask, batch)["loss_lcc"]
    found.backward()
    assert found == 0
    assert all(p.grad.isfinite().all() for p in loss.parameters() if p.grad is not None)


def test_what_needs_the_batch_says_so() -> None:
    mask = torch.ones(1, 3, dtype=torch.bool)
    for loss in (
        CorrespondenceLoss(8, pairs=PairRule()),
        CorrespondenceLoss(8, target=GaussianTarget(unit="seconds")),
    ):
        with pytest.raises(ValueError, match="batch"):
            loss(*torch.randn(2, 1, 3, 8), mask)


# -- σ and projectors ------------------------------------------------------------------------------


@pytest.mark.parametrize("normalize", [True, False])
def test_sigma_in_seconds_is_converted_by_the_grid(normalize: bool) -> None:
    mask = torch.arange(12) < torch.tensor([[12], [7]])
    seconds = GaussianTarget(1.1, unit="seconds", normalize=normalize)
    for grid in (GRID, TimeGrid(fps=16, window=16, stride=4)):
        steps = GaussianTarget(1.1 * grid.fps / grid.stride, normalize=normalize)
        assert torch.allclose(seconds(mask, grid), steps(mask), rtol=1e-5)
    assert set(seconds.logged()) == {"sigma_seconds"}


def test_projectors_map_to_half_the_channels_and_one_of_them_reads_half() -> None:
    torch.manual_seed(0)
    for projector in (DeepProjector, HalfProjector):
        loss = CorrespondenceLoss(8, projector=projector)
        visual = torch.randn(2, 5, 8, requires_grad=True)
        mask = torch.ones(2, 5, dtype=torch.bool)
        assert loss.embed(visual, visual)[0].shape == (2, 5, 4)
        loss(visual, torch.randn(2, 5, 8), mask)["loss_lcc"].backward()
        assert visual.grad is not None
        assert visual.grad[..., :4].abs().sum() > 0
        assert (visual.grad[..., 4:].abs().sum() > 0) == (projector is DeepProjector)


# -- what LCC does to the detector -----------------------------------------------------------------


def small(**settings: object) -> LoCo:
    torch.manual_seed(0)
    return LoCo(
        6, 5, 3, dim=16, heads=2, num_levels=3, encoder_blocks=1, decoder_blocks=1,
        layer_scale=0.5, drop_path=0.0, correspondence=partial(CorrespondenceLoss, **settings),
    )  # fmt: skip


def test_the_gradient_ratio_is_that_at_the_encoders_outputs() -> None:
    model = small(balance=GradientBalance(0.25, until=1)).train()
    batch = batch_of()
    features = batch.visual, batch.audio, batch.mask
    shared = model.encode(*features)
    outputs = model.locate(*features, shared)
    torch.manual_seed(1)
    lcc = small().correspondence(*shared, batch.mask)["loss_lcc"] / 0.1
    positives = model.assigner(outputs.points, batch.events, batch.grid, 3)
    detection = model.criterion(outputs.logits, outputs.offsets, outputs.mask, positives)
    norms = []
    for loss in (lcc, detection["loss_cls"] + detection["loss_reg"]):
        parts = torch.autograd.grad(loss, shared, retain_graph=True)
        norms.append(math.hypot(*(part.norm().item() for part in parts)))

    model = small(balance=GradientBalance(0.25, until=1)).train()
    logged = model.losses(batch)
    assert logged["lcc/weight"].item() == pytest.approx(0.1)
    total(logged).backward()
    ratio = norms[0] / norms[1]
    assert model.correspondence.balance.ratio.item() == pytest.approx(ratio, rel=1e-4)
    logged = model.losses(batch)
    assert logged["lcc/weight"].item() == pytest.approx(0.25 / ratio, rel=1e-4)
    assert logged["lcc/gradient_ratio"].item() == pytest.approx(0.25, rel=1e-4)


def test_a_balance_needs_something_to_weigh() -> None:
    for bad in ({"detach": True}, {"weight": 0.0}):
        with pytest.raises(ValueError, match="balance"):
            CorrespondenceLoss(8, balance=GradientBalance(), **bad)  # type: ignore[arg-type]


def after_steps(model: LoCo, steps: int = 3) -> dict[str, Tensor]:
    """The detector's weights after some steps as a training makes them, clipped hard."""
    optimizer, schedule = AdamW(lr=1e-2)(model.train(), total_steps=9, steps_per_epoch=3)
    for _ in range(steps):
        optimizer.zero_grad()
        total(model.losses(batch_of())).backward()
        clip_gradients(optimizer, 0.05)
        optimizer.step()
        schedule.step()
    return {n: p for n, p in model.named_parameters() if not n.startswith("correspondence.")}


def test_detached_is_without_lcc_to_the_last_bit_for_the_detector() -> None:
    """Its projections learn; no gradient, and no share of the clipping, is the detector's loss."""
    detached = small(detach=True, weight=0.3)
    before = detached.correspondence.project_visual.weight.clone()
    control, without = after_steps(detached), after_steps(small(weight=0.0))
    with_it = after_steps(small(weight=0.3))
    for name, expected in without.items():
        assert torch.equal(control[name], expected), name
    name = "pyramid.visual_blocks.0.feed_forward.expand.weight"
    assert not torch.equal(with_it[name], without[name])
    assert not torch.equal(detached.correspondence.project_visual.weight, before)


@pytest.mark.slow
def test_detached_and_none_and_lambda_0_train_the_same_detector(
    tiny: Composer, tmp_path: Path
) -> None:
    states = []
    for word in ("detached", "none", "learnable_gaussian"):
        words = [f"correspondence={word}"] + ["correspondence.weight=0"] * (word[0] == "l")
        train(tiny(*words, "trainer.max_epochs=2", output=word))
        last = torch.load(tmp_path / word / "checkpoints/last.ckpt", weights_only=True)
        states.append(last["current_model_state"])
    for name, expected in states[1].items():
        for state in states:
            assert torch.equal(state[name], expected), name


@pytest.mark.slow
def test_a_balanced_run_resumes_to_the_last_bit(tiny: Composer, tmp_path: Path) -> None:
    """The average of the ratio, and the place within the training, go on."""
    words = ["correspondence=balanced", "trainer.max_epochs=3"]
    train(tiny(*words, output="whole"))
    stop = "+callbacks.stop={_target_: helpers.StopAfter, epoch: 1}"
    with pytest.raises(Stopped):
        train(tiny(*words, stop, output="stopped"))
    train(tiny(*words, f"ckpt_path={tmp_path / 'stopped'}", output="resumed"))
    whole, resumed = (last_checkpoint(tmp_path / name) for name in ("whole", "resumed"))
    for part in ("state_dict", "current_model_state", "optimizer_states"):
        assert_same(whole[part], resumed[part], part)
    assert whole["current_model_state"]["detector.correspondence.balance.ratio"] > 0
    curve = read_log(tmp_path / "whole" / "logs" / "metrics.csv")["epoch/lcc/weight"]
    assert 0 < curve.values[-1] < curve.values[1]
