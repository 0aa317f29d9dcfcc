"""VSGN, the detector: video self-stitching and a graph pyramid (arXiv 2011.14598)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from loco.detectors.vsgn.anchors import decode, make_anchors
from loco.detectors.vsgn.decoding import BoxDecoding
from loco.detectors.vsgn.heads import BoundaryAdjustment, BoxHead, FrameHead
from loco.detectors.vsgn.losses import BoxLoss
from loco.detectors.vsgn.pyramid import CrossScaleGraphPyramid
from loco.detectors.vsgn.stitching import Layout, SelfStitch, make_targets
from loco.errors import MAX_LAYERS, MAX_LEVELS, check_number
from loco.nn.fusion import EarlyFusion
from loco.nn.layers import full_precision, zero_padding
from loco.structures import Batch, Events


class Outputs(NamedTuple):
    """What the net says of R rows with P anchors.

    Attributes:
        logits: (R, P, K + 1), background first; or (R, P, K) where classes are told by a sigmoid.
        boxes: (R, P, 2) starts and ends in frames, after regression.
        adjusted: (R, P, 2) the same after boundary adjustment.
        frames: (R, 3, L) probabilities of action, start and end.
    """

    logits: Tensor
    boxes: Tensor
    adjusted: Tensor
    frames: Tensor


class VSGN(nn.Module):
    """Video self-stitching graph network; the defaults are the published size, adapted to UnAV-100.

    Rows of a fixed length hold the videos, so that no result depends on what else is in a batch.
    The net (`forward`), the criterion and the decoding stand apart; `losses` and `detect` only wire
    them.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        num_classes: K.
        streams: channels that sight and sound are projected to before they are joined; None joins
            them as they are.
        length: L, frames of a row; longer videos are squeezed into one.
        dim: width D.
        num_levels: of the pyramid.
        stem_stride: s, of the convolution before it; levels have strides 2s, 4s, …
        neighbours: of a node of a graph; 0 for none, which leaves convolutions.
        head_convs: convolutions of a head before its last.
        scales: lengths of the anchors, in strides of their level.
        padding_nodes: whether graphs hear frames that show nothing, as the public code does.
        stitch: which videos are stitched.
        criterion: assignment and losses; its `classification` decides what the net says.
        decoding: from outputs to events.

    Source: Zhao, Thabet, Ghanem: VSGN, ICCV 2021 (arXiv 2011.14598).
    """

    anchors: Tensor

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        num_classes: int,
        *,
        streams: Sequence[int] | None = None,
        length: int = 256,
        dim: int = 256,
        num_levels: int = 5,
        stem_stride: int = 1,
        neighbours: int = 10,
        head_convs: int = 4,
        scales: Sequence[float] = (3.0, 7.5),
        padding_nodes: bool = False,
        stitch: SelfStitch | None = None,
        criterion: BoxLoss | None = None,
        decoding: BoxDecoding | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "num_classes": num_classes, "length": length, "dim": dim,
            "stem_stride": stem_stride,
        }  # fmt: skip
        for name, size in sizes.items():
            check_number(name, size, 1, whole=True)
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        check_number("neighbours", neighbours, 0, whole=True)
        check_number("head_convs", head_convs, 0, MAX_LAYERS, whole=True)
        for scale in scales or [0]:
            check_number("scales", scale, 0, without="low")
        coarsest = stem_stride * 2**num_levels
        if length < coarsest or length % coarsest:
            raise ValueError(
                f"length must be a multiple of the last stride {coarsest}, got {length}"
            )
        self.stitch = SelfStitch() if stitch is None else stitch
        if (1 - self.stitch.short) * length < self.stitch.gap + 2:
            raise ValueError(
                f"a gap of {self.stitch.gap} leaves no two frames of {length} for a magnified copy"
            )
        self.criterion = BoxLoss() if criterion is None else criterion
        self.decoding = BoxDecoding() if decoding is None else decoding
        self.length = length
        self.background = self.criterion.classification == "softmax"
        self.fusion = EarlyFusion(visual_channels, audio_channels, streams=streams)
        self.pyramid = CrossScaleGraphPyramid(
            self.fusion.out_channels, dim, num_levels=num_levels, stem_stride=stem_stride,
            neighbours=neighbours, padding_nodes=padding_nodes,
        )  # fmt: skip
        self.head = BoxHead(dim, len(scales), num_classes + self.background, head_convs)
        self.adjust = BoundaryAdjustment(dim)
        self.action, self.start, self.end = (FrameHead(dim) for _ in range(3))
        anchors = make_anchors(length, self.pyramid.strides, list(scales))
        self.register_buffer("anchors", anchors, persistent=False)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> Outputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1: a row a video."""
        layout = self.stitch.whole(mask.sum(1), self.length, self.training)
        return self.net(visual, audio, mask, layout)

    def net(self, visual: Tensor, audio: Tensor, mask: Tensor, layout: Layout) -> Outputs:
        """The same for the rows of a layout."""
        x = zero_padding(self.fusion(visual, audio, mask), mask)
        return self.from_rows(layout.fill(x), layout)

    def from_rows(self, rows: Tensor, layout: Layout) -> Outputs:
        """What is said of rows (R, L, C)."""
        levels = self.pyramid(rows, layout)
        logits, offsets = self.head(levels)
        finest = levels[0]
        frames = torch.stack(
            [head(finest, self.length) for head in (self.action, self.start, self.end)], dim=1
        )
        with full_precision(finest):
            boxes = decode(offsets, self.anchors)
        adjusted = self.adjust(finest, boxes, self.length, self.pyramid.strides[0])
        return Outputs(logits, boxes, adjusted, frames)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What to minimise is the sum of all entries, weights included.

        In training a long video may give a stitched clip of itself besides.
        """
        counts = batch.mask.sum(1)
        layout = self.stitch.whole(counts, self.length, self.training)
        if self.training:
            clips = self.stitch.clips(batch.events, batch.grid, counts, self.length)
            layout = layout.join(clips)
        outputs = self.net(batch.visual, batch.audio, batch.mask, layout)
        targets = make_targets(layout, batch.events, batch.grid)
        return self.criterion(
            *outputs, self.anchors, layout=layout, targets=targets, training=self.training
        )

    def detect(self, batch: Batch) -> list[Events]:
        """Events of each video, by descending score."""
        layout = self.stitch.whole(batch.mask.sum(1), self.length, training=False)
        outputs = self.net(batch.visual, batch.audio, batch.mask, layout)
        return self.decoding(
            self.probability(outputs.logits), outputs.adjusted, outputs.frames, layout,
            durations=batch.durations, grid=batch.grid,
        )  # fmt: skip

    def probability(self, logits: Tensor) -> Tensor:
        """(R, P, K) of the classes."""
        return logits.softmax(2)[..., 1:] if self.background else logits.sigmoid()
