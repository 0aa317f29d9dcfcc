"""I3D and RAFT: published sizes and names, naive loops, tiny inputs, streaming as the whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from loco.errors import VideoError
from loco.video.encoders.flow import I3DFlow, quantised, to_grain
from loco.video.encoders.i3d import I3DColours, I3DNet, Pool, middle
from loco.video.encoders.raft import RAFT, correlation_levels, enlarged, look_up, places
from thin_weights import thin_state, write_thin


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Weights as they are published: with logits, and RAFT's as of a parallel training."""
    folder = tmp_path_factory.mktemp("weights")
    logits = torch.nn.Conv3d(1024, 400, 1).state_dict()
    for stream, inputs in (("rgb", 3), ("flow", 2)):
        with torch.device("meta"):
            net = I3DNet(inputs)
        state = thin_state(net) | {f"conv3d_0c_1x1.conv3d.{k}": v for k, v in logits.items()}
        torch.save(state, folder / f"i3d_{stream}.pt")
    with torch.device("meta"):
        raft = RAFT()
    state = {f"module.{name}": value for name, value in thin_state(raft, 1).items()}
    for number in (2, 3):
        for part in ("weight", "bias", "running_mean", "running_var"):
            there = f"module.cnet.layer{number}.0.downsample.1.{part}"
            state[f"module.cnet.layer{number}.0.norm3.{part}"] = state[there]
    torch.save(state, folder / "raft.pth")
    return {path.stem: path for path in folder.iterdir()}


def colours(files: dict[str, Path], **settings: Any) -> I3DColours:
    return I3DColours(files["i3d_rgb"], **{"size": 40, "crop": 32} | settings)


def flow(files: dict[str, Path], **settings: Any) -> I3DFlow:
    small = {"size": 64, "crop": 32, "rounds": 2}
    return I3DFlow(files["i3d_flow"], files["raft"], **small | settings)


# -- the nets --------------------------------------------------------------------------------------


def test_the_published_nets() -> None:
    """12.3 M each without the 400 logits; RAFT 5.26 M, as its paper and torchvision have it."""
    with torch.device("meta"):
        rgb, two, raft = I3DNet(3), I3DNet(2), RAFT()
    counts = [sum(p.numel() for p in net.parameters()) for net in (rgb, two, raft)]
    assert counts == [12_287_264, 12_287_264 - 7**3 * 64, 5_257_536]
    names = set(rgb.state_dict())
    assert {"conv3d_1a_7x7.conv3d.weight", "conv3d_2c_3x3.batch3d.running_var",
            "mixed_4f.branch_0.batch3d.bias", "mixed_5b.branch_2.1.conv3d.weight",
            "mixed_5c.branch_3.1.conv3d.weight"} <= names  # fmt: skip
    assert not any(name.endswith("conv3d.bias") for name in names)
    names = set(raft.state_dict())
    assert {"fnet.conv1.weight", "fnet.layer2.0.downsample.0.weight", "cnet.norm1.running_mean",
            "cnet.layer3.0.downsample.1.weight", "update_block.encoder.convc1.weight",
            "update_block.gru.convq2.bias", "update_block.flow_head.conv2.weight",
            "update_block.mask.2.weight"} <= names  # fmt: skip
    assert not any(name.startswith("fnet") and ".norm" in name for name in names)


def test_raft_has_the_numbers_of_torchvision() -> None:
    """Of `raft_large` of torchvision 0.28 with the same weights, 3 rounds."""
    net = RAFT(3)
    net.load_state_dict(thin_state(net, 1), strict=False)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 128, 136, 3), dtype=np.uint8)
    first, second = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().split(1)
    with torch.inference_mode():
        flow = net.eval()(first, second)[0]
    expected = [[-2.50605, 2.44962], [5.56842, 11.67864], [-1.17487, 5.57893], [2.59077, 1.58731]]
    places = [(0, 0), (10, 20), (40, 7), (127, 135)]
    np.testing.assert_allclose([flow[:, i, j] for i, j in places], expected, atol=2e-3)


def test_i3d_has_the_numbers_of_the_public_layers() -> None:
    """Of the layers of video_features' net with the same weights, its head over 1 × 1 for 7 × 7."""
    net = I3DNet(3)
    net.load_state_dict(thin_state(net), strict=False)
    pixels = np.random.default_rng(0).integers(0, 256, (1, 3, 24, 32, 32)).astype(np.float32)
    with torch.inference_mode():
        seen = net.eval()(torch.from_numpy(pixels) / 127.5 - 1)[0]
    np.testing.assert_allclose(seen[:6], [0.0126, 0, 0, 0, 0, 0.0117], atol=1e-4)


def test_maps_shrink_as_published() -> None:
    """24 moments of 224 × 224 become 3 × 7 × 7, of which the head makes two means."""
    sizes = []
    net = I3DNet(3).eval()
    x = torch.zeros(1, 3, 24, 224, 224, device="meta")
    for name, part in net.to("meta").named_children():
        x = part(x)
        sizes.append((name, tuple(x.shape[1:])))
    found = dict(sizes)
    assert found["conv3d_1a_7x7"] == (64, 12, 112, 112)
    assert found["maxPool3d_3a_3x3"] == (192, 12, 28, 28)
    assert found["mixed_3c"] == (480, 12, 28, 28)
    assert found["maxPool3d_4a_3x3"] == (480, 6, 14, 14)
    assert found["mixed_5c"] == (1024, 3, 7, 7)


def test_pools_by_a_loop() -> None:
    x = torch.rand(1, 1, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    found = Pool((3, 3, 3), (2, 2, 2))(x)[0, 0]
    # one of padding in all, at the end; what is outside is 0; a box that is begun counts
    assert found.shape == (3, 2, 3)
    for t in range(3):
        for i in range(2):
            for j in range(3):
                box = x[0, 0, 2 * t : 2 * t + 3, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3]
                assert found[t, i, j] == box.max()


def test_the_head_weighs_the_middle_twice(files: dict[str, Path]) -> None:
    encoder = colours(files)
    x = torch.rand(1, 3, 24, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        last = x
        for part in encoder._net.children():
            last = part(last)
        means = last.mean((3, 4))  # (1, 1024, 3)
        expected = (means[..., 0] + 2 * means[..., 1] + means[..., 2]) / 4
        torch.testing.assert_close(encoder._net(x), expected)


def test_correlations_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(2, 3, 8, 10, generator=generator) for _ in range(2))
    levels = correlation_levels(first, second)
    assert [tuple(level.shape[-2:]) for level in levels] == [(8, 10), (4, 5), (2, 2), (1, 1)]
    place = places(first) + 3 * torch.randn(2, 2, 8, 10, generator=generator)
    found = look_up(levels, place)
    assert found.shape == (2, 4 * 81, 8, 10)
    for b, row, column, number in [(0, 0, 0, 0), (1, 5, 9, 0), (1, 7, 2, 1), (0, 3, 4, 2),
                                   (1, 4, 4, 3)]:  # fmt: skip
        coarse = second[b]
        for _ in range(number):
            coarse = F.avg_pool2d(coarse, 2)
        table = torch.einsum("d,dij->ij", first[b, :, row, column], coarse) / 3**0.5
        x, y = (float(value) / 2**number for value in place[b, :, row, column])
        expected = [_between(table, y + dy, x + dx) for dx in range(-4, 5) for dy in range(-4, 5)]
        mine = found[b, 81 * number : 81 * number + 81, row, column]
        torch.testing.assert_close(mine, torch.tensor(expected), atol=1e-4, rtol=1e-4)


def _between(table: torch.Tensor, y: float, x: float) -> float:
    """A table's value between four entries; 0 outside."""
    total = 0.0
    top, left = int(np.floor(y)), int(np.floor(x))
    for i in (top, top + 1):
        for j in (left, left + 1):
            if 0 <= i < table.shape[0] and 0 <= j < table.shape[1]:
                total += (1 - abs(y - i)) * (1 - abs(x - j)) * float(table[i, j])
    return total


def test_enlarging_by_a_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(1, 2, 3, 4, generator=generator)
    mask = torch.randn(1, 9 * 64, 3, 4, generator=generator)
    found = enlarged(coarse, mask)
    assert found.shape == (1, 2, 24, 32)
    weights = mask.view(9, 8, 8, 3, 4).softmax(0)
    around = F.pad(coarse[0], (1, 1, 1, 1))
    for y, x in [(0, 0), (7, 8), (13, 21), (23, 31)]:
        i, j = y // 8, x // 8
        nine = around[:, i : i + 3, j : j + 3].reshape(2, 9)
        expected = 8 * (nine * weights[:, y % 8, x % 8, i, j]).sum(1)
        torch.testing.assert_close(found[0, :, y, x], expected)


def test_flow_as_bytes() -> None:
    given = torch.tensor([-50.0, -20.0, -1.0, 0.0, 0.05, 1.0, 19.9, 20.0, 50.0])
    assert quantised(given).tolist() == [0, 0, 122, 128, 128, 134, 255, 256, 256]


def test_edges_are_repeated() -> None:
    x = torch.arange(13.0).expand(1, 1, 16, 13)
    assert to_grain(x)[0, 0, 0].tolist() == [0, *range(13), 12, 12]
    assert to_grain(x[..., :8]).shape == (1, 1, 16, 8)
    assert middle(x, 4)[0, 0, 0].tolist() == [4, 5, 6, 7]


# -- the encoders ----------------------------------------------------------------------------------


def test_colours(files: dict[str, Path]) -> None:
    encoder = colours(files)
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 53, 3), dtype=np.uint8)
    looked = encoder.look(pixels)
    assert looked.shape == (24, 3, 32, 32)
    np.testing.assert_array_equal(looked[5, 2], pixels[5, 4:36, 10:42, 2])
    seen = encoder.sum_up(np.stack([looked, looked[::-1]]))
    assert seen.shape == (2, encoder.channels)
    assert seen.std() > 0
    assert not np.allclose(seen[0], seen[1])  # time has a direction
    np.testing.assert_array_equal(seen[:1], encoder.sum_up(looked[None]))
    one = torch.from_numpy(looked).transpose(0, 1)[None].float() / 127.5 - 1
    with torch.inference_mode():
        expected = encoder._net(one).numpy()
    np.testing.assert_allclose(seen[:1], expected, rtol=1e-3, atol=1e-4)
    assert encoder.sum_up(looked[None, :9]).shape == (1, 1024)  # a short window


def test_flow(files: dict[str, Path]) -> None:
    encoder = flow(files)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 64, 85, 3), dtype=np.uint8)
    looked = encoder.look(pixels)
    assert looked.shape == (3, 2, 32, 32)
    assert (looked.min() >= 0) & (looked.max() <= 256)
    # each pair by itself, so that blocks do not matter
    np.testing.assert_array_equal(encoder.look(pixels[1:3])[0], looked[1])
    x = to_grain(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    with torch.inference_mode():
        whole = encoder._raft(x[1:2], x[2:3])
    assert whole.shape == (1, 2, 64, 88)
    # as the authors cut it: from the flow of the enlarged picture
    np.testing.assert_array_equal(looked[1], quantised(whole)[0, :, 16:48, 28:60])
    windows = np.stack([np.repeat(looked, 8, 0)] * 2)
    seen = encoder.sum_up(windows)
    assert seen.shape == (2, 1024)
    assert np.isfinite(seen).all()
    np.testing.assert_array_equal(seen[0], seen[1])
    assert encoder.identity() == flow(files).identity()
    assert encoder.identity() != flow(files, rounds=3).identity()


def test_what_they_refuse(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"I3D \(rgb\) are not given .*i3d_rgb.pt in models/i3d"):
        I3DColours()
    with pytest.raises(VideoError, match=r"I3D \(flow\).*found no such file.*i3d_flow.pt"):
        I3DFlow(tmp_path / "gone.pt", files["raft"])
    with pytest.raises(
        VideoError, match=r"RAFT are not given \(raft=PATH of the extractor\).*raft-sintel.pth"
    ):
        I3DFlow(files["i3d_flow"])
    with pytest.raises(VideoError, match=r"not the weights of I3D \(rgb\)"):
        I3DColours(files["i3d_flow"])
    with pytest.raises(VideoError, match="not the weights of RAFT"):
        I3DFlow(files["i3d_flow"], write_thin(tmp_path / "other.pth", torch.nn.Linear(3, 3)))
    for settings in ({"size": 224, "crop": 256}, {"size": 30, "crop": 30}, {"crop": 8}):
        with pytest.raises(ValueError, match="≤ crop ≤ size"):
            colours(files, **settings)
    with pytest.raises(ValueError, match="size ≥ 64"):
        flow(files, size=40)
    with pytest.raises(ValueError, match="rounds"):
        flow(files, rounds=0)
