"""From films to the files of UnAV-100's layout, and their comparison with somebody else's."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra.utils import instantiate

from clips import steady, tone, write_clip
from helpers import compose_config
from loco.data.features import FeatureStore
from loco.errors import SettingError, VideoError
from loco.runs.extract import compare, extract
from loco.video.comparison import compare_arrays, compare_features
from loco.video.encoders.flow import I3DFlow, to_grain
from loco.video.encoders.i3d import I3DColours, I3DNet
from loco.video.encoders.raft import RAFT
from loco.video.encoders.vggish import VGGishNet
from loco.video.extraction import Summary
from loco.video.reader import VideoReader
from thin_weights import write_thin

SMALL = [
    "extractor.visual.0.size=64", "extractor.visual.0.crop=32", "extractor.visual.1.size=64",
    "extractor.visual.1.crop=32", "extractor.visual.1.rounds=1",
]  # fmt: skip
"""For I3D's and RAFT's arguments that the configuration leaves at their defaults."""


def moving(time: float) -> np.ndarray:
    """A bright square that goes to the right over noise."""
    picture = np.random.default_rng(0).integers(0, 90, (72, 100, 3)).astype(np.uint8)
    left = round(40 * time)
    picture[20:50, left : left + 20] = (250, 180, 40)
    return picture


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two films, weights, and the features of the films."""
    folder = tmp_path_factory.mktemp("i3d")
    (folder / "clips").mkdir()
    write_clip(folder / "clips/a.mp4", moving, steady(1.64), tone(0.5, 1.64))  # 41 frames
    write_clip(folder / "clips/b.mp4", moving, steady(1.28), tone(0.2, 1.28))  # 32 = 24 + 8
    with torch.device("meta"):
        nets = {"rgb": I3DNet(3), "flow": I3DNet(2), "raft": RAFT(), "vggish": VGGishNet()}
    paths = {name: write_thin(folder / f"{name}.pt", net, 3) for name, net in nets.items()}
    extract(config(folder, paths))
    return {"folder": folder, "root": folder / "root", **paths}


def config(folder: Path, paths: dict[str, Path], *overrides: str, root: str = "root") -> Any:
    return compose_config("extract", [
        "extractor=i3d_vggish", f"videos={folder / 'clips'}", f"root={folder / root}",
        f"output_dir={folder}", f"extractor.visual.0.weights={paths['rgb']}",
        f"extractor.visual.1.weights={paths['flow']}", f"extractor.visual.1.raft={paths['raft']}",
        f"extractor.audio.0.weights={paths['vggish']}", *(f"+{line}" for line in SMALL), *overrides,
    ])  # fmt: skip


def test_files_of_the_layout(made: dict[str, Path]) -> None:
    layout = compose_config("train", ["data=unav100_i3d_vggish"]).data.layout
    patterns = [*layout.visual, *layout.audio]
    names = {pattern.replace("{id}", one) for pattern in patterns for one in "ab"}
    assert names == {path.name for path in made["root"].glob("*.npy")}
    for one, steps in (("a", 3), ("b", 1)):  # 41 and 32 pictures: the second step of b needs 33
        shapes = [np.load(made["root"] / p.replace("{id}", one)).shape for p in patterns]
        assert shapes == [(steps, 1024), (steps, 1024), (steps, 128)]


def test_streamed_as_the_whole(made: dict[str, Path]) -> None:
    """Blocks, threads and pairs over blocks' edges do not matter."""
    pictures = np.stack([
        picture.resized(*picture.short_size(64))
        for picture in VideoReader(made["folder"] / "clips/a.mp4").pictures(25)
    ])  # fmt: skip
    assert pictures.shape == (41, 64, 88, 3)
    colours = I3DColours(made["rgb"], size=64, crop=32)
    movement = I3DFlow(made["flow"], made["raft"], size=64, crop=32, rounds=1)
    for name, encoder in (("rgb", colours), ("flow", movement)):
        looked = encoder.look(pictures)  # type: ignore[attr-defined]
        assert len(looked) == (41 if name == "rgb" else 40)
        whole = np.stack([looked[8 * t : 8 * t + 24] for t in range(3)])
        expected = encoder.sum_up(whole).astype(np.float16)  # type: ignore[attr-defined]
        np.testing.assert_array_equal(np.load(made["root"] / f"a_{name}.npy"), expected)


def test_the_first_line_says_that_nothing_was_checked(
    made: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    (made["folder"] / "clips" / "notes.pdf").write_text("no film, which is told, too")
    with caplog.at_level(logging.INFO, "loco"):
        extract(config(made["folder"], made))  # all are there
    assert caplog.messages[0].startswith(
        "what I3D, RAFT, VGGish give here was not checked against published features"
    )


def test_pictures_are_scaled_as_pillow_does(tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs Pillow")
    path = write_clip(tmp_path / "n.mp4", moving, steady(0.08), None)
    picture = next(iter(VideoReader(path).pictures(25)))
    whole = picture.rgb(*picture.shown_size)
    expected = image.fromarray(whole).resize((88, 64), image.Resampling.BILINEAR)
    found = picture.resized(64, 88)
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1
    assert picture.resized(72, 100) is whole
    tall = write_clip(tmp_path / "t.mp4", lambda t: moving(t).swapaxes(0, 1), [Fraction(0)])
    assert next(iter(VideoReader(tall).pictures(25))).short_size(64) == (88, 64)


def test_grain_of_the_papers_size() -> None:
    """256 × 455, the most common one: a column more, at the right."""
    assert to_grain(torch.zeros(1, 1, 256, 455)).shape[-2:] == (256, 456)


def test_comparison_of_arrays() -> None:
    x = np.random.default_rng(0).normal(size=(6, 5)).astype(np.float32)
    same = compare_arrays("v", "{id}.npy", x, x)
    assert (same.cosine, same.error, same.within(0)) == (pytest.approx(1), 0, True)
    half = compare_arrays("v", "{id}.npy", 0.5 * x, x)
    assert (half.cosine, half.error) == (pytest.approx(1), pytest.approx(0.5))
    assert half.within(0.6)
    assert not half.within(0.4)
    shorter = compare_arrays("v", "{id}.npy", x[:3], x)
    assert (shorter.error, shorter.within(1)) == (0, False)  # three steps apart
    zeros = compare_arrays("v", "{id}.npy", 0 * x, 0 * x)
    assert (zeros.cosine, zeros.error) == (1, 0)
    assert compare_arrays("v", "{id}.npy", x, 0 * x).error == float("inf")


def test_comparison_by_the_command(
    made: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for path in made["root"].glob("*.npy"):
        array = np.load(path).astype(np.float32)
        np.save(folder / path.name, array * (1 + 0.01 * generator.normal(size=array.shape)))
    extract(config(made["folder"], made, f"compare={folder}"))
    told = capsys.readouterr().out
    assert "a_rgb.npy" in told
    assert "median of {id}_vggish.npy" in told
    assert "✗" not in told.split("\n", 3)[-1].rsplit("error:", 1)[0]
    np.save(folder / "a_flow.npy", generator.random((3, 1024)).astype(np.float32))
    (folder / "b_rgb.npy").unlink()
    with pytest.raises(VideoError, match=r"1 of 5 files are further than compare_bound=0.2"):
        extract(config(made["folder"], made, f"compare={folder}"))
    store = FeatureStore(
        made["root"], instantiate(compose_config("train", ["data=unav100_i3d_vggish"]).data.layout)
    )
    np.save(folder / "a_flow.npy", generator.random((3, 4)).astype(np.float32))
    with pytest.raises(VideoError, match="4 channels, ours have 1024"):
        compare_features(store, folder, ["a"])
    (folder / "a_flow.npy").write_text("hello")
    with pytest.raises(VideoError, match=r"a_flow.npy: cannot be read"):
        compare_features(store, folder, ["a"])
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="holds no features of these videos"):
        compare(store, ["a"], tmp_path / "none", 0.2, Summary())
    with pytest.raises(VideoError, match="expected a folder of feature files"):
        extract(config(made["folder"], made, f"compare={tmp_path / 'gone'}"))
    with pytest.raises(SettingError, match="compare_bound must be at least 0"):
        extract(config(made["folder"], made, "compare_bound=-1"))


def test_a_film_of_a_window_has_no_flow_of_it(made: dict[str, Path], tmp_path: Path) -> None:
    write_clip(tmp_path / "clips.mp4", moving, steady(0.96), tone(0.2, 0.96))
    settings = config(made["folder"], made, f"videos={tmp_path / 'clips.mp4'}", root="short")
    with pytest.raises(VideoError, match=r"0.96 s long, expected at least one window of 1.00 s"):
        extract(settings)
