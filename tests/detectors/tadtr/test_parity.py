"""What the public code answers on small inputs."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from loco.detectors.tadtr.actionness import Actionness, align, regions
from loco.detectors.tadtr.decoding import SetDecoding
from loco.detectors.tadtr.deformable import DeformableAttention
from loco.detectors.tadtr.detector import TadTR
from loco.detectors.tadtr.losses import SetLoss, best_iou
from loco.detectors.tadtr.matching import Matcher, Targets
from loco.detectors.tadtr.transformer import relative_positions
from loco.structures import TimeGrid
from tadtr_weights import figures, same, weights


@pytest.mark.parametrize("kind", ["point", "segment"])
def test_deformable_attention(kind: str) -> None:
    case = figures("deform_attn")
    attention = DeformableAttention(16, 4, 3)
    attention.load_state_dict(weights(case))
    mask, steps = ~case["padding"], case["value"].shape[1]
    reference = case[f"ref_{kind}"] * steps  # theirs are fractions of the padded length
    position, weight = attention.sample_at(case["query"], reference)
    assert same(position / steps, case[f"{kind}_locations"])
    assert same(weight, case[f"{kind}_weights"])
    output = attention(case["query"], reference, case["value"], mask)
    assert same(output, case[f"{kind}_output"])


def test_where_points_start() -> None:
    bias = figures("deform_attn")["init_sampling_offsets_bias_8heads_4points"]
    assert torch.allclose(DeformableAttention(256, 8, 4).sampling_offsets.bias, bias, atol=1e-6)


def original_net(case: dict[str, Tensor]) -> TadTR:
    model = TadTR(
        6, 4, 6, dim=32, heads=4, encoder_layers=2, decoder_layers=3, encoder_points=2,
        decoder_points=3, feed_forward=40, num_queries=5, actionness=False,
    )  # fmt: skip
    model.load_state_dict(weights(case))
    return model.eval()


@torch.no_grad()
def test_the_net_step_by_step() -> None:
    """The projection is told that all is real, since theirs normalises over padding."""
    case = figures("net")
    model, mask = original_net(case), ~case["padding"]
    x = model.project(case["input"].transpose(1, 2), torch.ones_like(mask))
    assert same(x.transpose(1, 2), case["projected"])
    positions = relative_positions(mask, 32, like=x)
    assert same(positions.transpose(1, 2), case["position"])
    first = model.encoder.layers[0](x, positions + model.encoder.level, mask)
    assert same(first, case["encoder_layer0"])
    memory = model.encoder(x, mask)
    assert same(memory, case["memory"])
    logits, segments, states = model.decoder(memory, mask)
    assert same(states[0], case["decoder_layer0"])
    assert same(states, case["decoder_states"])
    assert same(segments, case["references"])
    assert same(logits, case["logits"])
    assert same(segments, case["segments"])


@torch.no_grad()
def test_the_whole_net() -> None:
    """Video 0 as theirs; video 1, padded, as theirs without the padding."""
    case = figures("net")
    model, mask = original_net(case), ~case["padding"]
    x = case["input"].transpose(1, 2)
    logits, segments, _ = model(x[..., :6], x[..., 6:], mask)
    assert same(logits[:, 0], case["logits"][:, 0])
    assert same(segments[:, 0], case["segments"][:, 0])
    assert same(logits[-1, 1:], case["video1_alone_logits"])
    assert same(segments[-1, 1:], case["video1_alone_segments"])


def targets_of(case: dict[str, Tensor]) -> Targets:
    return Targets(case["gt_video"], case["gt_labels"], case["gt_segments"])


def test_matching() -> None:
    case, matcher = figures("matching"), Matcher()
    logits, segments, targets = case["logits"][None], case["segments"][None], targets_of(case)
    assert same(matcher.cost(logits, segments, targets).squeeze(1).T, case["cost"])
    layer, query, event = matcher(logits, segments, targets)
    assert not layer.any()
    first = torch.tensor([int((targets.video < v).sum()) for v in range(3)])
    video = targets.video[event]
    ours = sorted(zip(video.tolist(), query.tolist(), (event - first[video]).tolist(), strict=True))
    theirs = [case[f"matched_{name}"].tolist() for name in ("video", "query", "gt")]
    assert ours == sorted(zip(*theirs, strict=True))


def test_losses_and_gradients() -> None:
    case, criterion = figures("losses"), SetLoss()
    targets = targets_of(case)
    last = [case[name].clone().requires_grad_() for name in ("logits", "segments", "actionness")]
    logits = torch.cat([case["aux_logits"], last[0][None]])
    segments = torch.cat([case["aux_segments"], last[1][None]])
    for ours, name in zip(
        criterion.by_layer(logits, segments, targets), ("ce", "segments", "iou"), strict=True
    ):
        theirs = [case[f"loss_{name}{layer}"] for layer in ("_0", "_1", "")]
        assert same(ours.detach() / len(targets.label), torch.stack(theirs))

    wanted = best_iou(case["segments"], targets)
    assert same(wanted.flatten(), case["actionness_target_per_video"])
    losses = criterion(logits, segments, last[2].squeeze(-1), targets)
    assert same(losses["loss_actionness"].detach() / 4, case["loss_actionness_per_video"])
    # theirs looks at the events of all videos
    theirs = case["total"] + 4 * (case["loss_actionness_per_video"] - case["loss_actionness"])
    total = sum(losses.values())
    assert same(total.detach(), theirs)

    gradients = torch.autograd.grad(total, last)
    assert same(gradients[0], case["grad_logits"])
    assert same(gradients[1], case["grad_segments"])
    sign = (case["actionness"].squeeze(-1) - wanted).sign()
    assert same(gradients[2].squeeze(-1), 4 * sign / sign.numel())
    everywhere = best_iou(
        case["segments"].flatten(0, 1)[None], targets._replace(video=0 * targets.video)
    )
    error = (case["actionness"].flatten() - everywhere).abs().mean()
    assert same(error, case["loss_actionness"])
    sign = (case["actionness"].flatten() - everywhere.flatten()).sign()
    assert same(4 * sign / sign.numel(), case["grad_actionness"].flatten())


@torch.no_grad()
def test_actionness() -> None:
    case = figures("roi_align")
    rating = Actionness(5, scale=float(case["scale"]))
    rating.head = torch.nn.Sequential(
        torch.nn.Linear(80, 6), torch.nn.ReLU(), torch.nn.Linear(6, 6), torch.nn.ReLU(),
        torch.nn.Linear(6, 1),
    )  # fmt: skip
    rating.head.load_state_dict(weights(case))
    x, count = case["features"].transpose(1, 2), torch.tensor([40, 40])
    region = regions(case["segments"], count, rating.scale)
    assert same(region.flatten(0, 1), case["rois"][:, 1:])
    pooled = align(x, count, region, 16)
    assert same(pooled.flatten(0, 1).transpose(1, 2), case["pooled"])
    mask = torch.ones(2, 40, dtype=torch.bool)
    assert same(rating(x, mask, case["segments"]), case["actionness"].squeeze(-1))


def test_decoding() -> None:
    """With half-second steps that touch each other, a fraction of the steps is one of the time."""
    case = figures("postprocess")
    decoding = SetDecoding(max_segments=int(case["top_k"]))
    actionness, grid = case["actionness"].squeeze(-1), TimeGrid(fps=2, window=1, stride=1)
    scores, query, labels = decoding.best(case["logits"], actionness)
    assert same(scores, case["scores"])
    assert torch.equal(query, case["query"])
    assert torch.equal(labels, case["labels"])
    durations = case["durations"]
    found = decoding(
        case["logits"], case["segments"], actionness, durations * 2, durations=durations, grid=grid
    )
    for b, events in enumerate(found):
        expected = case["out_segments"][b].clamp(0, float(durations[b]))
        assert same(events.segments, expected)
        assert torch.equal(events.labels, case["labels"][b])
