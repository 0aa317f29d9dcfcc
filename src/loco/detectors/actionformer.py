"""ActionFormer: local self-attention up a pyramid, one pair of boundaries a point.

It knows one stream: sight and sound are fused before it begins. A point's boundaries are common to
all classes, so that events of different classes compete for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor

from loco.detection.assignment import RangeAssigner
from loco.detection.center_sampling import CenterAssigner
from loco.detection.decoding import Decoding
from loco.detection.heads import ClassAgnosticHead
from loco.detection.losses import DetectionLoss
from loco.detection.outputs import PointOutputs
from loco.detection.point_detector import PointDetector
from loco.errors import MAX_LAYERS, MAX_LEVELS, check_number
from loco.nn.attention import AttentionFactory, FixedWindowAttention, GlobalAttention
from loco.nn.blocks import BlockFactory
from loco.nn.encoder import UnimodalEncoder
from loco.nn.fusion import EarlyFusion
from loco.nn.pyramid import FeaturePyramid


class ActionFormer(PointDetector):
    """ActionFormer, fed with sight and sound; the defaults are the published network's size.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        num_classes: K.
        streams: channels that sight and sound are projected to before they are joined; None joins
            them as they are.
        dim: width D.
        heads: attention heads H.
        window_size: w, a step sees ⌊w/2⌋ steps to either side; 1 is all steps. One for all levels,
            or one a level; the blocks before the pyramid have the first level's.
        num_convs: embedding convolutions.
        stem_blocks: transformer blocks before the pyramid.
        num_levels: pyramid levels, strides 1, 2, 4, …
        head_dim: width of the heads' hidden convolutions; None is D.
        positions: whether sinusoids of the absolute step are added after the embedding.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the residual branches' learnable channel scales start from.
        assigner: which points answer for which events; it must give a point one target.
        criterion: classification and regression losses.
        decoding: from outputs to events.

    Source: Zhang, Wu, Li: ActionFormer, ECCV 2022 (arXiv 2202.07925).
    """

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        num_classes: int,
        *,
        streams: Sequence[int] | None = None,
        dim: int = 512,
        heads: int = 4,
        window_size: int | Sequence[int] = 19,
        num_convs: int = 2,
        stem_blocks: int = 2,
        num_levels: int = 6,
        head_dim: int | None = None,
        positions: bool = True,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
        assigner: RangeAssigner | None = None,
        criterion: DetectionLoss | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        check_number("stem_blocks", stem_blocks, 0, MAX_LAYERS, whole=True)
        first, *others = _attentions(window_size, num_levels)
        block = BlockFactory(dim, heads, drop_path, layer_scale)
        self.fusion = EarlyFusion(visual_channels, audio_channels, streams=streams)
        self.encoder = UnimodalEncoder(
            self.fusion.out_channels, block,
            num_convs=num_convs, num_blocks=stem_blocks, positions=positions, attention=first,
        )  # fmt: skip
        self.pyramid = FeaturePyramid((block(stride=2, attention=of) for of in others), dim)
        self.head = ClassAgnosticHead(dim, num_classes, num_levels=num_levels, hidden=head_dim)
        self.assigner = CenterAssigner(radius=1.5) if assigner is None else assigner
        self.criterion = DetectionLoss(regression="diou") if criterion is None else criterion
        self.decoding = Decoding() if decoding is None else decoding
        self.num_classes = num_classes
        self.assigner.check_fits(self.pyramid.strides, class_aware=self.head.class_aware)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> PointOutputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1."""
        x = self.encoder(self.fusion(visual, audio, mask), mask)
        logits, offsets, point_mask = self.head(self.pyramid(x, mask))
        points = self.assigner.points(mask.shape[1], self.pyramid.strides, mask.device)
        return PointOutputs(logits, offsets, point_mask, points)


def _attentions(window_size: int | Sequence[int], num_levels: int) -> list[AttentionFactory]:
    """The attention of each level.

    Raises:
        ValueError: not one window a level, or one that is none.
    """
    sizes = list(window_size) if isinstance(window_size, Sequence) else [window_size] * num_levels
    if len(sizes) != num_levels:
        raise ValueError(
            f"window_size must be one number of steps, or {num_levels}, one a level, "
            f"got {window_size}"
        )
    for size in sizes:
        check_number("window_size", size, 1, whole=True)
    return [
        GlobalAttention if size == 1 else partial(FixedWindowAttention, window_size=size)
        for size in sizes
    ]
