"""VGGish: published sizes and names, its spectrogram by a plain formula, streaming as the whole."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from loco.errors import VideoError
from loco.structures import TimeGrid
from loco.video.encoders.logmel import mel_filters
from loco.video.encoders.vggish import SAMPLES, VGGish, VGGishNet
from loco.video.windows import sound_windows
from thin_weights import thin_state, write_thin


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> VGGish:
    with torch.device("meta"):
        net = VGGishNet()
    return VGGish(write_thin(tmp_path_factory.mktemp("vggish") / "vggish.pth", net))


def test_the_published_net() -> None:
    with torch.device("meta"):
        net = VGGishNet()
    assert sum(p.numel() for p in net.parameters()) == 72_141_184
    layers = [*(f"features.{i}" for i in (0, 3, 6, 8, 11, 13)),
              *(f"embeddings.{i}" for i in (0, 2, 4))]  # fmt: skip
    assert list(net.state_dict()) == [f"{n}.{p}" for n in layers for p in ("weight", "bias")]
    assert net.embeddings[0].in_features == 512 * 6 * 4  # type: ignore[union-attr]


def test_mel_filters_by_the_formula() -> None:
    """Triangles over the mel scale, 64 from 125 to 7500 Hz over 257 bins; none is empty."""

    def mel(hertz: float) -> float:
        return 1127 * math.log(1 + hertz / 700)

    expected = np.zeros((257, 64))
    width = (mel(7500) - mel(125)) / 65
    for band in range(64):
        low, peak, high = (mel(125) + width * (band + i) for i in range(3))
        for k in range(257):
            at = mel(k * 16_000 / 512)
            expected[k, band] = max(0, min((at - low) / (peak - low), (high - at) / (high - peak)))
    assert (expected.max(0) > 0).all()
    np.testing.assert_allclose(mel_filters(64, 512, 16_000, 125, 7500), expected, atol=1e-6)


def test_an_example_by_hand(encoder: VGGish) -> None:
    wave = np.random.default_rng(0).normal(0, 0.1, SAMPLES)
    found = encoder.examples(torch.from_numpy(wave)[None])
    assert found.shape == (1, 1, 96, 64)
    filters = mel_filters(64, 512, 16_000, 125, 7500)
    n = np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * n / 400)
    for row in (0, 1, 50, 95):
        frame = wave[160 * row : 160 * row + 400] * window
        # a discrete Fourier transform over 512 points of which 112 are 0
        waves = np.exp(-2j * np.pi * np.outer(np.arange(257), n) / 512)
        expected = np.log(np.abs(waves @ frame) @ filters + 0.01)
        np.testing.assert_allclose(found[0, 0, row], expected, atol=1e-4)


def test_the_numbers_of_torchvggish(encoder: VGGish) -> None:
    """Examples and embeddings of torchvggish 0.2 with the same weights, without its PCA."""
    waves = np.random.default_rng(0).normal(0, 0.1, (2, SAMPLES)).astype(np.float32)
    examples = encoder.examples(torch.from_numpy(waves))[:, 0]
    first, last = [-0.79794, -1.55128, -0.74084, -0.19196], [2.5832, 2.48236, 1.95874]
    np.testing.assert_allclose(examples[0, 0, :4], first, atol=1e-4)
    np.testing.assert_allclose(examples[1, 95, -3:], last, atol=1e-4)
    expected = [0.0126, 0, 0.064, 0.0105, 0, 0.0362, 0.1304, 0.0947]
    np.testing.assert_allclose(encoder.hear(waves)[0, :8], expected, atol=1e-4)


def test_maps_are_flattened_with_channels_last(encoder: VGGish) -> None:
    net = encoder._net
    x = torch.randn(2, 1, 96, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        maps = net.features(x)
        flat = torch.stack([
            torch.stack([maps[b, :, i, j] for i in range(6) for j in range(4)]).flatten()
            for b in range(2)
        ])  # fmt: skip
        torch.testing.assert_close(net(x), net.embeddings(flat))


def test_steps_of_a_stream_are_examples_of_the_whole(encoder: VGGish) -> None:
    """The authors make one spectrogram of a film and cut it each 32 rows."""
    wave = np.random.default_rng(1).normal(0, 0.1, 16_000 * 3).astype(np.float32)
    frames = torch.from_numpy(wave).double().unfold(0, 400, 160) * encoder._window
    rows = (torch.fft.rfft(frames, 512).abs() @ encoder._filters + 0.01).log().float()
    steps = (len(rows) - 96) // 32 + 1
    whole = torch.stack([rows[32 * t : 32 * t + 96] for t in range(steps)])[:, None]
    pieces = np.array_split(wave, 17)
    windows = sound_windows(pieces, 16_000, TimeGrid(25, 24, 8), steps, encoder.beyond)
    cut = np.stack(list(windows))
    assert cut.shape == (steps, SAMPLES)
    torch.testing.assert_close(encoder.examples(torch.from_numpy(cut)), whole)


def test_what_is_heard(encoder: VGGish) -> None:
    waves = np.random.default_rng(0).normal(0, 0.1, (2, SAMPLES)).astype(np.float32)
    waves[1] = 0  # silence is something, too
    heard = encoder.hear(waves)
    assert heard.shape == (2, encoder.channels)
    assert (heard >= 0).all()  # behind a ReLU
    assert (heard > 0).any()
    np.testing.assert_array_equal(heard, encoder.hear(waves))
    np.testing.assert_allclose(encoder.hear(waves[:1]), heard[:1], rtol=1e-3, atol=1e-4)


def test_what_it_refuses(encoder: VGGish, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"hears steps of 0.96 s, .* have 0.64 s"):
        encoder.hear(np.zeros((1, SAMPLES - 5120), np.float32))
    with pytest.raises(
        VideoError, match=r"not given \(weights=PATH of the extractor\); .*vggish-10086976.pth"
    ):
        VGGish()
    with pytest.raises(VideoError, match=r"gone.pth: .*found no such file.*torchvggish"):
        VGGish(tmp_path / "gone.pth")
    with torch.device("meta"):
        net = torch.nn.Linear(2, 2)
    torch.save(thin_state(net), tmp_path / "other.pth")
    with pytest.raises(VideoError, match="not the weights of VGGish"):
        VGGish(tmp_path / "other.pth")
