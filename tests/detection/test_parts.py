"""Parts of a point-based detector: formulas as loops, and each in a net by its name."""

from __future__ import annotations

import math

import pytest
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from batches import GRID, events_of, make_batch, single, total
from helpers import ROOT, compose_config
from loco.detection.agreement import AgreementGate, soft_minimum
from loco.detection.assignment import RangeAssigner, make_points
from loco.detection.boundary import BoundaryHead
from loco.detection.center_sampling import CenterAssigner
from loco.detection.decoding import Decoding
from loco.detection.heads import PointHead
from loco.detection.losses import DetectionLoss, point_losses, quality_loss
from loco.detection.low_rank import LowRankHead
from loco.detection.outputs import HeadOutputs, PointOutputs
from loco.detection.quality import QualityHead
from loco.detection.varifocal import VarifocalLoss
from loco.errors import SettingError
from loco.nn.top_down import TopDownFusion
from loco.runs.part_checks import check_parts

TRUTH = [events_of((0.5, 3.0, 0), (1.0, 9.0, 2), (2.0, 9.0, 1)), events_of((0.4, 2.9, 1))]
K = 3


def levels_of(lengths: tuple[int, ...] = (9, 5), dim: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Two levels of a pyramid, with NaN in the padding."""
    torch.manual_seed(0)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    levels = []
    for stride in (1, 2):
        coarse = mask[:, ::stride]
        x = torch.randn(*coarse.shape, dim)
        levels.append((torch.where(coarse.unsqueeze(2), x, math.nan), coarse))
    return levels


def outputs_and_positives():
    """Random outputs of a batch, and what its events make positive."""
    torch.manual_seed(0)
    batch = make_batch((30, 12), TRUTH)
    points = make_points(30, (1, 2, 4))
    mask = torch.cat([batch.mask[:, ::s] for s in (1, 2, 4)], 1)
    positives = RangeAssigner()(points, batch.events, GRID, K)
    shape = (2, len(points))
    return torch.randn(*shape, K), torch.rand(*shape, K, 2) * 4, mask, points, positives


def iou_of(predicted: Tensor, true: Tensor) -> float:
    overlap = sum(min(p, t) for p, t in zip(predicted.tolist(), true.tolist(), strict=True))
    return overlap / sum(max(p, t) for p, t in zip(predicted.tolist(), true.tolist(), strict=True))


# -- heads and gates -------------------------------------------------------------------------------


def test_a_soft_minimum_is_near_the_smallest_and_of_equals_their_value() -> None:
    x = torch.tensor([[1.0, -2.0], [3.0, -2.0], [0.5, -2.0]])
    for theta in (0.01, 1.0, 5.0):
        for column, found in zip(x.T.tolist(), soft_minimum(x, theta).tolist(), strict=True):
            mean = sum(math.exp(-value / theta) for value in column) / 3
            expected = -theta * math.log(mean) if mean else min(column)
            assert found == pytest.approx(expected, abs=1e-4)
            assert min(column) - 1e-5 <= found <= sum(column) / 3 + 1e-5
    assert soft_minimum(x, 0.01)[0].item() == pytest.approx(0.5, abs=0.02)


def test_either_stream_can_keep_a_class_down() -> None:
    gate = AgreementGate(6, K)
    levels = [(torch.cat([x, x], 2), mask) for x, mask in levels_of()]
    mask = torch.cat([m for _, m in levels], 1)
    logits = torch.randn(*mask.shape, K)
    before = gate(logits, levels)
    assert before.shape == logits.shape
    assert before[mask].isfinite().all()
    for head in (gate.visual, gate.audio):
        with torch.no_grad():
            head.last.bias[1] -= 30
        after = gate(logits, levels)
        assert (after[mask][:, 1] < before[mask][:, 1] - 5).all()
        assert torch.equal(after[mask][:, [0, 2]], before[mask][:, [0, 2]])
        with torch.no_grad():
            head.last.bias[1] += 30


def test_low_rank_boundaries_are_a_mixture_of_what_a_point_has() -> None:
    torch.manual_seed(0)
    head = LowRankHead(6, K, num_levels=2, rank=2)
    head.scales.data.copy_(torch.tensor([1.0, 2.0]))
    logits, offsets, mask = head(levels_of())
    assert offsets.shape == (*logits.shape, 2)
    at = 0
    for (x, level_mask), scale in zip(levels_of(), (1.0, 2.0), strict=True):
        pairs = head.regress(x, level_mask).unflatten(2, (3, 2))
        for b, t in level_mask.nonzero().tolist():
            for k in range(K):
                mixed = pairs[b, t, 0] + sum(
                    head.mixture[k, r] * pairs[b, t, r + 1] for r in range(2)
                )
                expected = (scale * mixed).clamp(min=0)
                assert torch.allclose(offsets[b, at + t, k], expected, atol=1e-6)
        at += x.shape[1]
    same = LowRankHead(6, K, num_levels=2, rank=0)(levels_of())[1]
    assert torch.equal(same[mask][:, 0], same[mask][:, 2])


def test_boundaries_move_by_what_is_found_there() -> None:
    """In the finest level, between its steps; an untrained head moves nothing."""
    torch.manual_seed(0)
    head = BoundaryHead(6, K, num_levels=2)
    levels = levels_of()
    plain = PointHead.forward(head, levels)
    for ours, theirs in zip(head(levels), plain, strict=True):
        assert torch.equal(ours[plain[2]], theirs[plain[2]])
    nn.init.normal_(head.move.weight)
    offsets = head(levels)[1]
    finest, real = levels[0]
    at = 0
    for i, (x, level_mask) in enumerate(levels):
        for b, t in level_mask.nonzero().tolist():
            before = plain[1][b, at + t]
            last = int(real[b].sum()) - 1
            found = [x[b, t]]
            for place in (2**i * (t - before[0]), 2**i * (t + before[1])):
                place = min(max(place.item(), 0), last)
                low = min(int(place), last - 1)
                found.append(finest[b, low] + (place - low) * (finest[b, low + 1] - finest[b, low]))
            move = head.move(head.look(torch.cat(found)).relu())
            expected = (before + before.sum() * move).clamp(min=0)
            assert torch.allclose(offsets[b, at + t], expected, atol=1e-5)
        at += x.shape[1]


def test_top_down_adds_the_coarser_level_and_no_padding() -> None:
    torch.manual_seed(0)
    fusion = TopDownFusion(6, num_levels=2)
    (fine, mask), (coarse, coarse_mask) = levels = levels_of()
    (x, _), (last, _) = fusion(levels)
    assert last is coarse
    for b, t in mask.nonzero().tolist():
        assert coarse_mask[b, t // 2]
        added = fusion.layers[0](fusion.norms[0](coarse[b, t // 2]))
        assert torch.allclose(x[b, t], fine[b, t] + added, atol=1e-6)
    assert fusion(levels[:1] + levels[1:])[0][0][mask].isfinite().all()


# -- quality ---------------------------------------------------------------------------------------


def test_a_rating_is_another_output_of_the_same_head() -> None:
    torch.manual_seed(0)
    head = QualityHead(6, K, num_levels=2)
    said = head(levels_of())
    plain = HeadOutputs(*head.head(levels_of()))
    assert said.quality is not None
    assert said.quality.shape == said.mask.shape
    assert torch.equal(said.logits[said.mask], plain.logits[plain.mask])
    assert said.quality[said.mask].isfinite().all()


def test_the_rating_learns_the_iou_of_its_own_segment() -> None:
    _, offsets, mask, _, positives = outputs_and_positives()
    quality = torch.randn(mask.shape, requires_grad=True)
    for given in (offsets.requires_grad_(), offsets[:, :, 0].detach().requires_grad_()):
        found = quality_loss(quality, given, mask, positives, torch.tensor(7.0))
        expected = 0.0
        for video, point, label, true in zip(*positives, strict=True):
            if mask[video, point]:
                own = given[video, point] if given.ndim == 3 else given[video, point, label]
                iou, q = iou_of(own, true), quality[video, point].sigmoid().item()
                expected -= iou * math.log(q) + (1 - iou) * math.log(1 - q)
        assert found.item() == pytest.approx(expected / 7, rel=1e-4)
        assert torch.autograd.grad(found, given, allow_unused=True)[0] is None


def test_scores_are_multiplied_by_the_rating() -> None:
    logits, offsets, mask, points, _ = outputs_and_positives()
    quality = torch.randn(mask.shape)
    durations = torch.tensor([GRID.end_seconds(n) for n in (30, 12)])
    plain = Decoding(nms="none", max_segments=10**6)
    for power in (0.5, 2.0):
        rated = Decoding(nms="none", max_segments=10**6, score_power=power)
        found = rated(logits, offsets, mask, points, quality, durations=durations, grid=GRID)
        p = logits.sigmoid() * quality.sigmoid().unsqueeze(2) ** power
        expected = plain(p.logit(), offsets, mask, points, durations=durations, grid=GRID)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.scores is not None
            assert torch.allclose(ours.scores, theirs.scores, atol=1e-6)
            assert ours.scores.max() <= 1
    zero = Decoding(score_power=0.0)
    unrated = Decoding()(logits, offsets, mask, points, durations=durations, grid=GRID)
    rated_0 = zero(logits, offsets, mask, points, quality, durations=durations, grid=GRID)
    assert torch.equal(unrated[0].scores, rated_0[0].scores)


def test_varifocal_against_loops() -> None:
    logits, offsets, mask, _, positives = outputs_and_positives()
    criterion = VarifocalLoss(alpha=0.6, gamma=1.5).eval()
    plain = DetectionLoss().eval()
    found = criterion(logits, offsets, mask, positives)
    q = torch.zeros_like(logits)
    for video, point, label, true in zip(*positives, strict=True):
        q[video, point, label] = iou_of(offsets[video, point, label], true)
    expected = 0.0
    for place in mask.nonzero().tolist():
        for k in range(K):
            target, p = q[*place, k].item(), logits[*place, k].sigmoid().item()
            entropy = -target * math.log(p) - (1 - target) * math.log(1 - p)
            expected += entropy * (target if target > 0 else 0.6 * p**1.5)
    divisor = found["normalizer"].item()
    assert found["loss_cls"].item() == pytest.approx(expected / divisor, rel=1e-4)
    assert found["loss_reg"] == plain(logits, offsets, mask, positives)["loss_reg"]


# -- in a net --------------------------------------------------------------------------------------

PARTS = sorted(path.stem for path in (ROOT / "conf" / "part").glob("*.yaml"))
OF_THE_NET = (
    "agreement", "quality", "varifocal", "class_agnostic", "low_rank", "trident",
    "center_sampling", "overlapping_ranges", "task_aligned", "top_down", "boundary",
    "early_fusion", "cross_queries", "joint_pyramid", "plain_decoder",
)  # fmt: skip


def test_the_parts_of_the_net_are_among_those_of_the_config() -> None:
    assert set(OF_THE_NET) < set(PARTS)


@pytest.mark.parametrize("part", ["class_agnostic", "boundary"])
def test_a_head_of_one_event_a_point_leaves_the_radius_to_center_sampling(part: str) -> None:
    """In either order, and in a model that has it already."""

    def radius(*words: str) -> float | None:
        return instantiate(compose_config("train", [*words, "output_dir=x"]).model.assigner).radius

    assert radius(f"part={part}") is None
    assert radius(f"part=[{part},center_sampling]") == 1.5
    assert radius(f"part=[center_sampling,{part}]") == 1.5
    assert radius("model=loco_plus_small", f"part={part}") == 1.5


@pytest.mark.parametrize(
    "words",
    [
        ["part=[class_agnostic,task_aligned]"],
        ["part=quality", "+model.decoder.head.head._partial_=true",
         "+model.decoder.head.head._target_=loco.detection.heads.ClassAgnosticHead"],
        ["model=actionformer_small", "~model.assigner.radius",
         "model.assigner._target_=loco.detection.assignment.RangeAssigner"],
    ],
)  # fmt: skip
def test_boundaries_common_to_all_classes_need_one_event_a_point(words: list[str]) -> None:
    """Else a point would learn one of its events alone, the first by class, and nothing say so."""
    with pytest.raises(SettingError, match="assigner must give a point one event"):
        check_parts(compose_config("train", [*words, "output_dir=x"]))


def test_a_net_of_ones_own_is_refused_them_in_its_first_step() -> None:
    batch = make_batch((20,), TRUTH[:1])
    points = RangeAssigner().points(20, (1, 2, 4, 8, 16, 32))
    outputs = PointOutputs(
        torch.zeros(1, len(points), K), torch.ones(1, len(points), 2),
        torch.ones(1, len(points), dtype=torch.bool), points,
    )  # fmt: skip
    point_losses(outputs, batch, CenterAssigner(), DetectionLoss(), K)
    with pytest.raises(ValueError, match="assigner must give a point one event, as RangeAssigner"):
        point_losses(outputs, batch, RangeAssigner(), DetectionLoss(), K)


@pytest.mark.parametrize("model", ["loco", "unav", "actionformer", "tridet"])
def test_ranges_are_one_a_level(model: str) -> None:
    words = ["part=overlapping_ranges", f"model={model}_small", "model.num_levels=5"]
    with pytest.raises(SettingError, match=r"ranges must be one for each of the 5 levels, got 6"):
        check_parts(compose_config("train", [*words, "output_dir=x"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", [*OF_THE_NET, "[agreement,top_down,low_rank]", "[joint_pyramid,plain_decoder,top_down]"]
)
def test_a_net_with_a_part_learns_and_sees_no_padding(name: str) -> None:
    words = [f"part={name}", "model.dim=16", "model.heads=2", "model.drop_path=0", "output_dir=x"]
    torch.manual_seed(0)
    model = instantiate(
        compose_config("train", words).model, visual_channels=6, audio_channels=5, num_classes=K
    )
    batch = make_batch((40, 24), TRUTH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(25):
        optimizer.zero_grad()
        parts = model.losses(batch)
        total(parts).backward()
        optimizer.step()
        # sums, as their divisor falls; varifocal targets begin at 0 and grow with the segments
        watched = parts["loss_reg"] + (0 if name == "varifocal" else parts["loss_cls"])
        losses.append((watched * parts["normalizer"]).item())
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    model.eval()
    together = model.detect(batch)
    for b in range(2):
        (by_itself,) = model.detect(single(batch, b))
        assert len(by_itself) == len(together[b]) > 0
        assert torch.allclose(by_itself.scores, together[b].scores, atol=1e-5)
        assert (by_itself.scores <= 1).all()


def test_default_heads_are_what_they_were() -> None:
    """Of the class, so that a checkpoint without the setting builds the same net."""
    torch.manual_seed(0)
    config = compose_config("train", ["model.dim=16", "model.heads=2", "output_dir=x"])
    model = instantiate(config.model, visual_channels=6, audio_channels=5, num_classes=K)
    assert type(model.decoder.head) is PointHead
    assert model.decoder.gate is None
    assert model.decoder.neck is None
