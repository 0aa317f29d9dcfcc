"""What a result came from is noted with it; and two runs of one seed are the same."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

import loco as package
from helpers import QUIET, TINY_DATA, TINY_MODEL, run_loco
from loco.runs.job_status import PROVENANCE
from loco.runs.provenance import git_state

WORDS = [*TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1", "seed=7"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where two runs, an evaluation and a prediction were started."""
    folder = tmp_path_factory.mktemp("provenance")
    run = folder / "first"
    commands = [
        ["train", *WORDS, "output_dir=first", "report=true",
         "+hydra.job.env_set.WANDB_API_KEY=s3cret", "+trainer.logger.api_key=s3cret",
         "~trainer.logger", "+hydra.job.env_set.N_TOKEN=4"],
        ["train", *WORDS, "output_dir=second"],
        ["evaluate", f"ckpt_path={run}", "output_dir=evaluated", "trainer.accelerator=cpu"],
        ["predict", f"ckpt_path={run}", "data.root=data/synthetic/features", "output_dir=found",
         "trainer.accelerator=cpu", "formats=[srt]", "min_score=1"],
    ]  # fmt: skip
    for words in commands:
        done = run_loco(*words, cwd=folder)
        assert done.code == 0, done.out
        (folder / f"{words[0]}.txt").write_text(done.out, encoding="utf-8")
    return folder


def last_start(run: Path) -> dict[str, Any]:
    return json.loads((run / PROVENANCE).read_text(encoding="utf-8"))["starts"][-1]


def test_two_runs_of_a_seed_are_the_same(folder: Path) -> None:
    """Each in a process of its own, to the byte."""
    for name in ("metrics.json", "predictions.json"):
        first, second = ((folder / run / name).read_bytes() for run in ("first", "second"))
        assert first == second
    assert (folder / "evaluated/metrics.json").read_bytes() == (
        folder / "first/metrics.json"
    ).read_bytes()


def test_what_is_noted(folder: Path) -> None:
    start = last_start(folder / "first")
    assert start["command"].startswith("loco train 'data.generator.num_videos=[12,4,5]' ")
    assert start["ended"] == "finished"
    assert 0 < start["seconds"] < 600
    assert start["began"][:2] == "20"
    assert (start["seed"], start["device"]) == (7, "cpu")
    assert start["versions"]["loco"] == package.__version__
    assert start["versions"]["torch"] == torch.__version__
    annotations = (folder / "data/synthetic/annotations.json").read_bytes()
    assert start["data"]["annotations"] == hashlib.sha256(annotations).hexdigest()
    assert start["data"]["videos"] == {"train": 12, "validation": 4, "test": 5}
    assert last_start(folder / "second")["data"] == start["data"]
    evaluated = last_start(folder / "evaluated")
    assert evaluated["data"]["videos"] == {"test": 5}
    assert evaluated["checkpoint"].endswith("first/checkpoints/best.ckpt")
    assert evaluated["command"] == (
        f"loco evaluate ckpt_path={folder}/first output_dir=evaluated trainer.accelerator=cpu"
    )
    assert last_start(folder / "found")["data"]["videos"] == {"predict": 21}


def test_the_page_shows_it(folder: Path) -> None:
    page = (folder / "first/report.html").read_text(encoding="utf-8")
    start = last_start(folder / "first")
    for text in (start["data"]["features"], start["began"], "finished", torch.__version__):
        assert text in page
    for run, name in (("first", "train"), ("evaluated", "evaluate")):
        assert f"<pre>loco {name} " in (folder / run / "report.html").read_text(encoding="utf-8")


def test_secrets_are_not_written(folder: Path) -> None:
    for file in (folder / "first").rglob("*"):
        assert not file.is_file() or b"s3cret" not in file.read_bytes(), file
    assert "WANDB_API_KEY=HIDDEN" in last_start(folder / "first")["command"]
    notes = OmegaConf.load(folder / "first" / ".hydra" / "config.yaml")
    assert notes.data.layout.window == 24  # what a number named as a secret says stands elsewhere


def test_a_prediction_says_how_many_videos_have_none(folder: Path) -> None:
    told = (folder / "predict.txt").read_text(encoding="utf-8")
    assert "detections of 21 videos, 21 of them without any of score 1" in told


def test_the_data_tells_itself_from_other_data(folder: Path, tmp_path: Path) -> None:
    """A file of another length, and an annotation that was changed."""
    shutil.copytree(folder / "data", tmp_path / "data")
    features = tmp_path / "data/synthetic/features"
    file = sorted(features.glob("test*_vggish.npy"))[0]
    file.write_bytes(file.read_bytes() + b" ")
    done = run_loco("evaluate", f"ckpt_path={folder / 'first'}", "data.root=data/synthetic",
                    "output_dir=out", "report=false", cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.out
    then, now = (last_start(run)["data"] for run in (folder / "evaluated", tmp_path / "out"))
    assert now["annotations"] == then["annotations"]
    assert now["features"] != then["features"]


def test_the_commit_of_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changed files are told; another repository around the package, or none, is no commit."""
    if shutil.which("git") is None:
        pytest.skip("needs git")

    def git(*words: str) -> None:
        name = ["-c", "user.name=a", "-c", "user.email=a@b"]
        subprocess.run(["git", "-C", str(tmp_path), *name, *words], check=True, capture_output=True)

    file = tmp_path / "src/loco/__init__.py"
    file.parent.mkdir(parents=True)
    assert git_state(file) is None  # no repository at all
    file.touch()
    (tmp_path / "mine.txt").touch()
    git("init")
    git("add", "mine.txt")
    git("commit", "-m", "x")
    assert git_state(file) is None
    git("add", ".")
    git("commit", "-m", "x")
    commit = git_state(file)
    assert commit is not None
    assert len(commit) == 40
    (tmp_path / "mine.txt").write_text("changed", encoding="utf-8")
    assert git_state(file) == f"{commit} with uncommitted changes"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(file) is None
