"""What an encoder must have. One is a plain object with numbers; no class needs to be derived from.

The work is in two parts, so that what overlapping windows share is done once: an encoder of
pictures first looks at each picture, then sums up a window of what it saw.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from loco.errors import VideoError


class VisualEncoder(Protocol):
    """A vector of C channels for what is to be seen in a step."""

    name: str
    channels: int
    size: int
    """Pixels to a side of the pictures that it takes, the whole picture in a square."""
    every: int
    """Moments from a picture that it sees to the next."""

    def look(self, pictures: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 → (N, …), each picture by itself; the pictures themselves where
        it needs a whole window at once."""
        ...

    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        """(B, N, …) of what was seen in B steps → (B, C)."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that its numbers depend on: settings, and the SHA-256 of its weights."""
        ...


class AudioEncoder(Protocol):
    """A vector of C channels for what is to be heard in a step."""

    name: str
    channels: int
    rate: int
    """Samples a second that it takes."""

    def hear(self, waves: np.ndarray) -> np.ndarray:
        """(B, samples) float32 of B steps, in [−1, 1] → (B, C)."""
        ...

    def identity(self) -> dict[str, Any]:
        """All that its numbers depend on: settings, and the SHA-256 of its weights."""
        ...


def mean_and_deviation(windows: np.ndarray) -> np.ndarray:
    """(B, N, D) of what was seen in B steps → (B, 2 · D)."""
    return np.concatenate([windows.mean(1), windows.std(1)], 1)


def load_weights(path: str | Path, what: str, override: str) -> tuple[dict[str, Any], str]:
    """A state dict, and the SHA-256 of its file; only plain tensors are unpickled.

    Args:
        path: of the file.
        what: the net, for messages.
        override: the setting that takes the path.

    Raises:
        VideoError: there is no such file, or it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise VideoError(
            f"{path}: expected the weights of {what}, found no such file ({override}=)"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever another file makes torch raise
        reason = (str(error).splitlines() or [type(error).__name__])[0][:100]
        raise VideoError(
            f"{path}: expected the weights of {what} ({override}=): {reason}"
        ) from None
    if not isinstance(state, dict):
        raise VideoError(f"{path}: expected the weights of {what}, found {type(state).__name__}")
    return state, sha256_of(path)


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
