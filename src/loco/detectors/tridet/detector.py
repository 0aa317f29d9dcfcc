"""TriDet: a pyramid of SGP blocks, a Trident head, and a classification that knows its quality.

It knows one stream: sight and sound are fused before it begins. Points are assigned whatever the
class, but each class has boundaries of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from loco.detection.assignment import RangeAssigner
from loco.detection.center_sampling import CenterAssigner
from loco.detection.decoding import Decoding
from loco.detection.losses import DetectionLoss
from loco.detection.outputs import PointOutputs
from loco.detection.point_detector import PointDetector
from loco.detection.trident import TridentHead
from loco.errors import MAX_LAYERS, MAX_LEVELS, check_number
from loco.nn.encoder import StreamEmbedding
from loco.nn.fusion import EarlyFusion
from loco.nn.pyramid import FeaturePyramid
from loco.nn.sgp import SGPBlock


class TriDet(PointDetector):
    """TriDet, fed with sight and sound.

    The defaults are the widths that it was published with for THUMOS, and the convolutions of its
    settings for longer videos, where its SGP blocks are alive: with `init_std=0`, as published for
    THUMOS, all their convolutions (gate, window, wide_window, instant, instant_gate) stay 0.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        num_classes: K.
        streams: channels that sight and sound are projected to before they are joined; None joins
            them as they are.
        dim: width D, a multiple of 16.
        feed_forward: width of the blocks' feed-forward parts.
        kernel: w of the pyramid's blocks; that of the blocks before it is 1.
        k: how much wider the second window of every block is.
        pool: how the pyramid downsamples, `max` or `average`.
        init_std: what the SGP convolutions start from; 0 leaves them dead.
        num_convs: embedding convolutions.
        stem_blocks: SGP blocks before the pyramid.
        num_levels: pyramid levels, strides 1, 2, 4, …
        bins: the farthest boundary that a point can tell, in strides.
        head_dim: width of the heads' hidden convolutions; None is D.
        positions: whether sinusoids of the absolute step are added after the embedding.
        input_noise: deviation of noise added to the features in training.
        drop_path: probability that a video skips a residual branch of the pyramid in training.
        layer_scale: what these branches' learnable channel scales start from.
        assigner: which points answer for which events; it must give a point one target.
        criterion: classification and regression losses.
        decoding: from outputs to events.

    Source: Shi et al.: TriDet, CVPR 2023 (arXiv 2303.07347).
    """

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        num_classes: int,
        *,
        streams: Sequence[int] | None = None,
        dim: int = 512,
        feed_forward: int = 768,
        kernel: int = 3,
        k: float = 1.5,
        pool: Literal["max", "average"] = "max",
        init_std: float = 0.2,
        num_convs: int = 2,
        stem_blocks: int = 2,
        num_levels: int = 6,
        bins: int = 16,
        head_dim: int | None = None,
        positions: bool = True,
        input_noise: float = 0.0005,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
        assigner: RangeAssigner | None = None,
        criterion: DetectionLoss | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        check_number("stem_blocks", stem_blocks, 0, MAX_LAYERS, whole=True)
        check_number("input_noise", input_noise, 0)
        self.input_noise = input_noise
        self.fusion = EarlyFusion(visual_channels, audio_channels, streams=streams)
        self.embedding = StreamEmbedding(
            self.fusion.out_channels, dim, num_convs=num_convs, positions=positions
        )
        self.stem = nn.ModuleList(
            SGPBlock(dim=dim, hidden=feed_forward, kernel=1, k=k, init_std=init_std)
            for _ in range(stem_blocks)
        )
        blocks = (
            SGPBlock(
                dim=dim, hidden=feed_forward, kernel=kernel, k=k, stride=2, pool=pool,
                init_std=init_std, drop_path=drop_path, layer_scale=layer_scale,
            )
            for _ in range(num_levels - 1)
        )  # fmt: skip
        self.pyramid = FeaturePyramid(blocks, dim)
        self.head = TridentHead(dim, num_classes, num_levels=num_levels, bins=bins, hidden=head_dim)
        self.assigner = CenterAssigner(radius=1.5) if assigner is None else assigner
        if criterion is None:
            criterion = DetectionLoss(regression="diou", quality_power=0.2)
        self.criterion = criterion
        self.decoding = Decoding() if decoding is None else decoding
        self.num_classes = num_classes
        self.assigner.check_fits(self.pyramid.strides)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> PointOutputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1."""
        if self.training and self.input_noise > 0:
            visual, audio = (x + self.input_noise * torch.randn_like(x) for x in (visual, audio))
        x = self.embedding(self.fusion(visual, audio, mask), mask)
        for block in self.stem:
            x = block(x, mask)
        logits, offsets, point_mask = self.head(self.pyramid(x, mask))
        points = self.assigner.points(mask.shape[1], self.pyramid.strides, mask.device)
        return PointOutputs(logits, offsets, point_mask, points)
