"""Data is made only where a training asks for it; runs work from any folder; classes are the
checkpoint's."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from helpers import QUIET, TINY_MODEL, Composer, compose_config
from loco.cli import main
from loco.errors import AnnotationError, LocoError
from loco.reporting.report import write_report
from loco.runs.evaluate import evaluate
from loco.runs.run_folder import RunFolder
from loco.runs.train import train


def evaluation(run: Path, output: Path, *overrides: str) -> dict[str, float]:
    return evaluate(
        compose_config(
            "evaluate",
            [
                f"ckpt_path={run}", f"output_dir={output}", "trainer.accelerator=cpu",
                "report=false", *overrides,
            ],
        )
    )  # fmt: skip


def tree(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_run_works_from_any_folder(
    tiny: Composer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Data, annotations and run are given by relative paths, and read from elsewhere."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    config = tiny("trainer.max_epochs=1", "data.root=relative", "output_dir=run", "report=true")
    train(config)
    run = tmp_path / "here" / "run"
    page = (run / "report.html").read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path / "there")
    assert Path(RunFolder(run).config.data.root) == tmp_path / "here" / "relative"
    assert len(RunFolder(run).test_videos) == 5
    write_report(run)
    again = (run / "report.html").read_text(encoding="utf-8")
    assert again.count("data:image/png") == page.count("data:image/png") > 0
    evaluation(run, tmp_path / "out")
    assert tree(tmp_path / "there") == set()


def test_nothing_is_made_by_who_only_reads(tiny: Composer, tmp_path: Path) -> None:
    made = tmp_path / "made"
    train(tiny("trainer.max_epochs=1", f"data.root={made}"))
    shutil.rmtree(made)
    with pytest.raises(LocoError):
        evaluation(tmp_path / "run", tmp_path / "out")
    with pytest.raises(LocoError):
        _ = RunFolder(tmp_path / "run").test_videos
    assert not made.exists()


def test_a_value_that_is_given_counts_even_if_it_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Data of another difficulty stands there; nothing said takes it, the default said does not."""
    monkeypatch.chdir(tmp_path)
    size = ["--videos", "6", "2", "2", "--classes", "3"]
    assert main(["make-synthetic", "--root", "made", "--difficulty", "3", *size]) == 0
    words = ["data.root=made", *TINY_MODEL, *QUIET, "trainer.max_epochs=1"]
    assert main(["train", *words, "output_dir=a"]) == 0
    for word in ("data.generator.difficulty=1", "++data.generator.seed=0"):
        with pytest.raises(SystemExit):
            main(["train", *words, word, "output_dir=b"])
        assert "difficulty: 3.0 → 1" in capsys.readouterr().err


def test_a_training_says_that_it_makes_data_and_only_into_an_empty_folder(
    tiny: Composer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = tmp_path / "made"
    caplog.set_level("INFO")
    train(tiny("trainer.max_epochs=1", f"data.root={made}", "+trainer.limit_train_batches=1"))
    assert f"{made}: made, as there was no data" in caplog.text
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "thesis.tex").write_text("x", encoding="utf-8")
    with pytest.raises(LocoError, match="taken exists and is no synthetic data"):
        train(tiny(f"data.root={tmp_path / 'taken'}", output="other"))
    assert tree(tmp_path / "taken") == {"thesis.tex"}
    with pytest.raises(AnnotationError, match=r"none\.json: cannot be read"):
        train(tiny(f"data.root={tmp_path / 'new'}", f"data.annotations={tmp_path / 'none.json'}"))
    assert not (tmp_path / "new").exists()


@pytest.fixture
def other(finished_run: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Features and annotations of a folder that the finished run was not trained on."""
    data = OmegaConf.load(finished_run / "config.yaml").data
    root = tmp_path / "other"
    shutil.copytree(Path(data.root) / "features", root)
    content = json.loads((Path(data.root) / "annotations.json").read_text(encoding="utf-8"))
    return root, content


def written(content: dict[str, Any], path: Path) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


@pytest.mark.parametrize("lost", [0, 2])
def test_a_file_that_lacks_a_class_is_evaluated(
    finished_run: Path, other: tuple[Path, dict[str, Any]], tmp_path: Path, lost: int
) -> None:
    """Also the first class, where ids would have a gap: null in the table, the others as before."""
    root, content = other
    name = RunFolder(finished_run).annotations.class_names[lost]
    for video in content["database"].values():
        video["annotations"] = [e for e in video["annotations"] if e["label_id"] != lost]
    file = written(content, tmp_path / "a.json")
    evaluation(finished_run, tmp_path / "out", f"data.root={root}", f"data.annotations={file}")
    found = json.loads((tmp_path / "out/metrics.json").read_text(encoding="utf-8"))["per_class"]
    before = json.loads((finished_run / "metrics.json").read_text(encoding="utf-8"))["per_class"]
    assert found[name]["mAP"] is None
    assert {k: v for k, v in found.items() if k != name} == {
        k: v for k, v in before.items() if k != name
    }
    assert RunFolder(tmp_path / "out").annotations.class_names == list(before)


def test_another_name_for_an_id_is_refused(
    finished_run: Path, other: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    root, content = other
    for video in content["database"].values():
        for event in video["annotations"]:
            if event["label_id"] == 1:
                event["label"] = "something else"
    file = written(content, tmp_path / "a.json")
    with pytest.raises(AnnotationError, match="which the model has as id 1, got 'something else'"):
        evaluation(finished_run, tmp_path / "out", f"data.root={root}", f"data.annotations={file}")
    assert not (tmp_path / "out").exists()


def test_data_that_was_made_is_trained_on_by_its_folder_alone(tmp_path: Path) -> None:
    """`loco make-synthetic --root X --classes 3 …`, then `loco train data.root=X`."""
    root = tmp_path / "made"
    words = ["--videos", "8", "2", "3", "--classes", "3", "--channels-visual", "4", "3"]
    assert main(["make-synthetic", "--root", str(root), *words, "--channels-audio", "5"]) == 0
    settings = [f"data.root={root}", f"output_dir={tmp_path / 'run'}", "trainer.max_epochs=1"]
    train(compose_config("train", [*settings, *TINY_MODEL, *QUIET, "data.batch_size=4"]))
    run = RunFolder(tmp_path / "run")
    assert len(run.test_videos) == 3
    assert run.annotations.class_names == ["baby crying", "cat meowing", "dog howling"]

    words = [f"data.root={root}", "data.generator.num_classes=4", "output_dir=x"]
    with pytest.raises(LocoError, match="was made with other settings") as caught:
        instantiate(compose_config("train", words).data).prepare_data()
    repair = str(caught.value).partition("take it with ")[2].partition(", choose")[0]
    words += shlex.split(repair)  # as pasted behind the same command
    assert "data.generator.audio_channels=[5]" in words
    data = instantiate(compose_config("train", words).data)
    assert not data.make().created
