"""Perception Encoder Audiovisual, which sees and hears into one space: from a local folder.

The class is `PeAudioVideoModel` of the package transformers (Apache-2.0, as are the weights); its
tower for pictures needs timm and torchvision besides. Nothing is fetched. Pictures and sound are
embedded each by itself, as files of a layout are; its encoder of both together is not used.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from loco.errors import VideoError
from loco.video.encoders.transformers import (
    import_transformers,
    named_folder,
    read_config,
    sha256_of_folder,
)

KIND = "PeAudioVideoModel"
FILES = ("video_preprocessor_config.json", "preprocessor_config.json", "processor_config.json")
"""Where a folder may say how input is prepared, flat or in groups."""


class PeAvPictures:
    """What PE-AV sees in a step, C as wide as the joint space.

    Args:
        path: folder of the model.
        size: pixels to a side; None is what the folder says.
        every: moments from a picture that is seen to the next.

    Raises:
        ValueError: a number is out of its range.
        VideoError: packages are missing, or the folder holds no such model.
    """

    name = "pe-av-pictures"
    unchecked = "PE-AV"

    def __init__(self, path: str | Path, size: int | None = None, every: int = 4) -> None:
        if every < 1 or (size is not None and size < 1):
            raise ValueError(f"size and every must be ≥ 1, got {size} and {every}")
        self.folder, self.every, self._device = Path(path), every, "cpu"
        model = load_model(self.folder).video_model
        self._encoder, self._head = model.video_encoder, model.video_head
        self.size = size or side_of(self.folder)
        mean, deviation = (
            torch.tensor(preparation(self.folder, key)).view(1, -1, 1, 1)
            for key in ("image_mean", "image_std")
        )
        self._mean, self._deviation = mean, deviation
        # the tower that looks at single pictures is taken out, so that overlapping windows share it
        self._tower = self._encoder.embedder.vision_model
        self._encoder.embedder.vision_model = _Seen()
        self.channels = int(self._head.proj.out_features)

    def to(self, device: str) -> None:
        """Runs there from now on."""
        for part in (self._tower, self._encoder, self._head):
            part.to(device)
        self._device = device

    @torch.inference_mode()
    def look(self, pictures: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 → (N, D) float32."""
        x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        x = (x - self._mean) / self._deviation
        return np.asarray(self._tower(x.to(self._device)).logits.float().cpu().numpy())

    @torch.inference_mode()
    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        """(B, N, D) → (B, C)."""
        x = torch.from_numpy(windows).to(self._device)
        found = self._head(self._encoder(pixel_values_videos=x).pooler_output)
        return np.asarray(found.float().cpu().numpy())

    def identity(self) -> dict[str, Any]:
        """Settings and weights."""
        return {
            "name": self.name, "size": self.size, "every": self.every,
            "weights": sha256_of_folder(self.folder),
        }  # fmt: skip


class PeAvSound:
    """What PE-AV hears in a step, C as wide as the joint space.

    Args:
        path: folder of the model.

    Raises:
        VideoError: packages are missing, or the folder holds no such model.
    """

    name = "pe-av-sound"
    unchecked = "PE-AV"

    def __init__(self, path: str | Path) -> None:
        self.folder, self._device = Path(path), "cpu"
        model = load_model(self.folder).audio_model
        self._encoder, self._head = model.audio_encoder, model.audio_head
        self.rate = int(preparation(self.folder, "sampling_rate"))
        self._hop = int(self._encoder.config.dac_config.hop_length)
        self.channels = int(self._head.proj.out_features)

    def to(self, device: str) -> None:
        """Runs there from now on."""
        for part in (self._encoder, self._head):
            part.to(device)
        self._device = device

    @torch.inference_mode()
    def hear(self, waves: np.ndarray) -> np.ndarray:
        """(B, samples) → (B, C); the end is reflected up to a whole vector of 40 ms."""
        missing = -waves.shape[1] % self._hop
        waves = np.pad(waves, ((0, 0), (0, missing)), "reflect")
        x = torch.from_numpy(waves)[:, None].to(self._device)
        found = self._head(self._encoder(input_values=x).pooler_output)
        return np.asarray(found.float().cpu().numpy())

    def identity(self) -> dict[str, Any]:
        """The weights."""
        return {"name": self.name, "weights": sha256_of_folder(self.folder)}


class _Seen(nn.Module):
    """In place of the tower: what it gave is its input already."""

    def forward(self, x: Tensor) -> SimpleNamespace:
        return SimpleNamespace(logits=x)


def load_model(folder: Path) -> Any:
    """The whole model, to be used only.

    Raises:
        VideoError: packages are missing, or the folder holds no such model.
    """
    transformers = import_transformers()
    with named_folder(folder):
        kinds = read_config(folder).get("architectures") or ["none"]
        if kinds[0] != KIND:
            raise VideoError(f"{folder}: expected a model of the class {KIND}, found {kinds[0]}")
        if not hasattr(transformers, KIND):
            raise VideoError(f"transformers {transformers.__version__} has no {KIND}: update it")
        model = getattr(transformers, KIND).from_pretrained(folder, local_files_only=True)
    return model.eval().requires_grad_(False)


def preparation(folder: Path, key: str) -> Any:
    """What a folder says about how input is prepared.

    Raises:
        VideoError: it does not say it.
    """
    for name in FILES:
        if (folder / name).is_file():
            with named_folder(folder):
                values = read_config(folder, name)
            for group in (values, *(v for v in values.values() if isinstance(v, dict))):
                if group.get(key) is not None:
                    return group[key]
    raise VideoError(f"{folder}: expected {key} in one of {', '.join(FILES)}")


def side_of(folder: Path) -> int:
    """Pixels to a side of the pictures that a model takes.

    Raises:
        VideoError: the folder does not say it.
    """
    size = preparation(folder, "size")
    side = size.get("height", size.get("shortest_edge")) if isinstance(size, dict) else size
    if not isinstance(side, int) or side < 1:
        raise VideoError(f"{folder}: how large pictures are is {size}, expected a height (size=)")
    return side
