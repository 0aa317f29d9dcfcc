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
from torch import nn

from loco.errors import VideoError


class VisualEncoder(Protocol):
    """A vector of C channels for what is to be seen in a step.

    It may also have `shape = "short"`: pictures keep their proportions and `size` is their shorter
    side; and `pairs = True`: `look` is given one picture more, N + 1, and sees each with the next.
    """

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
    """A vector of C channels for what is to be heard in a step.

    It may also have `beyond`: samples that it hears after a step's end.
    """

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


def load_weights(
    path: str | Path | None, what: str, override: str, source: str = ""
) -> tuple[dict[str, Any], str]:
    """A state dict, and the SHA-256 of its file; only plain tensors are unpickled.

    Args:
        path: of the file.
        what: the net, for messages.
        override: the setting that takes the path.
        source: the file's published name, and whose it is.

    Raises:
        VideoError: there is no such file, or it holds something else.
    """
    where = f"; they are {source}" if source else ""
    if path is None:
        raise VideoError(
            f"the weights of {what} are not given ({override}=PATH of the extractor){where}"
        )
    path = Path(path)
    if not path.is_file():
        raise VideoError(
            f"{path}: expected the weights of {what}, found no such file ({override}=){where}"
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


def load_published(
    net: nn.Module, path: str | Path | None, what: str, override: str, source: str,
    unused: tuple[str, ...] = (),
) -> str:  # fmt: skip
    """Fill a net, on its way to be used only, from a published file; gives the file's SHA-256.

    Args:
        net: whose parts have the published names; they may be on the device `meta`.
        path: of the file.
        what: the net, for messages.
        override: the setting that takes the path.
        source: the file's published name, and whose it is.
        unused: what is in the names of tensors that are in the file and not in the net.

    Raises:
        VideoError: there is no such file, or it holds something else.
    """
    state, sha256 = load_weights(path, what, override, source)
    counts = ("num_batches_tracked",)  # of trainings, which files have or have not
    try:
        state = {
            name.removeprefix("module."): value.float().contiguous()
            for name, value in state.items()
            if not any(part in name for part in (*unused, *counts))
        }  # fmt: skip
        for name in net.state_dict():
            if name.endswith(counts):
                state[name] = torch.tensor(0)
        net.load_state_dict(state, assign=True)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise VideoError(f"{path}: not the weights of {what} ({source}): {reason}") from None
    net.eval().requires_grad_(False)
    return sha256


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
