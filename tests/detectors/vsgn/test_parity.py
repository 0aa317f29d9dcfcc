"""What the public code answers on small inputs."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from torch import Tensor

from loco.detectors.vsgn.anchors import assign, decode, make_anchors, overlaps
from loco.detectors.vsgn.decoding import BoxDecoding
from loco.detectors.vsgn.detector import VSGN
from loco.detectors.vsgn.graph import GraphLayer, neighbours
from loco.detectors.vsgn.heads import BoundaryAdjustment, BoxHead
from loco.detectors.vsgn.losses import (
    BoxLoss,
    balanced_cross_entropy,
    box_loss,
    frame_targets,
)
from loco.detectors.vsgn.pyramid import CrossScaleGraphPyramid
from loco.detectors.vsgn.stitching import Layout, SelfStitch, Targets, make_targets
from loco.structures import Events, TimeGrid
from vsgn_weights import figures, same, weights


def layout_of(case: dict[str, Tensor], length: int, gap: int, short: float = 0.4) -> Layout:
    stitch = SelfStitch(short=short, clip=0.0, gap=gap)
    return stitch.whole(case["num_frames"], length, training=True)


def targets_of(case: dict[str, Tensor], length: int) -> Targets:
    """Theirs are fractions of the length, and class 0 is the background."""
    real = torch.arange(case["gt"].shape[1]) < case["num_gt"].unsqueeze(1)
    return Targets(case["gt"][..., :2] * length, (case["gt"][..., 2].long() - 1).clamp(min=0), real)


def test_anchors() -> None:
    case = figures("anchors")
    settings = {name.rpartition(".")[0] for name in case}
    assert len(settings) == 6
    for setting in settings:
        length, stride, scales = re.match(
            r"(?:thumos_|T)(\d+)_stride(\d+)_scales([\d._]+?)(?:_3levels)?$", setting
        ).groups()  # type: ignore[union-attr]
        levels = [case[name] for name in sorted(case) if name.startswith(f"{setting}.")]
        strides = [int(stride) * 2**level for level in range(len(levels))]
        ours = make_anchors(int(length), strides, [float(s) for s in scales.split("_")])
        assert same(ours, torch.cat(levels))


def test_assignment() -> None:
    case = figures("assignment")
    anchors, targets = case["anchors"], targets_of(case, 256)
    assert same(make_anchors(256, [4, 8, 16, 32, 64], [1, 1.5]), anchors)
    iou = overlaps(anchors, targets)
    assert same(iou[0].T, case["iou_video0"])
    for stage, threshold in (("stage1", 0.5), ("stage2", 0.7)):
        event = assign(iou, threshold)
        assert torch.equal(event, case[f"{stage}_matched"])
        label = targets.labels.gather(1, event.clamp(min=0)) + 1
        assert torch.equal(torch.where(event >= 0, label, 0), case[f"{stage}_labels"].long())
        decoded = decode(case[f"{stage}_encoded"], anchors)[event >= 0]
        row, _ = (event >= 0).nonzero(as_tuple=True)
        assert torch.allclose(decoded, targets.boxes[row, event[event >= 0]], atol=1e-3)
    assert same(decode(case["decode_offsets"], anchors), case["decoded"])


@pytest.mark.parametrize("stitched", [False, True])
def test_graph_layer(stitched: bool) -> None:
    case = figures("graph_layer")
    layer = GraphLayer(8, 4)
    layer.load_state_dict(weights(case))
    x, kind = case["x"].mT, "vss" if stitched else "plain"
    layout = layout_of(case, 32, 3, 0.4 if stitched else 0.0)
    assert layout.stitched.tolist() == [stitched, False, stitched]
    everywhere = torch.ones(3, 16, dtype=torch.bool)
    right = torch.arange(16) >= (layout.right // 2).unsqueeze(1)
    found = neighbours(x, everywhere, right, 4)
    assert torch.equal(found.sort(2).values, case[f"{kind}_neighbours"].sort(2).values)
    assert same(layer(x, everywhere, right).mT, case[f"{kind}_output"])


@torch.no_grad()
@pytest.mark.parametrize("graph", [True, False])
def test_pyramid(graph: bool) -> None:
    """Theirs takes any of the masked nodes where one on the right finds too few on the left.

    That happens once here, in the third video at the coarsest of the levels.
    """
    case = figures("pyramid")
    pyramid = CrossScaleGraphPyramid(
        6, 8, num_levels=3, stem_stride=2, neighbours=4 if graph else 0, padding_nodes=True
    )
    pyramid.load_state_dict(weights(case, "w." if graph else "c."))
    layout, prefix = layout_of(case, 32, 3), "" if graph else "conv_"
    theirs = [case[f"{prefix}enc{level}"].mT for level in range(3)]
    ours = pyramid.encode(case["input"].mT, layout)
    if graph:
        assert not same(ours[2][2, 0], theirs[2][2, 0])
        ours[2][2, 0] = theirs[2][2, 0]
    for level in range(3):
        assert same(ours[level], theirs[level])
    for level, decoded in enumerate(reversed(pyramid.decode(ours))):
        assert same(decoded, case[f"{prefix}dec{level}"])


@torch.no_grad()
def test_heads_and_their_losses() -> None:
    case = figures("heads_losses")
    head = BoxHead(32, 2, 5, 2)
    head.load_state_dict(weights(case, convs=2))
    fine_to_coarse = [case[f"feature{level}"] for level in (2, 1, 0)]
    logits, offsets = head(fine_to_coarse)
    for ours, name in ((logits, "cls"), (offsets, "reg")):
        theirs = [case[f"{name}{level}"].mT.flatten(1).unflatten(1, (-1, ours.shape[2]))
                  for level in (2, 1, 0)]  # fmt: skip
        assert same(ours, torch.cat(theirs, dim=1))
    assert same(logits.softmax(2), case["scores"])
    boxes = decode(offsets, case["anchors"])
    assert same(boxes, case["boxes"])
    targets = targets_of(case, 32)
    loss = BoxLoss().class_loss(logits, overlaps(boxes, targets), targets)
    assert same(loss, case["loss_cls"])
    by_anchor = assign(overlaps(case["anchors"], targets), 0.5)
    assert same(box_loss(boxes, by_anchor, targets), case["loss_reg"])


@torch.no_grad()
def test_boundary_adjustment() -> None:
    case = figures("boundary")
    adjust = BoundaryAdjustment(6)
    adjust.load_state_dict(weights(case))
    moved = adjust(case["features"], case["boxes"], 64, 4)
    assert same(moved, case["adjusted"])
    offsets = torch.stack([case["start_offsets"], case["end_offsets"]], dim=2)
    assert torch.allclose(moved - case["boxes"], offsets, atol=1e-5)
    targets = targets_of(case, 64)
    event = assign(overlaps(case["boxes"], targets), 0.7)
    assert same(box_loss(moved, event, targets), case["loss"])


def stitched_case() -> tuple[dict[str, Tensor], Tensor, Layout, Targets]:
    """Frames 8 … 29 stitched, and frames 0 … 63, as two rows."""
    case = figures("stitch")
    first, last = (torch.stack([case[row][i] for row in ("clip", "window")]) for i in (0, 1))
    steps = last - first + 1
    layout = SelfStitch(short=0.4, clip=0.0, gap=4)._layout(
        torch.tensor([0, 0]), first, steps, steps <= 0.4 * 64, torch.tensor([True, True]), 64
    )
    grid = TimeGrid(fps=2_000_000, window=1, stride=1_000_000)
    inside = case["segments_seconds"]
    events = Events(inside, case["labels"] - 1)
    x = torch.cat([case["rgb"], case["flow"]]).T.unsqueeze(0)
    return case, x, layout, make_targets(layout, [events], grid)


def test_stitching() -> None:
    case, x, layout, targets = stitched_case()
    rows = layout.fill(x)
    assert layout.frames.tolist() == [int(case["stitched_num_frames"]), 64]
    assert same(rows[0].T, case["stitched_features"])
    assert same(rows[1].T, case["window_features"])
    assert torch.equal(targets.labels[0] + 1, case["stitched_gt"][:, 2].long())
    theirs = case["stitched_gt"][:, :2] * 64
    assert torch.allclose(targets.boxes[0, :2], theirs[:2], atol=1e-4)
    # on the right theirs are moved by another map than the features, and rounded
    moved = (targets.boxes[0, :2] * 38 / 22 + 26).round()
    assert torch.allclose(moved, theirs[2:], atol=1e-4)
    assert (targets.boxes[0, 2:] - theirs[2:]).abs().max() < 1
    assert targets.real[1].tolist() == [True, True, False, False]
    assert torch.allclose(targets.boxes[1, :2], case["window_gt"][:, :2] * 64, atol=1e-4)


def test_targets_and_losses_of_frames() -> None:
    case, _, layout, targets = stitched_case()
    boxes = targets.boxes.clone()
    boxes[0, 2:] = case["stitched_gt"][2:, :2] * 64
    true = frame_targets(layout, Targets(boxes.round(), targets.labels, targets.real))
    for ours, name in zip(true, ("action", "start", "end"), strict=True):
        theirs = torch.stack([case[f"stitched_{name}"], case[f"window_{name}"]])
        assert same(ours, (theirs > 0).float() if name == "action" else theirs)
        loss = balanced_cross_entropy(case[f"pred_{name}"], ours)
        assert same(loss, case[f"loss_{name}"])


@torch.no_grad()
def test_the_whole_net() -> None:
    case = figures("net")
    model = VSGN(
        3, 2, 2, length=64, dim=32, num_levels=3, stem_stride=2, neighbours=4, head_convs=1,
        scales=(1, 1.5), padding_nodes=True, stitch=SelfStitch(clip=0.0, gap=4),
    )  # fmt: skip
    model.load_state_dict(weights(case))
    layout = layout_of(case, 64, 4)
    outputs = model.from_rows(case["input"].mT, layout)
    assert same(outputs.boxes, case["boxes"])
    assert same(outputs.logits.softmax(2), case["scores"])
    assert same(outputs.adjusted, case["adjusted"])
    for ours, name in zip(
        outputs.frames.unbind(1), ("actionness", "startness", "endness"), strict=True
    ):
        assert same(ours, case[name])
    targets = targets_of(case, 64)
    losses = model.criterion(*outputs, model.anchors, layout, targets)
    for ours, theirs, weight in (
        ("cls", "cls_dec", 1), ("reg", "reg_dec", 1), ("action", "action", 0.2),
        ("start", "start", 0.2), ("end", "end", 0.2), ("adjusted", "bd_adjust", 1),
    ):  # fmt: skip
        assert same(losses[f"loss_{ours}"] / weight, case[f"loss_{theirs}"]), ours


def test_decoding() -> None:
    """With steps of a second; theirs map the right part back by the ratio of the lengths."""
    case = figures("inference")
    layout = layout_of(case, 64, 4)
    layout.magnified[0] = (64 - 22 - 4) / 22
    decoding = BoxDecoding(nms="hard", iou_threshold=0.4, max_segments=10_000)
    frames = torch.stack(
        [torch.zeros_like(case["startness"]), case["startness"], case["endness"]], 1
    )
    found = decoding(
        case["scores"][..., 1:], case["boxes"], frames, layout,
        durations=case["num_frames"].double() - 1,
        grid=TimeGrid(fps=1_000_000, window=1, stride=1_000_000),
    )  # fmt: skip
    for video, events in enumerate(found):
        theirs = case[f"video{video}_detections"].numpy()
        ours = torch.cat(
            [events.segments, events.scores[:, None], events.labels[:, None] + 1], dim=1
        ).numpy()
        assert len(ours) == len(theirs)
        ours, theirs = (a[np.lexsort((-a[:, 2], a[:, 3]))] for a in (ours, theirs))
        assert np.allclose(ours, theirs, atol=1e-4 * 64)
        assert np.allclose(ours[:, 2:], theirs[:, 2:], atol=1e-5)
