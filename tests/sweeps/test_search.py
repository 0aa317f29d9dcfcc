"""A search by Optuna: what it chooses from, its folders, going on, giving up."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from helpers import QUIET, TINY_DATA, TINY_MODEL
from loco.cli import main
from loco.errors import SettingError
from loco.runs.checkpoints import load_checkpoint
from loco.sweeps.run_job import alone_in
from loco.sweeps.search import (
    STUDY,
    completed,
    done,
    importances,
    open_study,
    split_words,
    suggest,
)

WORDS = [
    "correspondence.weight=interval(0.01, 1)", "attention.window_size=choice(4, 8)",
    "task=sweep_tasks.searched", "seed=1",
]  # fmt: skip


def test_what_is_searched_and_what_is_fixed() -> None:
    fixed, searched = split_words(WORDS)
    assert fixed == WORDS[2:]
    assert list(searched) == ["correspondence.weight", "attention.window_size"]
    with pytest.raises(SettingError, match="nothing to search"):
        split_words(["seed=1"])


@pytest.mark.parametrize(
    ("word", "distribution"),
    [
        ("a=interval(0.5, 2)", {"low": 0.5, "high": 2.0, "log": False}),
        ("a=tag(log, interval(0.01, 1))", {"low": 0.01, "high": 1.0, "log": True}),
        ("a=4,8", {"choices": ("4", "8")}),
        ("a=range(1, 4)", {"choices": ("1", "2", "3")}),
    ],
)
def test_ranges(word: str, distribution: dict[str, object]) -> None:
    trial = optuna.create_study().ask()
    suggest(trial, "a", OverridesParser.create().parse_override(word))
    found = trial.distributions["a"]
    assert {name: getattr(found, name) for name in distribution} == distribution


def test_a_search_goes_on_where_it_was(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "search"
    command = ["search", *WORDS, "--folder", str(folder)]
    assert main([*command, "--trials", "8"]) == 0
    stopped = open_study(folder, 0, prune=True).ask()  # as a killed process leaves it
    stopped.suggest_float("correspondence.weight", 0.01, 1)
    capsys.readouterr()
    assert main([*command, "--trials", "16"]) == 0
    told = capsys.readouterr().out
    study = open_study(folder, 0, prune=True)
    assert len(done(study, folder)) == 16
    states = [trial.state.name for trial in study.trials]
    assert "RUNNING" not in states
    assert "PRUNED" in states
    key = "correspondence.weight"
    assert study.trials[9].params[key] == study.trials[8].params[key]  # tried again
    assert study.best_value > 0.8
    assert study.best_params["attention.window_size"] == "8"
    assert f"{folder}: 16 trials, " in told
    assert "the best trials" in told
    assert sum(importances(study).values()) == pytest.approx(1)
    page = (folder / "sweep.html").read_text("utf-8")
    assert "What decides" in page
    assert "correspondence.weight" in page
    assert (folder / "trial-001" / ".hydra" / "overrides.yaml").is_file()


def test_a_folder_holds_one_search(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Trials of other settings are not put into one list with those that there are."""
    into = ["--folder", str(tmp_path), "--trials"]
    assert main(["search", *WORDS, *into, "1"]) == 0
    assert main(["search", *WORDS, "trainer.max_epochs=7", *into, "1"]) == 1
    told = capsys.readouterr().err
    assert "holds the trials of another search; this one is with trainer.max_epochs=7" in told
    assert main(["search", *reversed(WORDS), *into, "2"]) == 0


def test_wrong_words_are_told_first(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["search", "optimizer.lrr=interval(0, 1)", "--folder", str(tmp_path / "x")]) == 1
    assert "did you mean optimizer.lr?" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["resume_sweep=true"], "resume_sweep=true: is for loco train"),
        (["reuse=nowhere"], "reuse=nowhere: is for loco train"),
        (["hydra/launcher=local"], "hydra/launcher=local: is for loco train"),
        (["output_dir=x"], "output_dir=x: is for loco train"),
        (["experiment=lambda"], "the experiment sweeps correspondence.weight"),
        (["optimizer.lr=tag(log, interval(0, 1))"], "expected 0 < low < high"),
        (["optimizer.lr=interval(1, 0.1)"], "expected low < high"),
    ],
)
def test_what_is_no_search_is_refused(
    words: list[str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["search", *WORDS, *words, "--folder", str(tmp_path / "x")]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x" / "study.db").exists()


def test_a_search_without_any_score_is_an_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["correspondence.weight=0.95,0.99", *WORDS[1:], "--folder", str(tmp_path)]
    assert main(["search", *words, "--trials", "2"]) == 1
    assert "2 trials, 0 of them trained to their end\n2 failed" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["search", *words, "--trials", "0"])


def test_a_search_is_alone_in_its_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with alone_in(tmp_path):
        assert main(["search", *WORDS, "--trials", "1", "--folder", str(tmp_path)]) == 1
    assert "this search is under way" in capsys.readouterr().err


def test_what_was_trained_is_not_trained_again(tmp_path: Path) -> None:
    words = ["attention.window_size=4,8", "task=sweep_tasks.searched", "seed=1"]
    assert main(["search", *words, "--trials", "6", "--folder", str(tmp_path)]) == 0
    study = open_study(tmp_path, 0, prune=True)
    assert len(done(study, tmp_path)) == 6
    assert len(completed(study)) == len(list(tmp_path.glob("trial-*"))) <= 2


@pytest.mark.parametrize("name", ["p%20q", "lr?x=1", "a#b @:"])
def test_a_folder_may_have_any_name(name: str, tmp_path: Path) -> None:
    """The study lies in it, not beside it."""
    study = open_study(tmp_path / name, 2**32 + 1, prune=True)
    study.ask().suggest_float("x", 0, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert [path.name for path in (tmp_path / name).iterdir()] == [STUDY]


def test_secrets_stay_out_of_the_folder(tmp_path: Path) -> None:
    words = [*WORDS, "logger=wandb", "+logger.wandb.api_key=abc123xyz", "--folder", str(tmp_path)]
    assert main(["search", *words, "--trials", "1"]) == 0
    assert main(["search", *words, "--trials", "2"]) == 0
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert len(files) > 6
    assert not [file for file in files if b"abc123xyz" in file.read_bytes()]


@pytest.mark.slow
def test_a_stopped_trial_goes_on(synthetic_root: Path, tmp_path: Path) -> None:
    words = [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET,
             "trainer.max_epochs=40", "optimizer.lr=0.001,0.002"]  # fmt: skip
    folder = tmp_path / "search"
    command = [sys.executable, "-m", "loco.cli", "search", *words, "--trials", "1",
               "--folder", str(folder)]  # fmt: skip
    run = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    last = folder / "trial-001" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not last.is_file() and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    told = run.communicate(timeout=60)[1]
    assert run.returncode == 143, told
    assert f"interrupted; the same command with --folder {folder} goes on" in told
    assert "Traceback" not in told
    stopped = load_checkpoint(last)["global_step"]
    assert main(command[3:]) == 0
    noted = json.loads((folder / "trial-002" / "provenance.json").read_text())["starts"]
    assert noted[-1]["resumed_from"] == str(folder / "trial-001")
    assert stopped > 0
    ended = [trial.state.name for trial in open_study(folder, 0, prune=True).trials]
    assert ended == ["FAIL", "COMPLETE"]


@pytest.mark.slow
def test_a_real_search(synthetic_root: Path, tmp_path: Path) -> None:
    words = [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1"]
    ranges = "optimizer.lr=tag(log, interval(1e-4, 1e-2))"
    folder = tmp_path / "search"
    assert main(["search", *words, ranges, "--trials", "2", "--folder", str(folder)]) == 0
    for name in ("trial-001", "trial-002"):
        assert (folder / name / "metrics.json").is_file()
    assert main(["tabulate", str(folder)]) == 0
