"""CDP, cross-modal dynamic perception: attention windows that follow the context (Eq. 6–8)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from loco.nn.attention import Attention, checked_window_size, sliding_window_attention
from loco.nn.layers import downsample_mask, full_precision, zero_padding
from loco.nn.sampling import interpolate


class CrossModalDynamicPerception(Attention):
    """CDP: keys and values are sampled from target windows that follow the context (Eq. 6–8).

    The context is cut into base windows of w steps. Window adaptation (Eq. 7) gives each base
    window and head a size s and an offset o; the head samples w points, evenly spaced over the
    target window that they describe. The samples, stacked back to length T, are what a sliding
    window attends to (Eq. 8). The adaptation starts at 0, where CDP is `FixedWindowAttention`.
    """

    def __init__(self, *, dim: int, heads: int, stride: int = 1, window_size: int = 8) -> None:
        super().__init__(dim=dim, heads=heads, stride=stride)
        self.window_size = checked_window_size(window_size)
        self.adaptation = nn.Linear(dim, 2 * heads)  # a 1×1 convolution over base windows
        nn.init.zeros_(self.adaptation.weight)
        nn.init.zeros_(self.adaptation.bias)

    def attend(
        self, query: Tensor, key: Tensor, value: Tensor, context: Tensor, mask: Tensor
    ) -> Tensor:
        points = self.sampling_points(*self.adapt_windows(context, mask), mask.shape[1])
        last = mask.sum(1)[:, None, None] - 1
        visible = mask[:, None] & (points >= 0) & (points <= last)
        points = torch.where(visible, points, 0)
        key, value = interpolate(torch.cat([key, value], dim=-1), points, last).chunk(2, dim=-1)
        return sliding_window_attention(query, key, value, visible, self.window_size // 2)

    def target_points(self, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Where the heads look in a context (B, T, D) with its mask (B, T), to draw it.

        Returns:
            (B, H, T') sampling points in steps of the context downsampled, T' = ⌈T/stride⌉, a base
            window's points one after the other; and the mask (B, T').
        """
        coarse = downsample_mask(mask, self.stride)
        size, offset = self.adapt_windows(self.key.features(context, mask), coarse)
        return self.sampling_points(size, offset, coarse.shape[1]), coarse

    def adapt_windows(self, context: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 7: sizes s and offsets o, (B, H, W) each, of the W = ⌈T/w⌉ base windows.

        Average pool of a base window's real steps, LeakyReLU, 1×1 convolution.
        """
        w = self.window_size
        spare = -context.shape[1] % w
        windows = functional.pad(zero_padding(context, mask), (0, 0, 0, spare))
        real = functional.pad(mask, (0, spare)).unflatten(1, (-1, w)).sum(2, keepdim=True)
        with full_precision(context):  # positions: a rounded one is another place in the video
            windows = windows.unflatten(1, (-1, w)).to(self.adaptation.weight.dtype)
            pooled = windows.sum(2) / real.clamp(min=1)
            adapted = self.adaptation(functional.leaky_relu(pooled))
        size, offset = adapted.transpose(1, 2).chunk(2, dim=1)
        return size, offset

    def sampling_points(self, size: Tensor, offset: Tensor, num_steps: int) -> Tensor:
        """p_k = c_i + o·w + (1 + s)·(k − (w − 1)/2) of every slot i·w + k < T: (B, H, T) steps."""
        w = self.window_size
        step = torch.arange(num_steps, device=size.device)
        within = (step % w) - (w - 1) / 2
        centre = step - within
        size, offset = (x.repeat_interleave(w, dim=2)[..., :num_steps] for x in (size, offset))
        return centre + offset * w + (1 + size) * within
