"""VGGish, by which UnAV-100's published features hear: a spectrogram seen as a picture.

Net: Hershey et al., CNN Architectures for Large-Scale Audio Classification (arXiv 1609.09430); the
names of its parts are those of the published weights. What is given is the output of the last
ReLU; the whitening and the quantisation to 8 bits that other tools put behind it are left out, as
in UnAV's files. A step hears 0.96 s and one begins each 0.32 s, by the layout's grid.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loco.errors import VideoError
from loco.video.encoders.base import load_published
from loco.video.encoders.logmel import mel_filters

SOURCE = "vggish-10086976.pth of the releases of harritaylor/torchvggish"
RATE = 16_000
FRAME, HOP, FFT = 400, 160, 512  # samples: 25 ms, each 10 ms
SPECTRA, BANDS = 96, 64
LOW, HIGH = 125.0, 7_500.0  # Hz
OFFSET = 0.01
SAMPLES = (SPECTRA - 1) * HOP + FRAME  # that an example hears, 0.975 s


class VGGishNet(nn.Module):
    """(B, 1, 96, 64) of log-mel examples → (B, 128)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 1
        for convolutions in ((64,), (128,), (256, 256), (512, 512)):
            for width in convolutions:
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        inputs = channels * (SPECTRA // 16) * (BANDS // 16)
        self.embeddings = nn.Sequential(
            nn.Linear(inputs, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, 4096), nn.ReLU(inplace=True),
            nn.Linear(4096, 128), nn.ReLU(inplace=True),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x)  # (B, 512, 6, 4)
        # the weights come from TensorFlow, where channels are last
        embedded: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return embedded


class VGGish:
    """What VGGish hears in a step, C = 128.

    Args:
        weights: the state dict's file.

    Raises:
        VideoError: there is no such file, or it holds something else.
    """

    name = "vggish"
    channels = 128
    rate = RATE
    beyond = SAMPLES - SPECTRA * HOP
    unchecked = "VGGish"

    def __init__(self, weights: str | Path | None = None) -> None:
        with torch.device("meta"):  # to be filled
            self._net = VGGishNet()
        self._device = "cpu"
        self._sha256 = load_published(self._net, weights, "VGGish", "weights", SOURCE)
        self._window = torch.hann_window(FRAME, dtype=torch.float64)
        self._filters = torch.from_numpy(mel_filters(BANDS, FFT, RATE, LOW, HIGH)).double()

    def to(self, device: str) -> None:
        """Runs there from now on."""
        self._net, self._device = self._net.to(device), device

    def examples(self, waves: Tensor) -> Tensor:
        """(B, 15600) → (B, 1, 96, 64), log of the magnitudes' mel bands."""
        frames = waves.double().unfold(1, FRAME, HOP) * self._window
        magnitudes = torch.fft.rfft(frames, FFT).abs()
        return (magnitudes @ self._filters + OFFSET).log().float()[:, None]

    @torch.inference_mode()
    def hear(self, waves: np.ndarray) -> np.ndarray:
        """(B, 15600) float32 → (B, 128).

        Raises:
            VideoError: steps of another length.
        """
        if waves.shape[1] != SAMPLES:
            raise VideoError(
                f"VGGish hears steps of {SPECTRA * HOP / RATE} s, as a window of 24 at 25 fps is, "
                f"those of the layout have {(waves.shape[1] - self.beyond) / RATE:g} s"
            )
        examples = self.examples(torch.from_numpy(waves))
        return np.asarray(self._net(examples.to(self._device)).cpu().numpy())

    def identity(self) -> dict[str, Any]:
        """The weights; all else is fixed."""
        return {"name": self.name, "weights": self._sha256}
