"""Mean and deviation of a step's log-mel spectrum: an audio encoder that has nothing to learn.

It hears how loud each pitch is and how much that changes, and no more.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

FLOOR = 1e-5  # of a band's power: silence, rather than −∞


class LogMel:
    """Mean and deviation over a step of log-mel bands, C = 2 · bands.

    Args:
        bands: of the mel scale.
        rate: samples a second.
        frame: seconds that a spectrum sees.
        hop: seconds from one spectrum to the next.
        low: Hz, where the lowest band begins.
        high: Hz, where the highest one ends, at most half the rate.

    Raises:
        ValueError: a number is out of its range.
    """

    name = "logmel"

    def __init__(
        self,
        bands: int = 64,
        rate: int = 16_000,
        frame: float = 0.025,
        hop: float = 0.01,
        low: float = 60.0,
        high: float = 7_800.0,
    ) -> None:
        if bands < 1 or rate < 1 or not 0 < hop <= frame:
            raise ValueError(
                f"expected bands and rate ≥ 1 and 0 < hop ≤ frame, got {bands}, {rate}, {hop}, "
                f"{frame}"
            )
        if not 0 <= low < high <= rate / 2:
            raise ValueError(f"expected 0 ≤ low < high ≤ rate/2, got {low}, {high} at {rate}")
        self.channels, self.rate = 2 * bands, rate
        self._settings = {"bands": bands, "rate": rate, "frame": frame, "hop": hop, "low": low,
                          "high": high}  # fmt: skip
        self._frame, self._hop = round(frame * rate), max(1, round(hop * rate))
        self._fft = 1 << (self._frame - 1).bit_length()
        self._window = torch.hann_window(self._frame)
        self._filters = torch.from_numpy(mel_filters(bands, self._fft, rate, low, high))

    @torch.inference_mode()
    def hear(self, waves: np.ndarray) -> np.ndarray:
        """(B, samples) → (B, 2 · bands): means, then deviations."""
        x = torch.from_numpy(waves)
        if x.shape[1] < self._frame:
            x = torch.nn.functional.pad(x, (0, self._frame - x.shape[1]))
        frames = x.unfold(1, self._frame, self._hop) * self._window  # (B, F, frame)
        power = torch.fft.rfft(frames, self._fft).abs().square()
        mel = (power @ self._filters).clamp(min=FLOOR).log()  # (B, F, bands)
        summed = torch.cat([mel.mean(1), mel.std(1, correction=0)], 1)
        return np.asarray(summed.numpy())

    def identity(self) -> dict[str, Any]:
        """Settings; there are no weights."""
        return {"name": self.name, **self._settings}


def mel_filters(bands: int, fft: int, rate: int, low: float, high: float) -> np.ndarray:
    """Triangles of equal width on the mel scale, (fft // 2 + 1, bands) float32, peaks of 1.

    Mel of f Hz: 1127 · ln(1 + f/700). A band narrower than the spectrum's raster takes the bin
    that is nearest to its peak.
    """
    first, last = (1127 * float(np.log1p(hertz / 700)) for hertz in (low, high))
    edges = np.linspace(first, last, bands + 2)
    bins = 1127 * np.log1p(np.arange(fft // 2 + 1) * rate / fft / 700)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = np.clip(np.minimum(rising, falling), 0, None)
    for band in np.flatnonzero(filters.max(0) == 0):
        filters[np.abs(bins - edges[band + 1]).argmin(), band] = 1
    return filters.astype(np.float32)
