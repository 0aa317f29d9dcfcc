"""The entry points as people call them: prediction, and errors of a line or two."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from helpers import QUIET, ROOT, TINY_DATA, TINY_MODEL, compose_config, run_loco
from loco.data.features import FeatureLayout
from loco.data.synthetic.generator import SyntheticConfig, make_synthetic
from loco.runs.checkpoints import load_module
from loco.runs.entry import readable


def call(*words: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python scripts/…` in a folder of its own."""
    script, *rest = map(str, words)
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / script), *rest],
        cwd=cwd,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def trained(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run, started from the command line."""
    folder = tmp_path_factory.mktemp("trained")
    done = run_loco(
        "train", f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET,
        "trainer.max_epochs=1", cwd=folder,
    )  # fmt: skip
    assert done.code == 0, done.out
    assert "constant predictor" in done.out
    (run,) = (folder / "outputs" / "train").iterdir()
    assert (run / "metrics.json").is_file()
    return run


def test_predict_needs_no_annotations(trained: Path, synthetic_root: Path, tmp_path: Path) -> None:
    features = tmp_path / "videos"
    features.mkdir()
    ids = sorted(
        path.name.removesuffix("_vggish.npy")
        for path in (synthetic_root / "features").glob("*_vggish.npy")
    )[:3]
    for path in (synthetic_root / "features").iterdir():
        if any(path.name.startswith(video_id) for video_id in ids):
            shutil.copy(path, features)
    done = call(
        "predict.py", f"ckpt_path={trained / 'checkpoints' / 'best.ckpt'}",
        f"data.root={features}", "show=1", f"output_dir={tmp_path / 'out'}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    database = json.loads((tmp_path / "out" / "predictions.json").read_text())["database"]
    assert sorted(database) == ids
    assert ids[0] in done.stdout  # as a table
    assert "start (s)" in done.stdout


@pytest.mark.slow
def test_evaluate_repeats_the_test(trained: Path, tmp_path: Path) -> None:
    done = call(
        "evaluate.py", f"ckpt_path={trained}", f"output_dir={tmp_path / 'out'}", cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    ours, theirs = (
        json.loads((folder / "metrics.json").read_text()) for folder in (tmp_path / "out", trained)
    )
    assert ours == theirs
    assert "test mAP, 5 videos" in done.stdout


@pytest.mark.slow
def test_evaluate_another_split(trained: Path, tmp_path: Path) -> None:
    done = call(
        "evaluate.py", f"ckpt_path={trained}", "data.test_split=validation",
        f"output_dir={tmp_path / 'out'}", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "validation mAP, 4 videos" in done.stdout


def assert_error(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit code 1 and a short message that names these words, without a traceback."""
    assert done.returncode == 1
    message = done.stderr[done.stderr.index("error: ") :].strip()
    for word in words:
        assert word in message, message
    assert "Traceback" not in done.stderr, done.stderr
    assert len(message.splitlines()) <= 3, message


@pytest.mark.slow
def test_errors_of_a_checkpoint(tmp_path: Path) -> None:
    assert_error(call("evaluate.py", f"ckpt_path={tmp_path}", cwd=tmp_path), "no last.ckpt")
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"not a checkpoint")
    assert_error(call("evaluate.py", f"ckpt_path={damaged}", cwd=tmp_path), "damaged.ckpt")


@pytest.mark.slow
def test_errors_of_missing_values(trained: Path, tmp_path: Path) -> None:
    assert_error(call("evaluate.py", cwd=tmp_path), "ckpt_path=… is needed; --help says more")
    assert_error(call("predict.py", f"ckpt_path={trained}", cwd=tmp_path), "data.root")


def test_tensorboard_is_an_extra(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("_TENSORBOARD_AVAILABLE", "_TENSORBOARDX_AVAILABLE"):
        monkeypatch.setattr(f"lightning.fabric.loggers.tensorboard.{name}", False)
    config = compose_config("train", ["logger=tensorboard", f"output_dir={tmp_path}"])
    with pytest.raises(InstantiationException) as raised:
        instantiate(config.logger)
    assert readable(raised.value) == (
        "logger=tensorboard needs TensorBoard: pip install '.[tensorboard]' in loco's checkout"
    )


@pytest.mark.slow
def test_errors_of_settings(tmp_path: Path, synthetic_root: Path) -> None:
    common = [f"data.root={synthetic_root}", *TINY_DATA, *TINY_MODEL, *QUIET]
    done = call("train.py", *common, "attention.window_size=0", cwd=tmp_path)
    assert_error(done, "window_size", "at least 1")
    done = call("train.py", *common, "model.dim=15", cwd=tmp_path)
    assert_error(done, "multiple of heads")
    for word in ("attention=global", "+attention.window_size=4", "correspondence=none"):
        done = call("train.py", *common, "model=actionformer_small", word, cwd=tmp_path)
        assert_error(done, word, "ActionFormer takes no")


@pytest.mark.slow
def test_errors_of_data(trained: Path, tmp_path: Path) -> None:
    layout = FeatureLayout(
        visual=("{id}_rgb.npy", "{id}_flow.npy"), audio=("{id}_vggish.npy",),
        fps=25, window=24, stride=8,
    )  # fmt: skip
    other = tmp_path / "other"
    make_synthetic(
        other, layout,
        SyntheticConfig(num_videos=(4, 2, 2), num_classes=3, visual_channels=(4, 3),
                        audio_channels=(6,)),
    )  # fmt: skip
    done = call(
        "predict.py", f"ckpt_path={trained}", f"data.root={other / 'features'}", cwd=tmp_path
    )
    assert_error(done, "5 audio channels", "have 6")

    broken = sorted((other / "features").glob("train_*_rgb.npy"))[0]
    whole = np.load(broken)
    np.save(broken, np.full_like(whole, np.nan))
    overrides = [
        "data=unav100_i3d_vggish", f"data.root={other / 'features'}",
        f"data.annotations={other / 'annotations.json'}", "data.batch_size=2",
        "data.num_workers=1", *TINY_MODEL, *QUIET, "trainer.max_epochs=1",
    ]  # fmt: skip
    assert_error(call("train.py", *overrides, cwd=tmp_path), broken.name, "NaN or infinity")

    broken.unlink()
    done = call("train.py", *overrides, cwd=tmp_path)
    assert done.returncode == 1
    assert broken.name in done.stderr
    assert "missing=skip" in done.stderr
    assert "Traceback" not in done.stderr
    done = call("train.py", *overrides, "data.missing=skip", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "1 of 8 videos are left out" in done.stdout + done.stderr


def test_a_checkpoint_in_three_lines(trained: Path) -> None:
    module = load_module(trained / "checkpoints" / "best.ckpt")
    assert not module.training
    assert module.class_names
