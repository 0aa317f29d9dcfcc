"""TadTR, the detector: set prediction with deformable attention (arXiv 2106.10271)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn

from loco.detectors.tadtr.actionness import Actionness
from loco.detectors.tadtr.decoding import SetDecoding
from loco.detectors.tadtr.deformable import DeformableAttention
from loco.detectors.tadtr.losses import SetLoss
from loco.detectors.tadtr.matching import make_targets
from loco.detectors.tadtr.transformer import Decoder, Encoder
from loco.errors import MAX_LAYERS, check_number
from loco.nn.fusion import EarlyFusion
from loco.nn.layers import MaskedGroupNorm, zero_padding
from loco.structures import Batch, Events


class Outputs(NamedTuple):
    """What the net says with Q queries, L decoder layers one after the other.

    Attributes:
        logits: (L, B, Q, K) class scores before the sigmoid.
        segments: (L, B, Q, 2) centres and widths in [0, 1], as fractions of a video's real steps.
        actionness: (B, Q) how well the last layer's segments fit events, in [0, 1]; None if asked
            for none.
    """

    logits: Tensor
    segments: Tensor
    actionness: Tensor | None


class Projection(nn.Module):
    """A linear layer and GroupNorm: (B, T, C) → (B, T, D)."""

    def __init__(self, in_channels: int, dim: int, *, groups: int = 32) -> None:
        super().__init__()
        self.linear = nn.Linear(in_channels, dim)
        self.norm = MaskedGroupNorm(math.gcd(groups, dim), dim)
        nn.init.xavier_uniform_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        return self.norm(self.linear(zero_padding(x, mask)), mask)


class TadTR(nn.Module):
    """Temporal action detection with a transformer; the defaults are the published size.

    The net (`forward`), the criterion and the decoding stand apart; `losses` and `detect` only wire
    them.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        num_classes: K.
        streams: channels that sight and sound are projected to before they are joined; None joins
            them as they are.
        dim: width D.
        heads: attention heads H everywhere.
        encoder_layers, decoder_layers: their numbers; L is the latter.
        encoder_points, decoder_points: points P that a head reads there.
        feed_forward: width of the feed-forward parts.
        num_queries: Q, the most events that can be said of a video.
        dropout: in all layers.
        actionness: whether segments are rated by what the memory holds there.
        criterion: matching and losses.
        decoding: from outputs to events.

    Source: Liu et al.: TadTR, 2021 (arXiv 2106.10271).
    """

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        num_classes: int,
        *,
        streams: Sequence[int] | None = None,
        dim: int = 256,
        heads: int = 8,
        encoder_layers: int = 4,
        decoder_layers: int = 4,
        encoder_points: int = 4,
        decoder_points: int = 4,
        feed_forward: int = 1024,
        num_queries: int = 40,
        dropout: float = 0.1,
        actionness: bool = True,
        criterion: SetLoss | None = None,
        decoding: SetDecoding | None = None,
    ) -> None:
        super().__init__()
        sizes = {
            "num_classes": num_classes, "dim": dim,
            "num_queries": num_queries, "feed_forward": feed_forward,
        }  # fmt: skip
        for name, size in sizes.items():
            check_number(name, size, 1, whole=True)
        check_number("decoder_layers", decoder_layers, 1, MAX_LAYERS, whole=True)
        check_number("encoder_layers", encoder_layers, 0, MAX_LAYERS, whole=True)
        check_number("dropout", dropout, 0, 1, without="high")
        self.fusion = EarlyFusion(visual_channels, audio_channels, streams=streams)
        self.project = Projection(self.fusion.out_channels, dim)
        self.encoder = Encoder(dim, heads, encoder_points, feed_forward, dropout, encoder_layers)
        self.decoder = Decoder(
            dim, heads, decoder_points, feed_forward, dropout, decoder_layers,
            num_queries=num_queries, num_classes=num_classes,
        )  # fmt: skip
        self.actionness = Actionness(dim) if actionness else None
        self.criterion = SetLoss() if criterion is None else criterion
        self.decoding = SetDecoding() if decoding is None else decoding
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Xavier for what the transformer is made of; deformable attention has its own start."""
        for layer in [*self.encoder.layers, *self.decoder.layers]:
            for parameter in layer.parameters():
                if parameter.ndim > 1:
                    nn.init.xavier_uniform_(parameter)
        for module in self.modules():
            if isinstance(module, DeformableAttention):
                module.reset_parameters()
        nn.init.xavier_uniform_(self.decoder.reference_points.weight)
        nn.init.zeros_(self.decoder.reference_points.bias)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> Outputs:
        """Features (B, T, C_visual) and (B, T, C_audio), mask (B, T), any T ≥ 1."""
        x = self.project(self.fusion(visual, audio, mask), mask)
        memory = self.encoder(x, mask)
        logits, segments, _ = self.decoder(memory, mask)
        rating = None if self.actionness is None else self.actionness(memory, mask, segments[-1])
        return Outputs(logits, segments, rating)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """What to minimise is the sum of all entries, weights included."""
        outputs: Outputs = self(batch.visual, batch.audio, batch.mask)
        targets = make_targets(batch.events, batch.grid, batch.mask.sum(1))
        return self.criterion(
            outputs.logits, outputs.segments, outputs.actionness, targets, training=self.training
        )

    def detect(self, batch: Batch) -> list[Events]:
        """Events of each video, by descending score."""
        logits, segments, actionness = self(batch.visual, batch.audio, batch.mask)
        return self.decoding(
            logits[-1], segments[-1], actionness, batch.mask.sum(1),
            durations=batch.durations, grid=batch.grid,
        )  # fmt: skip
