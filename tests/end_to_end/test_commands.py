"""What commands take and print besides the work that they do."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers import Composer, compose_config, make_job
from loco.cli import main
from loco.data.annotations import Video
from loco.errors import LocoError
from loco.runs.command.named_files import check_named_files
from loco.runs.entry import readable
from loco.runs.evaluate import Tested, _same_test, evaluate
from loco.runs.run_folder import RunFolder
from loco.runs.train import train
from loco.structures import Events
from loco.sweeps.run_job import SweepSummary


def test_several_checkpoints_are_a_row_each(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other" / "checkpoints"
    other.mkdir(parents=True)
    shutil.copy(finished_run / "checkpoints" / "last.ckpt", other)
    words = [
        f"ckpt_path=[{finished_run},{tmp_path / 'other'},{other / 'last.ckpt'}]",
        f"output_dir={tmp_path / 'out'}", "trainer.accelerator=cpu", "report=false",
    ]  # fmt: skip
    evaluate(compose_config("evaluate", words))
    table = capsys.readouterr().out.rpartition("test mAP, 5 videos")[2]
    for name in ("constant predictor", finished_run.name, "other", "other-2"):
        assert f"│ {name} " in table
    assert "other: last.ckpt of epoch 2" in " ".join(table.split())
    first = json.loads((tmp_path / "out" / finished_run.name / "metrics.json").read_text())
    assert first["mAP"] == json.loads((finished_run / "metrics.json").read_text())["mAP"]
    assert len(RunFolder(tmp_path / "out" / "other-2").test_videos) == 5


def test_a_test_in_another_precision_is_told(
    finished_run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And what stands in its folder is what it was done in."""
    words = [f"ckpt_path={finished_run}", "trainer.accelerator=cpu", "report=false"]
    evaluate(compose_config("evaluate", [*words, f"output_dir={tmp_path / 'same'}"]))
    assert "tested in" not in caplog.text
    words += ["trainer.precision=bf16-mixed", f"output_dir={tmp_path / 'other'}"]
    evaluate(compose_config("evaluate", words))
    assert "tested in bf16-mixed; the training's own test was in 32-true" in caplog.text
    written = OmegaConf.load(tmp_path / "other" / "config.yaml")
    assert written.trainer.precision == "bf16-mixed"


def test_tests_on_other_events_are_not_put_beside_the_baselines_of_one() -> None:
    """The same ids say nothing of what was to be found."""
    events = Events(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    later = Events(torch.tensor([[0.5, 1.0]]), torch.tensor([0]))

    def tested(of_video: Events, names: list[str]) -> Any:
        videos = [Video("a", 2.0, "test", of_video)]
        return Tested({}, SimpleNamespace(class_names=names), videos, "")  # type: ignore[arg-type]

    one = tested(events, ["dog"])
    assert _same_test(one, tested(events, ["dog"]))
    assert not _same_test(one, tested(later, ["dog"]))
    assert not _same_test(one, tested(events, ["cat"]))


def test_a_sweep_ends_with_its_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, (attention, mean) in enumerate((("cdp", 0.4), ("fixed", 0.3), ("cdp", 0.5))):
        make_job(tmp_path, number, {"attention": attention, "seed": number}, mean)
    assert main(["tabulate", str(tmp_path)]) == 0
    table = capsys.readouterr().out
    config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path)}}})
    SweepSummary().on_multirun_end(config)
    assert capsys.readouterr().out == f"{tmp_path}: 3 of 3 jobs finished\n\n{table}\n"
    make_job(tmp_path, 3, {"attention": "none", "seed": 0}, error="ValueError: no")
    with pytest.raises(SystemExit):
        SweepSummary().on_multirun_end(config)
    assert "| none | 0 (1 failed) |" in capsys.readouterr().out


# -- what is not there is told at once -------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "words", "told"),
    [
        ("evaluate", [], "ckpt_path=… is needed; --help says more"),
        ("evaluate", ["ckpt_path=no"], "ckpt_path=no: expected a checkpoint or a run's folder"),
        ("evaluate", ["ckpt_path=[.,no]"], "ckpt_path=.: no best.ckpt and no last.ckpt"),
        (
            "predict",
            ["ckpt_path=made.ckpt"],
            "videos=…, or data.root=… of feature files, is",
        ),
        ("predict", ["ckpt_path=made.ckpt", "videos=no.mp4"], "videos=no.mp4: expected a video"),
        ("extract", ["root=x"], "videos=… is needed"),
        ("train", ["init_from=no"], "init_from=no: expected a checkpoint"),
        (
            "train",
            ["data=lite", "data.root=no"],
            "data.root=no: expected a folder of feature",
        ),
        ("train", ["data.annotations=no.json"], "no.json: expected an annotation file, there is"),
        ("train", ["data.root=no"], ""),  # it is made there
        ("train", ["task=loco.runs.cost.measure", "data=lite", "data.root=no"], ""),
    ],
)
def test_what_is_missing(
    command: str, words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "made.ckpt").touch()
    config = compose_config(command, [*words, "output_dir=x"])
    if not told:
        check_named_files(config)
        return
    with pytest.raises(LocoError) as caught:
        check_named_files(config)
    assert str(caught.value).startswith(told)


def test_it_is_told_before_anything_slow_is_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from loco.cli import main\n"
        "for words in (['evaluate', 'ckpt_path=no'], ['train', 'ckpt_path=no']): main(words)\n"
        "print('torch' in sys.modules, 'lightning' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True,
        timeout=120,
    )  # fmt: skip
    assert done.stdout == "False False\n", done.stderr
    assert done.stderr.count("error: ckpt_path=no: expected a checkpoint or a run's folder") == 2
    assert not list(tmp_path.iterdir())


# -- logger= ---------------------------------------------------------------------------------------


def test_mlflow_is_an_extra(tmp_path: Path) -> None:
    if importlib.util.find_spec("mlflow") is not None:
        pytest.skip("it is installed")
    config = compose_config("train", ["logger=mlflow", f"output_dir={tmp_path}"])
    with pytest.raises(InstantiationException) as raised:
        instantiate(config.logger)
    assert readable(raised.value).startswith("logger=mlflow needs MLflow: pip install '.[")


@pytest.mark.slow
def test_mlflow_has_the_curves(tiny: Composer, tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    train(tiny("logger=mlflow", f"logger.mlflow.tracking_uri={store}", "trainer.max_epochs=1"))
    client = mlflow.MlflowClient(store)
    (run,) = client.search_runs([client.get_experiment_by_name("loco").experiment_id])
    assert run.info.run_name == "run"
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert run.data.metrics["test/mAP"] == pytest.approx(metrics["mAP"], rel=1e-6)


@pytest.mark.slow
def test_no_logger_is_the_csv_log_alone(tiny: Composer, tmp_path: Path) -> None:
    train(tiny("logger=none", "trainer.max_epochs=1"))
    assert (tmp_path / "run" / "logs" / "metrics.csv").is_file()
    assert not {path.name for path in (tmp_path / "run").iterdir()} & {"tensorboard", "wandb"}
