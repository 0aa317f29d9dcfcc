"""A checkpoint cannot run a stranger's code: only parts of this suite are built from one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from helpers import compose_config
from loco.errors import CheckpointError, LocoError
from loco.runs.checkpoints import load_checkpoint, load_module
from loco.runs.evaluate import evaluate
from loco.runs.predict import predict
from loco.runs.run_folder import RunFolder
from loco.runs.trusted import build_trusted

SENTINEL = "SENTINEL"
ATTEMPTS: dict[str, dict[str, Any]] = {
    "shell": {"_target_": "os.system", "command": f"touch {SENTINEL}"},
    "makedirs": {"_target_": "os.makedirs", "name": SENTINEL},
    "open": {"_target_": "builtins.open", "file": SENTINEL, "mode": "w"},
    "eval": {"_target_": "builtins.eval", "_args_": [f"open('{SENTINEL}', 'w')"]},
    "path": {"_target_": "pathlib.Path.write_text", "self": SENTINEL, "data": "x"},
    "popen": {"_target_": "subprocess.Popen", "args": ["touch", SENTINEL]},
    "torch": {"_target_": "torch.load", "f": SENTINEL, "weights_only": False},
    "save": {"_target_": "torch.save", "obj": 1, "f": SENTINEL},
    "hub": {"_target_": "torch.hub.load_state_dict_from_url", "url": f"file://{SENTINEL}"},
    "numpy": {"_target_": "numpy.save", "file": SENTINEL, "arr": [1]},
    "copy": {"_target_": "shutil.copyfile", "src": __file__, "dst": SENTINEL},
    "function": {"_target_": "loco.data.synthetic.generator.make_synthetic", "root": SENTINEL},
    "runs": {"_target_": "loco.runs.results.write_json", "path": SENTINEL, "content": 1},
    "method": {"_target_": "loco.data.datamodule.AVDataModule.setup", "self": 1},
    "borrowed": {"_target_": "loco.data.features.Path", "x": SENTINEL},
    "imported": {"_target_": "loco.data.features.ThreadPoolExecutor"},
    "module": {"_target_": "loco.data.features.np.save", "file": SENTINEL, "arr": [1]},
    "relative": {"_target_": "loco.nn..os.system", "command": f"touch {SENTINEL}"},
    "other": {"_target_": "lightning.Trainer", "default_root_dir": SENTINEL},
    "args": {"_target_": "loco.nn.layers.FeedForward", "_args_": [4]},
    "recursive": {"_target_": "loco.nn.layers.FeedForward", "dim": 4, "_recursive_": False},
    "no text": {"_target_": {"_target_": "os.system", "command": f"touch {SENTINEL}"}},
    "resolver": {"_target_": "loco.nn.layers.FeedForward", "dim": f"${{new_folder:{SENTINEL}}}"},
}


def with_sentinel(value: Any, path: Path) -> Any:
    if isinstance(value, dict):
        return {key: with_sentinel(part, path) for key, part in value.items()}
    if isinstance(value, list):
        return [with_sentinel(part, path) for part in value]
    return value.replace(SENTINEL, str(path)) if isinstance(value, str) else value


@pytest.fixture
def sentinel(tmp_path: Path) -> Path:
    return tmp_path / "sentinel"


@pytest.mark.parametrize("place", ["itself", "nested", "listed", "partial"])
@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_else_is_built(attempt: str, place: str, sentinel: Path) -> None:
    bad = with_sentinel(ATTEMPTS[attempt], sentinel)
    config = {
        "itself": bad,
        "nested": {"_target_": "loco.nn.layers.FeedForward", "dim": 4, "expansion": bad},
        "listed": {"_target_": "loco.detection.assignment.RangeAssigner", "ranges": [[0, bad]]},
        "partial": bad | {"_partial_": True},
    }[place]
    with pytest.raises(LocoError, match="trust=my_package"):
        build_trusted(config, "x.ckpt")
    assert not sentinel.exists()


def damaged(finished_run: Path, path: Path, key: str, value: Any) -> Path:
    """A checkpoint whose settings hold something else at a dotted key."""
    checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
    settings = OmegaConf.create(checkpoint["hyper_parameters"])
    OmegaConf.update(settings, key, value, force_add=True)
    checkpoint["hyper_parameters"] = OmegaConf.to_container(settings)
    torch.save(checkpoint, path)
    return path


@pytest.mark.parametrize(
    "attempt",
    ["shell", *(pytest.param(x, marks=pytest.mark.slow) for x in ("function", "hub", "resolver"))],
)
def test_not_from_a_checkpoint_either(
    finished_run: Path, synthetic_root: Path, tmp_path: Path, sentinel: Path, attempt: str
) -> None:
    """By load_module, evaluate and predict, in the model, the data and the layout."""
    bad = with_sentinel(ATTEMPTS[attempt], sentinel)
    features = f"data.root={synthetic_root / 'features'}"
    common = ["trainer.accelerator=cpu", f"output_dir={tmp_path / 'out'}"]
    for key in ("model.criterion", "model", "data", "data.layout"):
        file = tmp_path / "bad.ckpt"
        try:
            damaged(finished_run, file, key, bad)
        except Exception:  # a resolver that OmegaConf itself will not put there
            continue
        if key.startswith("model"):
            with pytest.raises(CheckpointError):
                load_module(file)
        with pytest.raises(LocoError):
            evaluate(compose_config("evaluate", [f"ckpt_path={file}", *common]))
        if key != "data":
            with pytest.raises(LocoError):
                predict(compose_config("predict", [f"ckpt_path={file}", features, *common]))
        assert not sentinel.exists(), key


@pytest.mark.parametrize("attempt", ["shell", "function", "resolver"])
def test_not_from_a_run_folder_either(
    finished_run: Path, tmp_path: Path, sentinel: Path, attempt: str
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    config = OmegaConf.to_container(OmegaConf.load(finished_run / "config.yaml"))
    assert isinstance(config, dict)
    config["data"] = with_sentinel(ATTEMPTS[attempt], sentinel)
    OmegaConf.save(OmegaConf.create(config), run / "config.yaml")
    (run / "metrics.json").write_text("{}", encoding="utf-8")
    with pytest.raises(LocoError):
        _ = RunFolder(run).data
    assert not sentinel.exists()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_is_not_unpacked(tmp_path: Path, sentinel: Path) -> None:
    torch.save({"hyper_parameters": Evil(sentinel)}, tmp_path / "evil.ckpt")
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Evil(sentinel)))
    for name in ("evil.ckpt", "plain.ckpt"):
        with pytest.raises(CheckpointError, match="reading it failed"):
            load_checkpoint(tmp_path / name)
    assert not sentinel.exists()


def test_a_part_of_ones_own_needs_a_word(finished_run: Path, tmp_path: Path) -> None:
    file = damaged(finished_run, tmp_path / "own.ckpt", "model.criterion",
                   {"_target_": "sweep_tasks.OwnLoss"})  # fmt: skip
    with pytest.raises(CheckpointError, match=r"own.ckpt: it names 'sweep_tasks.OwnLoss'"):
        load_module(file)
    assert type(load_module(file, trust=["sweep_tasks"]).detector.criterion).__name__ == "OwnLoss"


SCALES = "decoder.head.scales"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.pop("state_dict"), "it has no state_dict"),
        (lambda c: c["hyper_parameters"].pop("class_names"), "it has no class_names"),
        (lambda c: c["state_dict"].popitem(), "its weights do not fit its model: .*Missing key"),
        (lambda c: c["state_dict"][SCALES].fill_(float("nan")), "hold NaN or infinity"),
        (lambda c: c.update(hyper_parameters=None), "not one that this suite wrote"),
    ],
)
def test_damaged_checkpoints(finished_run: Path, tmp_path: Path, change: Any, message: str) -> None:
    checkpoint = torch.load(finished_run / "checkpoints/best.ckpt", weights_only=True)
    state = checkpoint["state_dict"]
    state[SCALES] = state[f"detector.{SCALES}"]
    if "NaN" not in message:
        del state[SCALES]
    change(checkpoint)
    torch.save(checkpoint, tmp_path / "x.ckpt")
    with pytest.raises(CheckpointError, match=message):
        load_module(tmp_path / "x.ckpt")
    (tmp_path / "empty.ckpt").write_bytes(b"")
    with pytest.raises(CheckpointError, match="reading it failed"):
        load_module(tmp_path / "empty.ckpt")
