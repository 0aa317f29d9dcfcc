"""UnAV, the detector (Geng et al., CVPR 2023): the system that LoCo and UniAV start from."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.detection.assignment import RangeAssigner
from loco.detection.decoding import Decoding
from loco.detection.heads import ConvHead, start_from_prior
from loco.detection.losses import DetectionLoss
from loco.detection.outputs import PointOutputs
from loco.detection.point_detector import PointDetector
from loco.detectors.unav.dependency import DependencyBlock
from loco.errors import MAX_LEVELS, check_number
from loco.nn.attention import GlobalAttention
from loco.nn.blocks import BlockFactory
from loco.nn.encoder import UnimodalEncoder
from loco.nn.pyramid import CrossModalPyramid


class UnAV(PointDetector):
    """Two encoders, a cross-modal pyramid, a dependency block, class-aware heads.

    In every block the queries have a norm of their own. In the pyramid they come from the other
    stream, while keys, values and the skip are a stream's own: sound says at which moments sight is
    gathered, and sight where sound is. The defaults are the published size.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        num_classes: K.
        dim: width D of each stream.
        heads: attention heads H of encoders and pyramid.
        num_convs: embedding convolutions of an encoder.
        encoder_blocks: transformer blocks of an encoder.
        num_levels: pyramid levels, strides 1, 2, 4, …
        dependency: whether there is a dependency block; five sixths of the operations are its.
        class_dim: its width h for each class.
        head_dim: width of the heads' hidden convolutions.
        drop_path: probability that a sample skips a residual branch in training.
        layer_scale: what the residual branches' learnable channel scales start from.
        assigner: which points answer for which events.
        criterion: classification and regression losses; None is that of UnAV's code, with DIoU.
        decoding: from outputs to events.

    Source: Geng et al.: UnAV, CVPR 2023.
    """

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        num_classes: int,
        *,
        dim: int = 512,
        heads: int = 4,
        num_convs: int = 2,
        encoder_blocks: int = 2,
        num_levels: int = 6,
        dependency: bool = True,
        class_dim: int = 128,
        head_dim: int = 512,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
        assigner: RangeAssigner | None = None,
        criterion: DetectionLoss | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        block = BlockFactory(dim, heads, drop_path, layer_scale, asks="context")
        self.visual_encoder, self.audio_encoder = (
            UnimodalEncoder(channels, block, num_convs=num_convs, num_blocks=encoder_blocks)
            for channels in (visual_channels, audio_channels)
        )
        self.pyramid = CrossModalPyramid(block, num_levels=num_levels, attention=GlobalAttention)
        self.dependency = (
            DependencyBlock(
                2 * dim, num_classes,
                class_dim=class_dim, drop_path=drop_path, layer_scale=layer_scale,
            )
            if dependency
            else None
        )  # fmt: skip
        self.classify = ConvHead(2 * dim, num_classes, hidden=head_dim)
        self.regress = ConvHead(2 * dim, 2 * num_classes, hidden=head_dim)
        self.scales = nn.Parameter(torch.ones(num_levels))
        start_from_prior(self.classify)
        self.assigner = RangeAssigner() if assigner is None else assigner
        self.criterion = DetectionLoss(regression="diou") if criterion is None else criterion
        self.decoding = Decoding() if decoding is None else decoding
        self.num_classes = num_classes
        self.assigner.check_fits(self.pyramid.strides)

    def encode(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Each modality on its own: (B, T, C) → (B, T, D), 0 in padding."""
        return self.visual_encoder(visual, mask), self.audio_encoder(audio, mask)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> PointOutputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1."""
        visual, audio = self.encode(visual, audio, mask)
        levels = self.pyramid(visual, audio, mask)
        logits, offsets = [], []
        for (x, level_mask), scale in zip(levels, self.scales, strict=True):
            if self.dependency is not None:
                x = self.dependency(x, level_mask)
            logits.append(self.classify(x, level_mask))
            distances = functional.relu(self.regress(x, level_mask) * scale)
            offsets.append(distances.unflatten(2, (-1, 2)))
        points = self.assigner.points(mask.shape[1], self.pyramid.strides, mask.device)
        point_mask = torch.cat([level_mask for _, level_mask in levels], 1)
        return PointOutputs(torch.cat(logits, 1), torch.cat(offsets, 1), point_mask, points)
