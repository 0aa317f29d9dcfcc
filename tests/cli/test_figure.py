"""Figures for papers, through the command: what they show, their sizes, what is refused."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from matplotlib.image import imread

from helpers import Composer
from loco.cli import main
from loco.runs.run_folder import RunFolder
from loco.runs.train import train


@pytest.fixture(scope="module")
def video(finished_run: Path) -> str:
    """The test video with the most events."""
    return max(RunFolder(finished_run).test_videos, key=lambda video: len(video.events)).id


def draw(*words: str | Path) -> str:
    """The text of the .svg that `loco figure` draws, which its last word names."""
    assert main(["figure", *map(str, words)]) == 0
    return Path(words[-1]).read_text("utf-8")


def inches(svg: str) -> list[float]:
    """Width and height."""
    found = re.search(r'width="([\d.]+)pt" height="([\d.]+)pt"', svg)
    assert found
    return [float(points) / 72 for points in found.groups()]


@pytest.mark.slow
def test_timelines_of_two_runs_side_by_side(finished_run: Path, video: str, tmp_path: Path) -> None:
    other = shutil.copytree(finished_run, tmp_path / "other")
    words = ["timeline", finished_run, other, video, "--name", "A < B", "--name", "LoCo",
             "--min-score", "0", "-o", tmp_path / "a.svg"]  # fmt: skip
    text = draw(*words)
    of_video = RunFolder(finished_run).annotations[video]
    names = RunFolder(finished_run).annotations.class_names
    expected = {"A &lt; B", "LoCo", video, "time (s)", *(names[i] for i in of_video.events.labels)}
    assert all(f">{part}</text>" in text for part in expected)
    assert "DejaVu Sans" in text
    assert inches(text)[0] == pytest.approx(6.9, abs=0.01)
    smallest = min(float(size) for size in re.findall(r"font-size: ([\d.]+)px", text))
    assert smallest >= 6 - 1e-6


def test_similarity_and_windows(finished_run: Path, video: str, tmp_path: Path) -> None:
    text = draw("similarity", finished_run, video, "--space", "common", "--font", "serif",
                "-o", tmp_path / "s.svg")  # fmt: skip
    assert "LCC's common space" in text
    assert "STIXGeneral" in text
    assert inches(text)[0] == pytest.approx(3.3, abs=0.01)
    text = draw("windows", finished_run, video, "--levels", "2", "--title", "", "-o",
                tmp_path / "w.svg")  # fmt: skip
    assert "level 2: audio looks at visual" in text
    assert "level 3" not in text
    assert f">{video}<" not in text


def test_precision_and_forms(finished_run: Path, tmp_path: Path) -> None:
    text = draw("pr", finished_run, "--tiou", "0.3", "-o", tmp_path / "p.svg")
    assert "(tIoU 0.3)" in text
    assert ">mean of 3 classes</text>" in text
    text = draw("pr", finished_run, "--name", "LoCo", "-o", tmp_path / "p.svg")
    assert ">LoCo (mean of 3 classes)</text>" in text
    assert "(tIoU 0.5)" in text
    both = ["figure", "pr", str(finished_run), "--width", "2", "--height", "1.5", "--dpi", "100"]
    assert main([*both, "-o", str(tmp_path / "p.png")]) == 0
    assert imread(tmp_path / "p.png").shape[:2] == (150, 200)
    assert main([*both, "-o", str(tmp_path / "p.pdf")]) == 0
    assert (tmp_path / "p.pdf").read_bytes().startswith(b"%PDF")


def test_what_cannot_be_drawn_is_a_line(
    finished_run: Path, video: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, file = str(finished_run), str(tmp_path / "x.pdf")
    for words, told in (
        (["timeline", run, video + "0", "-o", file], f"no test video '{video}0'; did you mean"),
        (["timeline", "-o", file, run, "--", "-0nq"], "no test video '-0nq'; predictions.json"),
        (["timeline", run, "-o", file], "expected a run's folder and a video"),
        (["timeline", str(tmp_path), video, "-o", file], "the folder of a finished run"),
        (["timeline", run, run, video, "-o", file], "two runs of one name"),
        (["windows", run, run, video, "-o", file], "expected one run"),
        (["pr", run, "--name", "a", "--name", "b", "-o", file], "--name: expected one for each"),
        (["windows", run, video, "--name", "a", "-o", file], "--name does not go with windows"),
        (["windows", run, video, "--tiou", "0.5", "-o", file], "--tiou does not go with windows"),
        (["windows", run, video, "--min-score", "0", "-o", file], "--min-score does not go with"),
        (["pr", run, "--levels", "2", "-o", file], "--levels does not go with pr"),
        (["pr", run, "--space", "common", "-o", file], "--space does not go with pr"),
        (["timeline", run, video, "--tiou", "0.3", "-o", file], "--tiou does not go with timeline"),
    ):
        assert main(["figure", *words]) == 1, words
        error = capsys.readouterr().err
        assert told in error
        assert len(error.splitlines()) == 1
    with pytest.raises(SystemExit):
        main(["figure", "pr", run, "--width", "nan", "-o", file])
    assert "expected inches in [1, 50]" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_system_without_windows_or_encoders(
    tiny: Composer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tiny("model=actionformer_small", "trainer.max_epochs=1"))
    run = tmp_path / "run"
    video = next(iter(RunFolder(run).predictions))
    for kind, told in (("windows", "no attention with target"), ("similarity", "no encoders")):
        words = ["figure", kind, str(run), video, "-o", str(tmp_path / "x.pdf")]
        assert main(words) == 1
        assert told in capsys.readouterr().err
