"""Early fusion: sight and sound as one stream, for nets that know a single one or beside two."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from loco.errors import check_number
from loco.nn.encoder import StreamEmbedding
from loco.nn.layers import MaskedConv1d, zero_padding


class EarlyFusion(nn.Module):
    """Both modalities side by side, step by step: as they are, or projected first.

    Channels of another scale, or few beside many (VGGish's 128 next to I3D's 2048), are easily
    drowned where they are only concatenated; a projection for each stream gives both a say.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        streams: channels that sight and sound are projected to; None concatenates them as they are.
    """

    def __init__(
        self, visual_channels: int, audio_channels: int, *, streams: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        channels = (visual_channels, audio_channels)
        if streams is not None and not (isinstance(streams, Sequence) and len(streams) == 2):
            raise ValueError(f"streams must be two numbers of channels, got {streams}")
        for name, count in zip(("visual_channels", "audio_channels"), channels, strict=True):
            check_number(name, count, 1, whole=True)
        for width in streams or ():
            check_number("streams", width, 1, whole=True)
        self.out_channels = sum(channels if streams is None else streams)
        self.projections = nn.ModuleList(
            MaskedConv1d(before, after, kernel=1)
            for before, after in zip(channels, streams or (), strict=streams is not None)
        )

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C_visual) and (B, T, C_audio), mask (B, T) → (B, T, `out_channels`).

        What stands in padding has no meaning.
        """
        both = [visual, audio]
        if self.projections:
            pairs = zip(self.projections, both, strict=True)
            both = [project(stream, mask) for project, stream in pairs]
        return torch.cat(both, dim=-1)


class JointEmbedding(nn.Module):
    """What both modalities say together of each step, before either has been read on its own.

    Args:
        visual_channels, audio_channels: feature channels of the data.
        dim: width D.
        width: channels that each is projected to before convolutions see both.
        num_convs: convolutions (kernel 3, LayerNorm, ReLU).
    """

    def __init__(
        self,
        visual_channels: int,
        audio_channels: int,
        dim: int,
        *,
        width: int = 128,
        num_convs: int = 2,
    ) -> None:
        super().__init__()
        self.fusion = EarlyFusion(visual_channels, audio_channels, streams=(width, width))
        self.embedding = StreamEmbedding(2 * width, dim, num_convs=num_convs, positions=False)

    def forward(self, visual: Tensor, audio: Tensor, mask: Tensor) -> Tensor:
        """(B, T, C_visual) and (B, T, C_audio), mask (B, T) → (B, T, D), 0 in padding."""
        return zero_padding(self.embedding(self.fusion(visual, audio, mask), mask), mask)
