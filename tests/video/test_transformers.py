"""Models of transformers, small ones made here and read from their folders, offline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loco.errors import VideoError

transformers: Any = pytest.importorskip("transformers", reason="needs the extra transformers")

from loco.video.encoders.transformers import Pictures, Sound  # noqa: E402


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    small = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1,
             "num_attention_heads": 2}  # fmt: skip
    vision = transformers.CLIPVisionConfig(**small, image_size=32, patch_size=8, projection_dim=12)
    transformers.CLIPVisionModelWithProjection(vision).save_pretrained(folder)
    size = {"height": 32, "width": 32}
    transformers.CLIPImageProcessor(size=size, crop_size=size).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def ast(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ast")
    config = transformers.ASTConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        max_length=64, num_mel_bins=32,
    )  # fmt: skip
    transformers.ASTModel(config).save_pretrained(folder)
    transformers.ASTFeatureExtractor(max_length=64, num_mel_bins=32).save_pretrained(folder)
    return folder


def test_pictures(clip: Path) -> None:
    encoder = Pictures(clip, every=8)
    assert (encoder.size, encoder.channels) == (32, 24)
    pixels = np.random.default_rng(0).integers(0, 255, (3, 32, 32, 3), dtype=np.uint8)
    seen = encoder.look(pixels)
    np.testing.assert_allclose(encoder.look(pixels[1:2])[0], seen[1], atol=1e-5)
    assert encoder.sum_up(seen[None]).shape == (1, 24)
    assert encoder.identity() == Pictures(clip, every=8).identity()
    assert len(encoder.identity()["weights"]) == 64


def test_sound(ast: Path) -> None:
    encoder = Sound(ast)
    assert (encoder.rate, encoder.channels) == (16_000, 16)
    waves = np.random.default_rng(0).normal(size=(2, 15360)).astype(np.float32)
    assert encoder.hear(waves).shape == (2, 16)


def test_what_is_no_model(tmp_path: Path, clip: Path) -> None:
    with pytest.raises(VideoError, match=r"with its config.json \(path=\)"):
        Pictures(tmp_path / "gone")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(VideoError, match="cannot be loaded"):
        Sound(tmp_path)
    with pytest.raises(ValueError, match="every must be"):
        Pictures(clip, every=0)
