"""The list of systems: what it says is what the systems are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from helpers import ROOT
from loco.cli import main
from loco.cli.configs import config_folder
from loco.detectors.actionformer import ActionFormer
from loco.errors import SettingError
from loco.runs.systems import Sizes, describe_system, model_names, source_of

NARROW = ["--visual-channels", "6", "--audio-channels", "5", "--classes", "3", "--steps", "40"]


def test_every_model_is_listed() -> None:
    files = {path.stem for path in (ROOT / "conf" / "model").glob("*.yaml")}
    assert set(model_names(config_folder())) == files - {"base"}


def test_what_is_said_of_a_system() -> None:
    system = describe_system("actionformer", config_folder(), None, Sizes())
    assert system.parameters == pytest.approx(29.57e6, rel=1e-3)
    assert system.gflop == pytest.approx(9.0, rel=0.02)
    assert system.source == source_of(ActionFormer)
    assert "2202.07925" in system.source
    assert system.settings["window_size"] == 19
    assert system.settings["lr"] == 1e-4
    assert system.settings["epochs"] == 45
    assert "attention" not in system.settings


def test_groups_that_a_system_takes_are_told() -> None:
    system = describe_system("loco_small", config_folder(), None, Sizes(6, 5, 3, 40))
    assert system.settings["attention"] == "CrossModalDynamicPerception"
    assert system.settings["correspondence"] == "CorrespondenceLoss"


def test_as_json_as_markdown_and_as_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["tridet_small", "actionformer_small"]
    assert main(["models", *names, *NARROW, "--format", "json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == names
    assert main(["models", *names, *NARROW, "--format", "md"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert all(line.count("|") == 6 for line in lines)
    assert f"| {rows[0]['parameters'] / 1e6:.2f} |" in lines[2]
    assert main(["models", *names, *NARROW]) == 0
    table = capsys.readouterr().out
    assert "6 + 5 channels, 3 classes" in table
    assert "2303.07347" in table


def test_a_system_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "recipe").mkdir()
    mine = "defaults:\n  - actionformer_small\n\ndim: 32\nnum_levels: 3\n"
    (tmp_path / "model" / "mine.yaml").write_text(mine, encoding="utf-8")
    recipe = "# @package _global_\ndefaults:\n  - loco_small\n"
    (tmp_path / "recipe" / "mine.yaml").write_text(recipe, encoding="utf-8")
    assert "mine" in model_names(config_folder(), tmp_path)
    words = ["models", "mine", "--config-dir", str(tmp_path), "--format", "json", *NARROW]
    assert main(words) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["settings"]["dim"] == 32


def test_an_unknown_system_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SettingError, match="model=tridett"):
        describe_system("tridett", config_folder(), None, Sizes())
    assert main(["models", "tridett"]) == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith("error: model=tridett")
    assert complaint.count("\n") == 1
