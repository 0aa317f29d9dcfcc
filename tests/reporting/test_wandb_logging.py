"""A real offline W&B run, read back from its files and its record."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from wandb.proto import wandb_internal_pb2

from helpers import QUIET, TINY_DATA, TINY_MODEL, Composer, Stopped, run_loco, tiny_config
from loco.errors import LocoError, OutputError
from loco.reporting.wandb_logging import WandbMedia, wandb_logger
from loco.runs.train import train


def records(path: Path) -> list[Any]:
    """The records of a `.wandb` file: a LevelDB log of protocol buffers, behind a header."""
    content = path.read_bytes()
    place, parts, found = 7, b"", []
    while place + 7 <= len(content):
        room = 32768 - place % 32768
        if room < 7:
            place += room
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        if place + 7 + length > len(content):
            break  # it is still being written
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            found.append(wandb_internal_pb2.Record.FromString(parts))
            parts = b""
    return found


def finished_records(path: Path, seconds: float = 60) -> list[Any]:
    """The records of a run that was finished; W&B's own process may still be writing the last."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        found = records(path)
        if any(record.WhichOneof("record_type") == "exit" for record in found):
            return found
        time.sleep(0.1)
    raise AssertionError(f"{path} has no record of the run's end")


def history(found: list[Any]) -> list[dict[str, Any]]:
    """What was logged, a dict for each row."""
    rows = []
    for record in found:
        if record.WhichOneof("record_type") == "history":
            row: dict[str, Any] = {}
            for item in record.history.item:
                *outer, last = [item.key] if item.key else item.nested_key
                inner = row
                for key in outer:
                    inner = inner.setdefault(key, {})
                inner[last] = json.loads(item.value_json)
            rows.append(row)
    return rows


@pytest.fixture(scope="module")
def run_folder(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs."""
    folder = tmp_path_factory.mktemp("sweep") / "seed-4"
    train(
        tiny_config(
            synthetic_root, folder, "seed=4", "logger=wandb", "logger.wandb.offline=true",
            "trainer.log_every_n_steps=1", "callbacks.wandb.num_videos=2",
        )
    )  # fmt: skip
    return folder


def test_scalars_tables_curves_and_pictures(run_folder: Path) -> None:
    (file,) = run_folder.rglob("run-*.wandb")
    found = finished_records(file)
    values = defaultdict(list)
    for row in history(found):
        for key, value in row.items():
            values[key].append(value)
    for name in ["mAP", *(f"mAP@0.{i}" for i in range(1, 10))]:
        assert len(values[f"val/{name}"]) == 2
        assert len(values[f"test/{name}"]) == 1
    written = json.loads((run_folder / "metrics.json").read_text())
    assert values["test/mAP"][0] == pytest.approx(written["mAP"], rel=1e-6)
    assert len(values["train/loss"]) == 6
    assert "val/mAP" in (run_folder / "logs" / "metrics.csv").read_text()
    for name in ("lcc/sigma", "lcc/temperature", "train/loss_lcc"):
        assert len(values[name]) == 6
    assert values["val/per_class"][0]["_type"] == "table-file"
    assert values["windows/size_level_0"][0]["_type"] == "histogram"
    drawn = [key for key in values if key.startswith(("timeline/", "similarity/"))]
    assert len(drawn) == 4
    media = next(run_folder.rglob("files")) / "media"
    for key in drawn:
        picture = values[key][0]
        assert picture["_type"] == "image-file"
        assert picture["width"] > 200
        assert next(media.rglob(Path(picture["path"]).name)).read_bytes()[:4] == b"\x89PNG"
    (table,) = media.rglob("*test/per_class*.table.json")
    rows = json.loads(table.read_text())
    assert rows["columns"] == ["class", "AP", "AP@0.5", "AP@0.9"]
    rated = {n: v["mAP"] for n, v in written["per_class"].items() if v["mAP"] is not None}
    assert {row[0] for row in rows["data"]} == set(rated)
    for name, average, _, _ in rows["data"]:
        assert average == pytest.approx(100 * rated[name])


def test_the_run_is_named_grouped_configured_and_closed(run_folder: Path) -> None:
    import wandb

    assert wandb.run is None
    (file,) = run_folder.rglob("run-*.wandb")
    found = finished_records(file)
    kinds = {record.WhichOneof("record_type") for record in found}
    assert {"run", "history", "metric", "exit", "artifact"} <= kinds
    run = next(r.run for r in found if r.WhichOneof("record_type") == "run")
    assert run.display_name == "seed-4"
    assert run.run_group == run_folder.parent.name
    config = {}
    for record in found:
        source = {"run": record.run.config, "config": record.config}.get(
            record.WhichOneof("record_type")
        )
        for item in source.update if source is not None else []:
            config[item.key or "/".join(item.nested_key)] = item.value_json
    assert json.loads(config["seed"]) == 4
    assert "window_size" in str(config)
    steps = {
        r.metric.glob_name or r.metric.name: r.metric.step_metric
        for r in found
        if r.WhichOneof("record_type") == "metric"
    }
    assert steps["val/*"] == "epoch"
    artifacts = [r.artifact for r in found if r.WhichOneof("record_type") == "artifact"]
    (artifact,) = (artifact for artifact in artifacts if artifact.type == "predictions")
    assert {entry.path for entry in artifact.manifest.contents} == {
        "predictions.json", "metrics.json", "config.yaml",
    }  # fmt: skip


@pytest.mark.slow
def test_another_attention_and_no_lcc(tiny: Composer) -> None:
    """Strategies without windows, and models without LCC's space, log what they have."""
    train(
        tiny(
            "logger=wandb", "logger.wandb.offline=true", "trainer.max_epochs=1",
            "attention=global", "correspondence=none", "callbacks.wandb.num_videos=1",
        )
    )  # fmt: skip


def test_several_loggers_are_several(tiny: Composer, tmp_path: Path) -> None:
    """And the CSV log, which the report reads, is always there."""
    train(tiny("logger=[csv,tensorboard,wandb]", "logger.wandb.offline=true",
               "trainer.max_epochs=1", "callbacks.wandb.num_videos=0", "report=true"))  # fmt: skip
    run = tmp_path / "run"
    assert len(list(run.rglob("run-*.wandb"))) == 1
    assert list(run.rglob("events.out.tfevents*"))
    assert "val/mAP" in (run / "logs" / "metrics.csv").read_text()
    assert "No training curves" not in (run / "report.html").read_text()


def exit_code(folder: Path) -> int:
    """How the only W&B run of a folder ended."""
    (file,) = folder.rglob("run-*.wandb")
    (end,) = (r for r in finished_records(file) if r.WhichOneof("record_type") == "exit")
    return int(end.exit.exit_code)


def test_each_job_has_a_run_of_its_own_whatever_ended_the_one_before(
    tiny: Composer, tmp_path: Path
) -> None:
    """In one process, as the jobs of a sweep: an exception, Ctrl-C, a fault in the results."""
    common = ["logger=wandb", "logger.wandb.offline=true", "callbacks.wandb.num_videos=0"]
    stop = "+callbacks.stop={_target_: helpers.StopAfter, epoch: 0}"
    with pytest.raises(Stopped):
        train(tiny(*common, stop, output="stopped"))
    interrupt = "+callbacks.stop={_target_: helpers.InterruptAfter, epoch: 0}"
    with pytest.raises(KeyboardInterrupt):
        train(tiny(*common, interrupt, output="interrupted"))
    (tmp_path / "faulty" / "metrics.json.part").mkdir(parents=True)
    with pytest.raises(OutputError, match="metrics"):
        train(tiny(*common, "trainer.max_epochs=1", output="faulty"))
    train(tiny(*common, "trainer.max_epochs=1", output="good"))
    names = ("stopped", "interrupted", "faulty", "good")
    assert [exit_code(tmp_path / name) for name in names] == [1, 1, 1, 0]


@pytest.mark.slow
def test_jobs_of_a_sweep_have_a_run_each(synthetic_root: Path, tmp_path: Path) -> None:
    """The first one fails in its training; both are jobs of one process."""
    done = run_loco(
        "train", "-m", f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET,
        "logger=wandb", "logger.wandb.offline=true", "callbacks.wandb.num_videos=0",
        "trainer.max_epochs=1", "trainer.gradient_clip_val=null", "optimizer.lr=1e30,0.001",
        "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra:job.num}", cwd=tmp_path,
    )  # fmt: skip
    assert done.code == 1, done.out
    assert "1 of 2 jobs finished" in done.out
    assert [exit_code(tmp_path / "sweep" / name) for name in "01"] == [1, 0]


@pytest.mark.slow
def test_without_a_login(tmp_path: Path) -> None:
    """A line that names the way out, before the data is made or read."""
    known = {k: v for k, v in os.environ.items() if not k.startswith("WANDB_")}
    done = subprocess.run(
        [sys.executable, "-m", "loco.cli", "train", "logger=wandb"],
        env=known | {"HOME": str(tmp_path), "NETRC": str(tmp_path / "none")}, cwd=tmp_path,
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "WANDB_MODE=offline" in line
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "data").exists()


def test_bad_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="every_n_validations"):
        WandbMedia(every_n_validations=0)


def test_a_setting_that_wandb_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(LocoError, match=r"W&B takes no tag; did you mean tags\?"):
        wandb_logger(tmp_path, offline=True, tag=["a"])
    assert not list(tmp_path.iterdir())
