"""A folder that holds a run already: nothing of it is lost, or taken for another one's."""

from __future__ import annotations

import itertools
import json
import shutil
from pathlib import Path

import pytest

from helpers import QUIET, TINY_DATA, TINY_MODEL, Composer, run_loco
from loco.errors import CheckpointError
from loco.runs.checkpoints import load_checkpoint
from loco.runs.command.named_files import find_checkpoint
from loco.runs.job_status import FAILED, status
from loco.runs.train import train


def test_an_earlier_run_is_moved_aside(
    finished_run: Path, tiny: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(finished_run, tmp_path / "run")
    left = {file.relative_to(finished_run): file.read_bytes()
            for file in finished_run.rglob("*") if file.is_file()}  # fmt: skip
    with pytest.raises(Exception, match="not finite"):
        train(tiny("optimizer.lr=1e30", "optimizer.warmup_epochs=0"))
    aside = tmp_path / "run-earlier"
    assert f"run held another run, which is {aside} now" in caplog.text
    assert {file.relative_to(aside): file.read_bytes()
            for file in aside.rglob("*") if file.is_file()} == left  # fmt: skip
    for name in ("metrics.json", "predictions.json", "checkpoints/best.ckpt"):
        assert not (tmp_path / "run" / name).exists()


def test_a_run_goes_on_in_its_own_folder(
    finished_run: Path, tiny: Composer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = load_checkpoint(run)["epoch"]
    train(tiny(f"ckpt_path={run}", "trainer.max_epochs=3"))
    assert load_checkpoint(run)["epoch"] == before + 1
    assert not (tmp_path / "run-earlier").exists()


def test_a_failed_job_that_is_gone_on_with_by_itself_is_finished(
    finished_run: Path, tiny: Composer, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / FAILED).write_text("no space left", encoding="utf-8")
    train(tiny(f"ckpt_path={run}", "trainer.max_epochs=3"))
    assert status(run) == "finished"


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize(
    ("command", "where"),
    [
        ("train", "hydra.run.dir"),
        *itertools.product(("evaluate", "predict"), ("hydra.run.dir", "output_dir")),
    ],
)
def test_no_command_writes_into_the_folder_of_a_training(
    finished_run: Path, synthetic_root: Path, tmp_path: Path, command: str, where: str
) -> None:
    """But a training that is given its `output_dir`, which moves it aside."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    before = contents(run)
    words = {
        "train": [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, "attention=fixed"],
        "evaluate": [f"ckpt_path={finished_run}", "data.test_split=validation"],
        "predict": [f"ckpt_path={finished_run}", f"data.root={synthetic_root / 'features'}"],
    }[command]
    done = run_loco(command, *words, f"{where}={run}", cwd=tmp_path)
    assert done.code == 1
    assert f"error: {where}={run}: " in done.out
    assert "Traceback" not in done.out
    assert contents(run) == before


def test_a_run_goes_on_where_hydra_is_told_to_write(
    finished_run: Path, synthetic_root: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    words = [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=3"]
    done = run_loco("train", f"ckpt_path={run}", f"hydra.run.dir={run}", *words, cwd=tmp_path)
    assert done.code == 0, done.out
    assert load_checkpoint(run)["epoch"] == 2


def test_a_command_that_fails_at_once_changes_nothing(synthetic_root: Path, tmp_path: Path) -> None:
    words = ["train", f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET,
             "trainer.max_epochs=1", "output_dir=run"]  # fmt: skip
    assert run_loco(*words, cwd=tmp_path).code == 0
    kept = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    assert tmp_path / "run" / ".hydra" / "overrides.yaml" in kept
    failed = run_loco(*words, "data.num_workers=abc", cwd=tmp_path)
    assert failed.code == 1
    assert "data.num_workers=abc: expected" in failed.out
    now = {file: file.read_bytes() for file in (tmp_path / "run").rglob("*") if file.is_file()}
    assert now == kept
    done = run_loco(*words, "optimizer.lr=0.01", cwd=tmp_path)
    assert done.code == 0, done.out
    aside = tmp_path / "run-earlier"
    assert (aside / ".hydra" / "overrides.yaml").read_bytes() == kept[
        tmp_path / "run" / ".hydra" / "overrides.yaml"
    ]
    assert "optimizer.lr=0.01" in (tmp_path / "run" / ".hydra" / "overrides.yaml").read_text()
    assert len(json.loads((tmp_path / "run" / "provenance.json").read_text())["starts"]) == 1


@pytest.mark.parametrize("command", ["train", "evaluate", "predict", "export", "init_from"])
def test_nothing_is_no_checkpoint(
    command: str, finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """As `ckpt_path=$RUN` is where RUN is not set: the newest run below is not meant."""
    from loco.cli import main

    shutil.copytree(finished_run, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    words = {
        "init_from": ["train", "init_from="],
        "export": ["export", "", "-o", "x.pt2"],
        "predict": ["predict", "ckpt_path=", "data.root=."],
    }.get(command, [command, "ckpt_path="])
    try:
        code = main(words)
    except SystemExit as end:
        code = int(end.code or 0)
    assert code == 1
    assert "expected a checkpoint or a run's folder, got nothing" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_a_job_that_was_taken_from_another_sweep_is_found(
    finished_run: Path, tmp_path: Path
) -> None:
    """Its checkpoints are a link."""
    job = tmp_path / "sweep" / "job"
    job.mkdir(parents=True)
    (job / "checkpoints").symlink_to(finished_run / "checkpoints")
    for folder in (job, tmp_path / "sweep"):
        assert find_checkpoint(folder, best=True) == job / "checkpoints" / "best.ckpt"
        assert find_checkpoint(folder) == job / "checkpoints" / "last.ckpt"


def test_a_folder_of_several_runs_names_none(finished_run: Path, tmp_path: Path) -> None:
    """Which of them was meant cannot be known, and the newest may be any."""
    for name in ("a", "b"):
        shutil.copytree(finished_run / "checkpoints", tmp_path / "runs" / name / "checkpoints")
    for best in (True, False):
        with pytest.raises(CheckpointError, match=r"ckpt_path=.*runs: 2 runs are in this folder"):
            find_checkpoint(tmp_path / "runs", best=best)
    own = tmp_path / "runs" / "a"
    shutil.copytree(finished_run / "checkpoints", own / "x" / "checkpoints")
    assert find_checkpoint(own) == own / "checkpoints" / "last.ckpt"
    assert find_checkpoint(own / "checkpoints") == own / "checkpoints" / "last.ckpt"


def test_a_damaged_checkpoint_is_told_before_data_are_made(
    finished_run: Path, tiny: Composer, tmp_path: Path
) -> None:
    whole = find_checkpoint(finished_run, best=True).read_bytes()
    file = tmp_path / "cut.ckpt"
    file.write_bytes(whole[: len(whole) // 2])
    for setting in ("ckpt_path", "init_from"):
        with pytest.raises(CheckpointError, match="no checkpoint, or a damaged or incomplete one"):
            train(tiny(f"{setting}={file}", f"data.root={tmp_path / 'new'}"))
    assert not (tmp_path / "new").exists()
