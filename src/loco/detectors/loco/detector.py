"""LoCo, the detector: two encoders, a cross-modal pyramid, a decoder (paper Eq. 1)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from torch import Tensor, nn

from loco.detection.assignment import RangeAssigner
from loco.detection.decoding import Decoding
from loco.detection.heads import is_class_aware
from loco.detection.losses import DetectionLoss
from loco.detection.outputs import HeadOutputs, PointOutputs
from loco.detection.point_detector import PointDetector
from loco.detectors.loco.cdp import CrossModalDynamicPerception
from loco.detectors.loco.correspondence import CorrespondenceLoss
from loco.detectors.loco.decoder import Decoder
from loco.errors import MAX_LEVELS, check_number
from loco.nn.attention import AttentionFactory
from loco.nn.blocks import Asks, BlockFactory
from loco.nn.encoder import UnimodalEncoder
from loco.nn.pyramid import CrossModalPyramid
from loco.structures import Batch


class JointFactory(Protocol):
    """Makes from both modalities' channels and D what maps their features to one (B, T, D)."""

    def __call__(self, visual_channels: int, audio_channels: int, dim: int) -> nn.Module: ...


class Pyramid(Protocol):
    """A module that maps both streams (B, T, D) and a mask to levels of 2D channels."""

    @property
    def strides(self) -> tuple[int, ...]: ...

    def __call__(
        self, visual: Tensor, audio: Tensor, mask: Tensor
    ) -> list[tuple[Tensor, Tensor]]: ...


class PyramidFactory(Protocol):
    """Makes a pyramid from what makes a stream's blocks: its class, or a partial with settings."""

    def __call__(
        self, block: BlockFactory, *, num_levels: int, attention: AttentionFactory
    ) -> Pyramid: ...


class LoCo(PointDetector):
    """Locality-aware cross-modal correspondence learning; the defaults are the paper's size.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        num_classes: K.
        dim: width D of each stream.
        heads: attention heads H everywhere.
        num_convs: embedding convolutions of an encoder.
        encoder_blocks: transformer blocks of an encoder.
        num_levels: pyramid levels, strides 1, 2, 4, …
        decoder_blocks: transformer blocks of the decoder.
        drop_path: probability that a video skips a residual branch in training.
        layer_scale: what the residual branches' learnable channel scales start from.
        asks: whose steps are the pyramid's queries: those of a stream itself, which gathers the
            other one (paper), or those of its context, which picks from the stream's own (UnAV).
        joint: makes what both streams are given of the two together, after LCC has compared them
            and before the pyramid; None is nothing.
        pyramid: makes the pyramid: its class, or a partial with settings in it.
        decoder: makes the decoder: its class, or a partial with other parts in it.
        attention: makes the attention of each pyramid block: a strategy's class or a partial of it.
        correspondence: makes the correspondence loss from `dim`.
        assigner: which points answer for which events.
        criterion: classification and regression losses.
        decoding: from outputs to events.

    Source: LoCo, 2024 (arXiv 2409.07967).
    """

    losses_by_video = ("loss_lcc",)
    """Those that are no sum over points, see `loco.training.module`."""

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
        decoder_blocks: int = 2,
        drop_path: float = 0.1,
        layer_scale: float = 1e-4,
        asks: Asks = "self",
        joint: JointFactory | None = None,
        pyramid: PyramidFactory = CrossModalPyramid,
        decoder: Callable[..., Decoder] = Decoder,
        attention: AttentionFactory = CrossModalDynamicPerception,
        correspondence: Callable[[int], nn.Module] = CorrespondenceLoss,
        assigner: RangeAssigner | None = None,
        criterion: DetectionLoss | None = None,
        decoding: Decoding | None = None,
    ) -> None:
        super().__init__()
        check_number("num_levels", num_levels, 1, MAX_LEVELS, whole=True)
        block = BlockFactory(dim, heads, drop_path, layer_scale)
        self.visual_encoder, self.audio_encoder = (
            UnimodalEncoder(channels, block, num_convs=num_convs, num_blocks=encoder_blocks)
            for channels in (visual_channels, audio_channels)
        )
        self.joint = None if joint is None else joint(visual_channels, audio_channels, dim)
        self.pyramid = pyramid(
            replace(block, asks=asks), num_levels=num_levels, attention=attention
        )
        self.decoder = decoder(
            block, num_blocks=decoder_blocks, num_levels=num_levels, num_classes=num_classes
        )
        self.correspondence = correspondence(dim)
        self.assigner = RangeAssigner() if assigner is None else assigner
        self.criterion = DetectionLoss() if criterion is None else criterion
        self.decoding = Decoding() if decoding is None else decoding
        self.num_classes = num_classes
        self.assigner.check_fits(
            self.pyramid.strides, class_aware=is_class_aware(self.decoder.head)
        )

    def encode(self, visual: Tensor, audio: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Each modality on its own: (B, T, C) → (B, T, D), 0 in padding."""
        return self.visual_encoder(visual, mask), self.audio_encoder(audio, mask)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> PointOutputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1."""
        return self.locate(visual, audio, mask, self.encode(visual, audio, mask))

    def locate(
        self, visual: Tensor, audio: Tensor, mask: Tensor, streams: tuple[Tensor, Tensor]
    ) -> PointOutputs:
        """As `forward`, given also what `encode` makes of the features."""
        if self.joint is not None:
            together = self.joint(visual, audio, mask)
            streams = streams[0] + together, streams[1] + together
        said: HeadOutputs = self.decoder(self.pyramid(*streams, mask))
        points = self.assigner.points(mask.shape[1], self.pyramid.strides, mask.device)
        return PointOutputs(said.logits, said.offsets, said.mask, points, said.quality)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Those of `PointDetector`, and LCC's, which compares what the encoders say."""
        streams = self.encode(batch.visual, batch.audio, batch.mask)
        outputs = self.locate(batch.visual, batch.audio, batch.mask, streams)
        detection = self.detection_losses(outputs, batch)
        return detection | self.correspondence(*streams, batch.mask, batch)
