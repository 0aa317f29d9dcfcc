"""Sweeps as people start them: folders, failures, resuming, launchers, and processes of one job."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from helpers import QUIET, ROOT, TINY_DATA, TINY_MODEL, compose_config
from loco.data.datamodule import AVDataModule
from loco.runs.job_status import status

EXPERIMENTS = sorted(path.stem for path in (ROOT / "conf" / "experiment").glob("*.yaml"))
TINY = [*TINY_DATA, *TINY_MODEL, *QUIET, "trainer.max_epochs=1"]


def start(*words: str, cwd: Path, script: str = "train.py", **env: str) -> subprocess.Popen[str]:
    """`python scripts/train.py …` in a folder of its own."""
    path = os.pathsep.join(str(ROOT / name) for name in ("src", "tests"))
    given = {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": path}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "scripts" / script), *words],
        cwd=cwd,
        env=os.environ | given | env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def call(
    *words: str, cwd: Path, script: str = "train.py", **env: str
) -> subprocess.CompletedProcess[str]:
    process = start(*words, cwd=cwd, script=script, **env)
    out, err = process.communicate(timeout=500)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def jobs(sweep: Path) -> list[str]:
    """The names of the job folders in a sweep."""
    return sorted(note.parts[-3] for note in sweep.glob("*/.hydra/overrides.yaml"))


def quick(*seeds_and_more: str) -> list[str]:
    """The names that folders of `sweep_tasks.quick` have."""
    return [f"{name}+task-sweep_tasks.quick" for name in seeds_and_more]


# -- the experiments ------------------------------------------------------------------------------


def sweep_of(experiment: str) -> dict[str, list[str]]:
    """The values of every parameter that an experiment sweeps."""
    content = OmegaConf.load(ROOT / "conf" / "experiment" / f"{experiment}.yaml")
    params = OmegaConf.select(content, "hydra.sweeper.params") or {}
    parser = OverridesParser.create()
    values = {}
    for key, text in params.items():
        parsed = parser.parse_override(f"{key}={text}")
        if parsed.is_interval_sweep():
            values[key] = [str(parsed.value().start), str(parsed.value().end)]
        elif parsed.is_sweep_override():
            values[key] = list(parsed.sweep_string_iterator())
        else:
            values[key] = [parsed.get_value_element_as_str()]
    return values


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)])
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_jobs_of_every_experiment_build(experiment: str, every: bool) -> None:
    """The last one quickly; each of them slowly."""
    sweep = sweep_of(experiment)
    sweep.pop("seed", None)
    sweep.pop("data", None)
    first = [f"{key}={values[0]}" for key, values in sweep.items()]
    others = [[*first, f"{key}={value}"] for key, values in sweep.items() for value in values[1:]]
    jobs = [first, *others]
    for job in jobs if every else jobs[-1:]:
        common = [f"experiment={experiment}", *job, "output_dir=x", "model.dim=16"]
        config = compose_config("train", [*common, "data=synthetic"])
        tasks = config.model.get("tasks", {})
        classes = dict.fromkeys(tasks, 2) if len(tasks) > 1 else 2
        model = instantiate(config.model, visual_channels=4, audio_channels=3, num_classes=classes)
        assert isinstance(model, nn.Module)
    assert isinstance(instantiate(config.data), AVDataModule)
    for data in ("unav100_i3d_vggish", "unav100_onepeace"):
        config = compose_config("train", [*common, f"data={data}"])
        assert isinstance(instantiate(config.data), AVDataModule)


def test_the_rows_of_the_tables() -> None:
    """As many jobs as the tables have rows, times three seeds, or eight."""
    for experiment, count in {"table1_comparison": 14, "table1_synthetic": 7}.items():
        assert len(list(itertools.product(*sweep_of(experiment).values()))) == 3 * count, experiment
    for experiment, count in {
        "table2a_components": 6, "table2b_correspondence": 4, "table2c_attention": 3,
        "table2d_window": 5, "lambda": 5, "better_lcc": 10, "better_lcc_controls": 12,
        "better_leave_one_out": 8, "better_parts": 25,
    }.items():  # fmt: skip
        sweep = sweep_of(experiment)
        assert sweep["seed"] == [str(seed) for seed in range(8)]
        assert len(list(itertools.product(*sweep.values()))) == 8 * count, experiment
    parts = {path.stem for path in (ROOT / "conf" / "part").glob("*.yaml")}
    assert set(sweep_of("better_parts")["part"]) == parts - {"without_lcc"}  # a row of better_lcc
    assert len(list(itertools.product(*sweep_of("table3_cost").values()))) == 6


def test_leaving_one_out_starts_from_loco_plus_small() -> None:
    sweep = sweep_of("better_leave_one_out")
    first, *others = sweep.pop("part")
    settings = [f"{key}={values[0]}" for key, values in sweep.items()]
    settings += ["+model.decoder.head.hidden=null"]  # as the head has it by itself
    job = compose_config("train", [*settings, f"part={first}", "output_dir=x"])
    assert job == compose_config("train", ["model=loco_plus_small", "output_dir=x"])
    names = first.strip("[]").split(",")
    left_out = [set(names) - set(other.strip("[]").split(",")) for other in others]
    assert left_out == [{name} for name in names]


# -- folders, failures, resuming ------------------------------------------------------------------


@pytest.mark.slow
def test_a_failing_job_ends_itself_alone_and_is_tried_again(tmp_path: Path) -> None:
    command = ["-m", "task=sweep_tasks.quick", "seed=0,1,2", "correspondence.weight=0.1,0.2"]
    done = call(*command, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert (
        "correspondence.weight-0.2+task-sweep_tasks.quick: ValueError: seed 1 is broken"
        in done.stderr
    )
    (sweep,) = (tmp_path / "multirun" / "train").iterdir()
    assert "4 of 6 jobs finished" in done.stdout
    names = quick(
        *(f"seed-{s}+correspondence.weight-{w}" for s in (0, 1, 2) for w in ("0.1", "0.2"))
    )
    assert jobs(sweep) == names
    broken = sweep / names[2]
    assert (broken / "failed.txt").read_text().startswith("ValueError: seed 1 is broken\n")
    assert "Traceback" in (broken / "failed.txt").read_text()

    table = call(str(sweep), cwd=tmp_path, script="tabulate.py").stdout
    assert "| 0.1 | 2 (1 failed) |" in table

    (tmp_path / "mended").touch()
    done = call(*command, "resume_sweep=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "multirun" / "train").iterdir()) == [sweep]
    assert jobs(sweep) == names
    assert "6 of 6 jobs finished" in done.stdout
    calls = [len((sweep / name / "calls.txt").read_text().splitlines()) for name in names]
    assert calls == [1, 1, 2, 2, 1, 1]
    assert not (broken / "failed.txt").exists()

    done = call(*command, f"resume_sweep={sweep}", "trainer.max_epochs=3", cwd=tmp_path)
    assert len(jobs(sweep)) == 12  # another training is another job


@pytest.mark.slow
def test_rows_that_studies_share_run_once(tmp_path: Path) -> None:
    """The second study's own row runs, the one that the first one has had already does not."""
    common = ["-m", "task=sweep_tasks.quick", "reuse=multirun"]
    for words in (["attention=cdp,fixed"], ["correspondence=learnable_gaussian,diagonal"]):
        done = call(*common, *words, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert done.stdout.count("taken from there") == 1
    calls = sorted(file.parent.name for file in tmp_path.rglob("calls.txt"))
    assert calls == quick("attention-cdp", "attention-fixed", "correspondence-diagonal")
    first, second = sorted((tmp_path / "multirun" / "train").iterdir())
    command = [str(first), str(second), "--column", "lcc/sigma"]
    table = call(*command, cwd=tmp_path, script="tabulate.py").stdout
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 3
    assert all("| 1.250 |" in row for row in rows)  # with its results comes its log


@pytest.mark.slow
def test_a_single_run_fails_as_it_did(tmp_path: Path) -> None:
    done = call("model.dim=15", *TINY_DATA, *QUIET, cwd=tmp_path)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("error: ")
    done = call("-m", "seed=0,1", "resume_sweep=nowhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "expected true or a sweep's folder" in done.stderr
    for word in ("reuse=multirun", "resume_sweep=true"):  # else it would train, and reuse nothing
        done = call("task=sweep_tasks.quick", word, cwd=tmp_path)
        assert done.returncode == 1
        assert "is for a sweep, which -m starts" in done.stderr
    done = call("-m", "task=sweep_tasks.quick", "reuse=multirunn", cwd=tmp_path)
    assert done.returncode == 1
    assert "reuse=multirunn: expected a folder of sweeps" in done.stderr
    done = call("-m", "seed=0,1", "output_dir=shared", "task=sweep_tasks.quick", cwd=tmp_path)
    assert done.returncode == 1
    assert "output_dir would be shared" in done.stderr


@pytest.mark.slow
def test_starts_in_the_same_second_share_no_folder(tmp_path: Path) -> None:
    command = ["task=sweep_tasks.quick", "+trainer.a=b/c"]
    into = f"hydra.sweep.dir={tmp_path / 'given'}"
    processes = [
        *(start(*command, cwd=tmp_path) for _ in range(3)),
        *(start("-m", *command, "seed=0,2", cwd=tmp_path) for _ in range(2)),
        *(start("-m", *command, "seed=0,2", into, cwd=tmp_path) for _ in range(2)),
    ]
    for process in processes:
        out, err = process.communicate(timeout=200)
        told = f"{process.args}\n{out}\n{err}"
        if into in process.args and process.returncode == 1:  # ended while the other one ran jobs
            assert "jobs finished" in out, told
            assert not err, told
        else:
            assert process.returncode == 0, told
    assert len(list((tmp_path / "outputs" / "train").iterdir())) == 3
    sweeps = list((tmp_path / "multirun" / "train").iterdir())
    assert [len(jobs(sweep)) for sweep in sweeps] == [2, 2]
    assert len(jobs(tmp_path / "given")) == 4
    assert all(status(tmp_path / "given" / name) == "finished" for name in jobs(tmp_path / "given"))
    for calls in tmp_path.rglob("calls.txt"):
        assert len(calls.read_text().splitlines()) == 1


@pytest.mark.slow
def test_a_real_sweep_goes_on_where_it_was_killed(tmp_path: Path) -> None:
    command = ["-m", *TINY, "seed=0,1", "trainer.max_epochs=2"]
    done = call(*command, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun" / "train").iterdir()
    first, second = (sweep / name for name in jobs(sweep))
    whole = (second / "metrics.json").read_text()
    kept = (first / "metrics.json").stat().st_mtime_ns
    (second / "metrics.json").unlink()
    done = call(*command, "resume_sweep=true", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "finished already, kept" in done.stdout
    assert "other settings" not in done.stdout
    assert "resuming from" in done.stdout
    assert (second / "metrics.json").read_text() == whole
    assert (first / "metrics.json").stat().st_mtime_ns == kept


# -- launchers ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_joblib_divides_the_threads(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    cores = len(os.sched_getaffinity(0))
    done = call(
        "-m", "hydra/launcher=local", "task=sweep_tasks.threads", "seed=0,1", cwd=tmp_path,
        OMP_NUM_THREADS=str(cores),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun" / "train").iterdir()
    assert [name.partition("+")[0] for name in jobs(sweep)] == ["seed-0", "seed-1"]
    results = [json.loads((sweep / name / "metrics.json").read_text()) for name in jobs(sweep)]
    assert [result["threads"] for result in results] == [max(1, cores // 2)] * 2


@pytest.mark.slow
@pytest.mark.slow
def test_a_sweep_that_leaves_no_results_is_no_failure(synthetic_root: Path, tmp_path: Path) -> None:
    done = call(
        "-m", f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, "debug=fast", "seed=0,1",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "2 of 2 jobs finished" in done.stdout


def test_joblib_goes_on_after_a_failure(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")
    done = call("-m", "hydra/launcher=joblib", "task=sweep_tasks.quick", "seed=1,0", cwd=tmp_path)
    assert done.returncode == 1
    assert "1 of 2 jobs finished" in done.stdout


@pytest.mark.slow
def test_submitit_as_on_a_cluster(tmp_path: Path) -> None:
    """Through submitit's own processes and pickles, by its local executor."""
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    done = call(
        "-m", "hydra/launcher=submitit_local", "task=sweep_tasks.quick", "seed=0,1", cwd=tmp_path
    )
    assert done.returncode == 1, done.stderr
    (sweep,) = (tmp_path / "multirun" / "train").iterdir()
    assert jobs(sweep) == quick("seed-0", "seed-1")
    assert "1 of 2 jobs finished" in done.stdout
    assert (
        (sweep / quick("seed-1")[0] / "failed.txt")
        .read_text()
        .startswith("ValueError: seed 1 is broken")
    )


def test_slurm_asks_for_what_the_config_says(tmp_path: Path) -> None:
    """The script that would be submitted, from the config that would submit it."""
    submitit = pytest.importorskip("submitit")
    with_cluster = call("hydra/launcher=slurm", "hydra.launcher.partition=gpu", "--cfg", "hydra",
                        "-p", "hydra.launcher", cwd=tmp_path)  # fmt: skip
    config = OmegaConf.create(with_cluster.stdout)
    assert config.partition == "gpu"
    fields = ("timeout_min", "gpus_per_node", "cpus_per_task", "nodes", "tasks_per_node")
    from submitit.slurm.slurm import _make_sbatch_string

    given = {name: config[name] for name in fields if name != "timeout_min"}
    text = _make_sbatch_string(
        command="true", folder=tmp_path, partition=config.partition, time=config.timeout_min,
        **{("ntasks_per_node" if k == "tasks_per_node" else k): v for k, v in given.items()},
    )  # fmt: skip
    assert submitit.__version__
    for line in ("--partition=gpu", "--time=1440", "--gpus-per-node=1", "--cpus-per-task=8",
                 "--ntasks-per-node=1"):  # fmt: skip
        assert line in text


@pytest.mark.slow
def test_costs_are_measured(tmp_path: Path) -> None:
    sizes = ["cost.steps=32", "cost.batch_size=2", "cost.repeats=1", "cost.visual_channels=8"]
    done = call(
        "-m", "experiment=table3_cost", "model.dim=16", "trainer.accelerator=cpu", *sizes,
        "attention=none,cdp", "correspondence=none", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (sweep,) = (tmp_path / "multirun" / "train").iterdir()
    none, cdp = (
        json.loads((sweep / name / "cost.json").read_text()) for name in sorted(jobs(sweep))[::-1]
    )
    assert none["parameters"] < cdp["parameters"]
    assert none["gflop"] < cdp["gflop"]
    table = call(str(sweep), cwd=tmp_path, script="tabulate.py").stdout
    assert "| attention | seeds | parameters (M) | GFLOP |" in table


# -- processes of one job -------------------------------------------------------------------------

DDP = ["trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu"]


@pytest.mark.slow
def test_each_process_gets_the_jobs_own_config(tmp_path: Path) -> None:
    """Also in a sweep, which Lightning would start anew in each process."""
    done = call("-m", *DDP, "task=sweep_tasks.ranked", "seed=0,1,2", cwd=tmp_path)
    assert done.returncode == 1
    assert "seed-1" in done.stderr
    assert "rank 1 will not" in done.stderr
    (sweep,) = (tmp_path / "multirun" / "train").iterdir()
    assert len(jobs(sweep)) == 3
    assert not (tmp_path / "outputs").exists()
    for name in jobs(sweep):
        assert [(sweep / name / f"rank{i}.txt").read_text() for i in (0, 1)] == ["2", "2"]
    assert "2 of 3 jobs finished" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("attention", ["none", "global", "cdp"])
def test_training_in_two_processes(tmp_path: Path, attention: str) -> None:
    done = call(*DDP, *TINY, f"attention={attention}", "trainer.max_epochs=2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "train").iterdir()
    metrics = json.loads((run / "metrics.json").read_text())
    annotations = json.loads((tmp_path / "data/synthetic/annotations.json").read_text())
    tested = json.loads((run / "predictions.json").read_text())["database"]
    assert set(tested) == {
        video for video, entry in annotations["database"].items() if entry["subset"] == "test"
    }
    assert done.stdout.count("metrics.json, predictions.json") == 1
    checkpoint = f"ckpt_path={run / 'checkpoints' / 'best.ckpt'}"
    for name, words in {"one": ["trainer.accelerator=cpu"], "two": DDP}.items():
        again = call(
            checkpoint, *words, f"output_dir={tmp_path / name}", cwd=tmp_path, script="evaluate.py"
        )
        assert again.returncode == 0, again.stderr
        result = json.loads((tmp_path / name / "metrics.json").read_text())
        for key in (f"mAP@0.{i}" for i in range(1, 10)):
            assert result[key] == pytest.approx(metrics[key], abs=1e-12)
        again_tested = json.loads((tmp_path / name / "predictions.json").read_text())["database"]
        assert set(again_tested) == set(tested)


@pytest.mark.slow
def test_prediction_in_two_processes_is_of_every_video(tmp_path: Path) -> None:
    done = call(*TINY, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "outputs" / "train").iterdir()
    for name, words in {"one": ["trainer.accelerator=cpu"], "two": DDP}.items():
        done = call(
            f"ckpt_path={run}", "data.root=data/synthetic/features", *words,
            f"output_dir={tmp_path / name}", cwd=tmp_path, script="predict.py",
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    one, two = (
        json.loads((tmp_path / name / "predictions.json").read_text())["database"]
        for name in ("one", "two")
    )
    assert len(one) == 21
    assert set(one) == set(two)
