"""Any model of pictures or of sound of the package `transformers`, from a folder on this machine.

Nothing is fetched and no code of the folder is run. The class is the one that the folder's own
`config.json` names. Of what a model gives, the embedding counts, else the pooled output, else the
mean of the last layer.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from loco.errors import VideoError
from loco.video.encoders.base import mean_and_deviation, sha256_of

log = logging.getLogger(__name__)


def import_transformers() -> Any:
    """The package.

    Raises:
        VideoError: it is not installed; says how to.
    """
    try:
        import transformers
    except ImportError as error:
        raise VideoError(
            f"this encoder needs transformers ({error}): pip install '.[transformers]' in loco's "
            "checkout"
        ) from None
    return transformers


@contextmanager
def named_folder(folder: Path) -> Iterator[None]:
    """Loads a model; what goes wrong is said of its folder.

    Raises:
        VideoError: no such folder, or whatever one of another kind makes transformers raise.
    """
    if not (folder / "config.json").is_file():
        raise VideoError(
            f"{folder}: expected the folder of a model of transformers, with its config.json "
            "(path=)"
        )
    try:
        yield
    except VideoError:
        raise
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:150]
        raise VideoError(f"{folder}: cannot be loaded ({type(error).__name__}: {reason})") from None


def read_config(folder: Path, name: str = "config.json") -> dict[str, Any]:
    """The values of one of a folder's files."""
    values: dict[str, Any] = json.loads((folder / name).read_text(encoding="utf-8"))
    return values


def sha256_of_folder(folder: Path) -> str:
    """Of all that a model's numbers depend on."""
    files = sorted(
        file for pattern in ("*.safetensors", "*.bin", "*config.json")
        for file in folder.glob(pattern)
    )  # fmt: skip
    sums = "".join(f"{file.name} {sha256_of(file)}\n" for file in files)
    return hashlib.sha256(sums.encode()).hexdigest()


class _Model:
    """A model in a folder, and what prepares its input."""

    def __init__(self, path: str | Path, preparer: str) -> None:
        transformers = import_transformers()
        self.folder, self.device = Path(path), "cpu"
        with named_folder(self.folder):
            kind = read_config(self.folder)["architectures"][0]
            given: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
            self.prepare = getattr(transformers, preparer).from_pretrained(self.folder, **given)
            model = getattr(transformers, kind).from_pretrained(self.folder, local_files_only=True)
        self.model = model.eval()

    def to(self, device: str) -> None:
        self.model, self.device = self.model.to(device), device

    @torch.inference_mode()
    def vectors(self, inputs: Any, function: str) -> np.ndarray:
        """(N, D) float32 of N inputs; by the model's own function where it has it."""
        given = {name: value.to(self.device) for name, value in inputs.items()}
        call = getattr(self.model, function, None)
        found = self.model(**given) if call is None else call(**given)
        if not isinstance(found, Tensor):
            found = next(
                (
                    value for name in ("image_embeds", "audio_embeds", "pooler_output")
                    if (value := getattr(found, name, None)) is not None
                ),
                found.last_hidden_state.mean(1),
            )  # fmt: skip
        return np.asarray(found.float().cpu().numpy())


class Pictures:
    """Mean and deviation over a step's pictures of what a model sees in each, C = 2 · D.

    Args:
        path: folder of the model, such as one of CLIP, SigLIP or DINOv2.
        size: pixels to a side; None is what the model's own preparation makes.
        every: moments from a picture that is seen to the next.

    Raises:
        ValueError: a number is out of its range.
        VideoError: transformers is not installed, or the folder holds no such model.
    """

    name = "transformers-pictures"

    def __init__(self, path: str | Path, size: int | None = None, every: int = 4) -> None:
        if every < 1 or (size is not None and size < 1):
            raise ValueError(f"size and every must be ≥ 1, got {size} and {every}")
        self._model = _Model(path, "AutoImageProcessor")
        self.size, self.every = size or _side(self._model.prepare, self._model.folder), every
        one = np.zeros((1, self.size, self.size, 3), np.uint8)
        self.channels = 2 * self.look(one).shape[1]

    def to(self, device: str) -> None:
        """Runs there from now on."""
        self._model.to(device)

    def look(self, pictures: np.ndarray) -> np.ndarray:
        """(N, size, size, 3) uint8 → (N, D) float32."""
        inputs = self._model.prepare(
            images=list(pictures), return_tensors="pt", do_resize=False, do_center_crop=False,
            input_data_format="channels_last",
        )  # fmt: skip
        return self._model.vectors({"pixel_values": inputs["pixel_values"]}, "get_image_features")

    def sum_up(self, windows: np.ndarray) -> np.ndarray:
        """(B, N, D) → (B, 2 · D)."""
        return mean_and_deviation(windows)

    def identity(self) -> dict[str, Any]:
        """Settings and weights."""
        return {
            "name": self.name, "size": self.size, "every": self.every,
            "weights": sha256_of_folder(self._model.folder),
        }  # fmt: skip


class Sound:
    """What a model hears in a step.

    Args:
        path: folder of the model, such as one of AST or CLAP.

    Raises:
        VideoError: transformers is not installed, or the folder holds no such model.
    """

    name = "transformers-sound"

    def __init__(self, path: str | Path) -> None:
        self._model = _Model(path, "AutoFeatureExtractor")
        self.rate = int(self._model.prepare.sampling_rate)
        self.channels = self.hear(np.zeros((1, self.rate), np.float32)).shape[1]

    def to(self, device: str) -> None:
        """Runs there from now on."""
        self._model.to(device)

    def hear(self, waves: np.ndarray) -> np.ndarray:
        """(B, samples) → (B, D)."""
        inputs = self._model.prepare(list(waves), sampling_rate=self.rate, return_tensors="pt")
        return self._model.vectors(inputs, "get_audio_features")

    def identity(self) -> dict[str, Any]:
        """Settings and weights."""
        return {"name": self.name, "weights": sha256_of_folder(self._model.folder)}


def _side(prepare: Any, folder: Path) -> int:
    """Pixels to a side of what a preparation makes."""
    for name in ("crop_size", "size"):
        size = getattr(prepare, name, None)
        for key in ("height", "shortest_edge"):
            try:
                return int(size[key])  # type: ignore[index]
            except (TypeError, KeyError):
                continue
    raise VideoError(f"{folder}: its preparation does not say how large pictures are (size=)")
