"""An event is what is seen *and* heard: classes of each modality, of which the weaker counts."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from loco.detection.heads import ConvHead, start_from_prior
from loco.errors import check_number


class AgreementGate(nn.Module):
    """Lets either stream keep a class from being an event.

    Each stream says of each point how likely it shows a class; a class's logit becomes the soft
    minimum of the joint one and these two. Nothing else teaches them than the events themselves.

    Args:
        dim: channels D of a stream.
        num_classes: K.
        temperature: θ of the soft minimum, in logits; towards 0 it is the minimum.
        num_convs: convolutions of each stream's head.
        prior: probability that an untrained gate gives every class.
    """

    def __init__(
        self,
        dim: int,
        num_classes: int,
        *,
        temperature: float = 1.0,
        num_convs: int = 2,
        prior: float = 0.01,
    ) -> None:
        super().__init__()
        check_number("temperature", temperature, 0, without="low")
        check_number("prior", prior, 0, 1, without="low high")
        self.temperature = temperature
        self.visual, self.audio = (ConvHead(dim, num_classes, num_convs) for _ in range(2))
        for head in (self.visual, self.audio):
            start_from_prior(head, prior)

    def forward(self, logits: Tensor, levels: list[tuple[Tensor, Tensor]]) -> Tensor:
        """The gated logits.

        Args:
            logits: (B, P, K) of both streams together.
            levels: both streams side by side, (B, T_l, 2D), sight first, and mask (B, T_l).
        """
        seen, heard = [], []
        for x, mask in levels:
            visual, audio = x.chunk(2, dim=-1)
            seen.append(self.visual(visual, mask))
            heard.append(self.audio(audio, mask))
        return soft_minimum(
            torch.stack([logits, torch.cat(seen, 1), torch.cat(heard, 1)]), self.temperature
        )


def soft_minimum(x: Tensor, temperature: float) -> Tensor:
    """−θ · log mean exp(−x / θ) over the first dimension: of equal values it is that value."""
    return -temperature * ((-x / temperature).logsumexp(0) - math.log(len(x)))
