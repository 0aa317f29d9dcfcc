"""Data as it comes from strangers: what is wrong is told, and what is right is used."""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

from helpers import Composer, compose_config
from loco.cli import main
from loco.errors import AnnotationError, FeatureError, IncompleteError
from loco.runs.evaluate import evaluate
from loco.runs.predict import predict
from loco.runs.run_folder import RunFolder
from loco.runs.train import train


def spoil(root: Path, split: str, count: int = 1) -> list[str]:
    """Write NaN into the audio of the first videos of a split; their ids."""
    database = json.loads((root / "annotations.json").read_text())["database"]
    ids = [name for name, video in database.items() if video["subset"] == split][:count]
    for video_id in ids:
        path = root / "features" / f"{video_id}_vggish.npy"
        values = np.load(path)
        values[len(values) // 2] = np.nan
        np.save(path, values)
    return ids


@pytest.mark.parametrize("count", [1, pytest.param(11, marks=pytest.mark.slow)])
def test_nan_in_training_files_is_left_out_where_that_is_allowed(
    own: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture, count: int
) -> None:
    """11 of the 12 too: no batch is ever empty."""
    ids = spoil(tmp_path / "own", "train", count) + spoil(tmp_path / "own", "validation")
    with pytest.raises(FeatureError, match="NaN or infinity in 1 steps"):
        train(own("data.crop_ratio=null", output="refused"))
    caplog.clear()
    train(own("data.missing=skip", "data.crop_ratio=null", "data.eval_batch_size=1"))
    told = {line for line in caplog.messages if line.startswith("left out: ")}
    assert {video for video in ids if any(repr(video) in line for line in told)} == set(ids)


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_every_value_can_be_read_beforehand(own: Composer, tmp_path: Path, split: str) -> None:
    (bad,) = spoil(tmp_path / "own", split)
    with pytest.raises(FeatureError, match=f"1 of 21 videos .*\n.*{bad}.*NaN or infinity"):
        train(own("data.check=full"))
    assert not (tmp_path / "run").exists()


def test_nan_in_a_test_video_keeps_the_results_of_the_others(own: Composer, tmp_path: Path) -> None:
    (bad,) = spoil(tmp_path / "own", "test")
    with pytest.raises(IncompleteError, match="1 of 5 videos could not be used") as caught:
        train(own("data.eval_batch_size=1"))
    assert bad in str(caught.value)
    assert caught.value.exit_code == 3
    database = json.loads((tmp_path / "run/predictions.json").read_text())["database"]
    assert len(database) == 4
    assert bad not in database
    assert len(RunFolder(tmp_path / "run").test_videos) == 4  # what metrics.json counts
    again = compose_config(
        "evaluate",
        [f"ckpt_path={tmp_path / 'run'}", f"output_dir={tmp_path / 'again'}", "report=false",
         "trainer.accelerator=cpu"],
    )  # fmt: skip
    with pytest.raises(IncompleteError, match=bad):
        evaluate(again)
    assert (tmp_path / "again/metrics.json").is_file()


def test_describe_reads_every_value(
    own: Composer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "own"
    words = ["describe", str(root / "annotations.json"), "--layout", "unav100_i3d_vggish"]
    assert main([*words, "--check", str(root / "features")]) == 0
    assert "every value of 21 videos is fine, 0 problems" in capsys.readouterr().out
    (bad,) = spoil(root, "train")
    (root / "features" / "test_00000_rgb.npy").unlink()
    assert main([*words, "--check", str(root / "features")]) == 1
    told = capsys.readouterr().out
    assert "every value of 19 videos is fine, 2 problems" in told
    assert f"{bad}_vggish.npy: NaN or infinity in 1 steps" in told
    assert "test_00000_rgb.npy: missing" in told


def test_float64_is_told_once(
    own: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for path in (tmp_path / "own" / "features").glob("*_vggish.npy"):
        np.save(path, np.load(path).astype(">f8"))
    with caplog.at_level(logging.WARNING):
        train(own())
    (line,) = [line for line in caplog.messages if "float64" in line]
    assert "21 files hold float64" in line


def test_files_that_are_no_features(finished_run: Path, tmp_path: Path) -> None:
    """Hidden ones are no videos; a pipe is told, and not waited for."""
    made = Path(OmegaConf.load(finished_run / "config.yaml").data.root) / "features"
    root = tmp_path / "features"
    root.mkdir()
    for path in made.glob("test_0000[01]_*.npy"):
        shutil.copy(path, root)
    for name in ("._test_00000_rgb.npy", ".nfs01_rgb.npy", ".ipynb_checkpoints/x_rgb.npy"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"\0")
    words = [f"ckpt_path={finished_run}", f"data.root={root}", "trainer.accelerator=cpu"]
    found = predict(compose_config("predict", [*words, f"output_dir={tmp_path / 'a'}"]))
    assert sorted(found) == ["test_00000", "test_00001"]
    (root / "test_00000_rgb.npy").unlink()
    os.mkfifo(root / "test_00000_rgb.npy")
    with pytest.raises(IncompleteError, match=r"1 of 2 .*\n.*test_00000_rgb\.npy"):
        predict(compose_config("predict", [*words, f"output_dir={tmp_path / 'b'}"]))


def test_a_name_in_another_unicode_form_is_told(own: Composer, tmp_path: Path) -> None:
    """Composed in the annotations, decomposed in the names of files, as a Mac leaves them."""
    path = tmp_path / "own" / "annotations.json"
    path.write_text(path.read_text().replace('"train_00000"', '"vidéo"'), encoding="utf-8")
    for file in (tmp_path / "own" / "features").glob("train_00000_*"):
        decomposed = unicodedata.normalize("NFD", "vidéo")
        file.rename(file.with_name(file.name.replace("train_00000", decomposed)))
    with pytest.raises(FeatureError, match=r"another Unicode form \(NFD\)"):
        train(own())


def test_ends_beyond_the_video(
    own: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """By a rounding they are clipped, with one warning; by more they are all named."""
    path = tmp_path / "own" / "annotations.json"
    content = json.loads(path.read_text())
    named = [name for name, video in content["database"].items() if video["annotations"]][:3]
    for seconds in (0.004, 20.0):
        for video in (content["database"][name] for name in named):
            video["annotations"][0]["segment"][1] = video["duration"] + seconds
        path.write_text(json.dumps(content))
        if seconds < 1:
            train(own("trainer.max_epochs=0"))
            (line,) = [line for line in caplog.messages if "reach out of their video" in line]
            assert "3 events" in line
    with pytest.raises(AnnotationError) as caught:
        train(own(output="refused"))
    assert all(repr(name) in str(caught.value) for name in named)


def call(*words: str, cwd: Path, **env: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-m", "loco.cli", *words], cwd=cwd, capture_output=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | env,
    )  # fmt: skip


def rename_classes(root: Path, names: list[str]) -> None:
    path = root / "annotations.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    for video in content["database"].values():
        for event in video["annotations"]:
            event["label"] = names[event["label_id"]]
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_any_names_whatever_the_locale_and_the_terminal(
    own: Composer, tmp_path: Path, encoding: str
) -> None:
    """Train, evaluate, predict, report, tabulate and describe under the C locale."""
    names = ["狗叫 🐕", "Gespräch $5 [bold]<b>", '=cash $$, "x"']
    rename_classes(tmp_path / "own", names)
    locale = {
        "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C", "PYTHONIOENCODING": encoding
    }  # fmt: skip
    own_data, run = tmp_path / "own", tmp_path / "run"
    words = [
        "data=unav100_i3d_vggish", f"data.root={own_data / 'features'}", "data.num_workers=0",
        f"data.annotations={own_data / 'annotations.json'}", "data.batch_size=4",
        "trainer.max_epochs=1", "model.dim=16", "model.heads=2", "trainer.accelerator=cpu",
    ]  # fmt: skip
    commands = {
        "train": ["train", *words, f"hydra.run.dir={run}"],
        "evaluate": ["evaluate", f"ckpt_path={run}", "hydra.run.dir=again"],
        "predict": ["predict", f"ckpt_path={run}", f"data.root={own_data / 'features'}",
                    "formats=[json,csv,srt,vtt,audacity,elan]", "hydra.run.dir=found"],
        "report": ["report", str(run)],
        "tabulate": ["tabulate", str(run), "--html", "sweep.html"],
        "describe": ["describe", str(own_data / "annotations.json"), "--plot", "data.png"],
    }  # fmt: skip
    for name, command in commands.items():
        done = call(*command, cwd=tmp_path, **locale)
        assert done.returncode == 0, (name, done.stderr.decode("utf-8", "replace")[-3000:])
    for folder in (run, tmp_path / "again"):
        metrics = json.loads((folder / "metrics.json").read_bytes().decode("utf-8"))
        assert set(metrics["per_class"]) == set(names)
        assert "狗叫" in (folder / "report.html").read_bytes().decode("utf-8")
