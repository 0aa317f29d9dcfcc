"""`ckpt_path=RUN` goes on with a run's own overrides; those that are given now win."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from helpers import QUIET, ROOT, TINY_DATA, TINY_MODEL, run_loco


def saved(folder: Path, *words: str, choices: dict[str, str] | None = None) -> Path:
    """A run's folder with these overrides and a checkpoint, which nothing here reads."""
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / "last.ckpt").touch()
    (folder / ".hydra").mkdir()
    runtime = {"choices": choices or {}}
    notes = {"overrides": list(words), "hydra": {"hydra": {"runtime": runtime}}}
    for name, content in notes.items():
        text = yaml.safe_dump(content)
        (folder / ".hydra" / f"{name}.yaml").write_text(text, encoding="utf-8")
    return folder


def composed(*words: str | Path, cwd: Path) -> tuple[dict, str]:
    """The configuration that a command comes to, and what it says."""
    done = run_loco("train", *words, "--cfg", "job", cwd=cwd)
    assert done.code == 0, done.out
    lines = done.out.splitlines(keepends=True)
    notes = ("going on with ", "different now", "not taken", str(cwd))
    told = [line for line in lines if line.startswith(notes)]
    return yaml.safe_load("".join(line for line in lines if line not in told)), "".join(told)


def test_what_a_run_was_started_with_counts_again(tmp_path: Path) -> None:
    run = saved(
        tmp_path / "run", "seed=3", "attention=fixed", "+trainer.limit_train_batches=2",
        "++model.dim=32", "~callbacks.progress", "callbacks.ema=null",
        "optimizer.lr=0.5", "experiment=lambda",
        "+data.generator.num_classes=4",  # as it had to be given before it had a default
    )  # fmt: skip
    now = ["optimizer.lr=0.25", "trainer.limit_train_batches=3", "callbacks.ema.decay=0.5"]
    config, told = composed(f"ckpt_path={run}", *now, cwd=tmp_path)
    assert config["seed"] == 3
    assert config["data"]["generator"]["num_classes"] == 4
    assert config["attention"]["window_size"] == 8
    assert config["model"]["dim"] == 32
    assert "progress" not in config["callbacks"]
    assert config["callbacks"]["ema"]["decay"] == 0.5
    assert config["optimizer"]["lr"] == 0.25
    assert config["trainer"]["limit_train_batches"] == 3
    assert "different now: optimizer.lr=0.25 (was optimizer.lr=0.5), " in told
    assert "trainer.limit_train_batches=3 (was +trainer.limit_train_batches=2)" in told
    assert "callbacks.ema=null" in told
    assert f"going on with {run}; taken from it: seed=3 attention=fixed" in told


def test_another_choice_of_a_group_settles_its_values_anew(tmp_path: Path) -> None:
    """Values under it are of the other one; the same choice, repeated, changes nothing."""
    words = ["data=unav100_onepeace", "data.batch_size=3", "model.dim=32", "optimizer.lr=0.5"]
    run = saved(tmp_path / "run", *words, choices={"data": "unav100_onepeace", "recipe": "loco"})
    config, told = composed(f"ckpt_path={run}", "data=unav100_i3d_vggish", cwd=tmp_path)
    assert (config["data"]["batch_size"], config["model"]["dim"]) == (16, 32)
    assert "without data.batch_size=3" in told
    config, _ = composed(f"ckpt_path={run}", "data=unav100_onepeace", cwd=tmp_path)
    assert config["data"]["batch_size"] == 3
    config, _ = composed(f"ckpt_path={run}", "recipe=loco_small", cwd=tmp_path)
    assert config["optimizer"]["lr"] == 2e-3  # in the global package


def test_nothing_that_builds_writes_or_is_secret_is_taken(tmp_path: Path) -> None:
    """A run's folder may be a stranger's."""
    harmful = [
        "model._target_=os.system",
        "+callbacks.x={_target_: os.system, command: touch bad}",
        "+callbacks.y=[{a: {_target_: os.system}}]",
        "callbacks.last.dirpath=elsewhere",
        "csv_log.save_dir=elsewhere",
        "output_dir=elsewhere",
        "hydra.run.dir=elsewhere",
        "hydra/launcher=local",
        "task=os.system",
        "seed=${oc.env:HOME}",
        "+x=${new_folder:made}",
        "+logger.wandb.api_key=abcdef",
        "not an = override {",
    ]
    run = saved(tmp_path / "run", "seed=3", *harmful)
    config, told = composed(f"ckpt_path={run}", cwd=tmp_path)
    expected, _ = composed("seed=3", f"ckpt_path={run / 'checkpoints' / 'last.ckpt'}", cwd=tmp_path)
    for each in (config, expected):
        del each["ckpt_path"]
    assert config == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["printed.txt", "run"]
    assert "abcdef" not in told
    assert "model._target_=os.system (names what is built)" in told
    assert "seed=3\n" in told


def test_a_choice_that_only_the_users_folder_has(tmp_path: Path) -> None:
    own = tmp_path / "my_conf"
    (own / "model").mkdir(parents=True)
    (own / "model" / "mine.yaml").write_text("defaults: [loco_small]\ndim: 24\n", "utf-8")
    (own / "recipe").mkdir()
    shutil.copy(ROOT / "conf/recipe/loco_small.yaml", own / "recipe" / "mine.yaml")
    run = saved(tmp_path / "run", "model=mine", choices={"model": "mine"})
    done = run_loco("train", f"ckpt_path={run}", cwd=tmp_path)
    assert done.code == 1
    assert "its model=mine is in no folder of configurations; give its --config-dir" in done.out
    assert "Traceback" not in done.out
    config, _ = composed("--config-dir", own, f"ckpt_path={run}", cwd=tmp_path)
    assert config["model"]["dim"] == 24


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data of an odd name, given by a relative path, and a run of an epoch on it."""
    folder = tmp_path_factory.mktemp("it's a = {project}, $1")
    done = run_loco("train", *TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1", "seed=5",
                r"data.root='wx=1, {y} it\'s'", cwd=folder)  # fmt: skip
    assert done.code == 0, done.out
    return folder


def only(folder: Path) -> Path:
    (found,) = folder.iterdir()
    return found


def test_a_copied_run_goes_on_from_another_folder(project: Path, tmp_path: Path) -> None:
    """Twice: the second run's overrides are those of the first and of the second."""
    run = shutil.copytree(only(project / "outputs/train"), tmp_path / "copy")
    words = ["trainer.max_epochs=2", "output_dir=second"]
    done = run_loco("train", f"ckpt_path={run}", *words, cwd=tmp_path)
    assert done.code == 0, done.out
    assert "different now: trainer.max_epochs=2 (was trainer.max_epochs=1)" in done.out
    config = yaml.safe_load((tmp_path / "second/config.yaml").read_text(encoding="utf-8"))
    assert config["data"]["root"] == str(project / "wx=1, {y} it's")
    assert config["seed"] == 5
    assert not (tmp_path / "wx=1, {y} it's").exists()
    config, _ = composed("ckpt_path=second", "trainer.max_epochs=4", cwd=tmp_path)
    assert config["seed"] == 5
    assert config["data"]["root"] == str(project / "wx=1, {y} it's")
    assert config["trainer"]["max_epochs"] == 4
    starts = json.loads((tmp_path / "second/provenance.json").read_text("utf-8"))["starts"]
    assert [start["ended"] for start in starts] == ["finished", "finished"]
    assert starts[1]["command"] == f"loco train ckpt_path={run} {' '.join(words)}"


def test_a_finished_run_is_only_tested_again_and_says_so(project: Path, tmp_path: Path) -> None:
    run = only(project / "outputs/train")
    done = run_loco("train", f"ckpt_path={run}".replace("=", r"='", 1)
                .replace("it's", r"it\'s") + "'", "output_dir=again", cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.out
    assert "has trained for 1 epochs, and trainer.max_epochs is 1: it is only tested again" in (
        done.out
    )
    assert (tmp_path / "again/metrics.json").read_bytes() == (run / "metrics.json").read_bytes()


def test_data_that_moved_along_is_found(project: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(project, tmp_path / "moved")
    run = only(moved / "outputs/train")
    gone = project.with_name("gone")
    project.rename(gone)
    try:
        config, _ = composed(f"ckpt_path={run}", cwd=tmp_path)
    finally:
        gone.rename(project)
    assert config["data"]["root"] == str(moved / "wx=1, {y} it's")


def test_a_checkpoint_alone_says_that_its_run_is_not_there(project: Path, tmp_path: Path) -> None:
    shutil.copy(only(project / "outputs/train") / "checkpoints/last.ckpt", tmp_path / "alone.ckpt")
    data = r"data.root='" + str(project / "wx=1, {y} it's").replace("'", r"\'") + "'"
    done = run_loco("train", "ckpt_path=alone.ckpt", data, *TINY_DATA, *QUIET, cwd=tmp_path)
    assert done.code == 1
    assert "alone.ckpt: without its run's folder; goes on with the settings that are given" in (
        done.out
    )
    assert "cannot go on with another model; give the overrides of its run again" in done.out
    assert "Traceback" not in done.out
    assert not list((tmp_path / "outputs/train").iterdir())  # Hydra's notes alone are not kept


@pytest.mark.slow
def test_a_job_of_a_sweep_goes_on_as_a_run_and_as_a_sweep(tmp_path: Path) -> None:
    words = [*TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1"]
    done = run_loco("train", "-m", *words, "seed=0", "experiment=table2c_attention",
                "attention=fixed", cwd=tmp_path)  # fmt: skip
    assert done.code == 0, done.out
    (job,) = [note.parent.parent for note in tmp_path.rglob(".hydra/overrides.yaml")]
    config, told = composed(f"ckpt_path={job}", cwd=tmp_path)
    assert config["seed"] == 0
    assert config["attention"]["_target_"].endswith("FixedWindowAttention"), told
    done = run_loco("train", "-m", f"ckpt_path={job}", "trainer.max_epochs=2,3", cwd=tmp_path)
    assert done.code == 0, done.out
