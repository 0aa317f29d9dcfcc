"""Which finished job stands in for another, by what both were told to do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers import compose_config
from loco.errors import LocoError
from loco.runs.job_status import find_twin, settings_hash, status


def config(output: Path, *words: str) -> DictConfig:
    return compose_config("train", [*words, f"output_dir={output}", "data.root=x"])


def finished(output: Path, *words: str) -> Path:
    output.mkdir(parents=True)
    plain = config(output, *words)
    OmegaConf.save(plain, output / "config.yaml", resolve=True)
    (output / "metrics.json").write_text("{}")
    return output


def test_what_only_shows_or_writes_makes_no_other_job(tmp_path: Path) -> None:
    first = finished(tmp_path / "sweeps" / "a")
    for words in (
        [], ["callbacks.progress=null"], ["callbacks.summary.max_depth=1"], ["report=false"],
    ):  # fmt: skip
        wanted = config(tmp_path / "b", *words)
        assert find_twin(tmp_path / "sweeps", wanted) == first, words
    for words in (
        ["callbacks.ema=null"], ["callbacks.ema.decay=0.5"], ["seed=1"],
        ["callbacks=[default,early_stopping]"],
    ):  # fmt: skip
        wanted = config(tmp_path / "b", *words)
        assert find_twin(tmp_path / "sweeps", wanted) is None, words


def test_only_what_is_finished_and_readable_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = finished(tmp_path / "sweeps" / "b")
    damaged = finished(tmp_path / "sweeps" / "a")
    (damaged / "config.yaml").write_text("{")
    wanted = config(tmp_path / "c")
    assert find_twin(tmp_path / "sweeps", wanted) == folder
    assert "not reused: " in caplog.text
    (folder / "failed.txt").write_text("1 of 6 videos could not be used")
    assert status(folder) == "failed"
    assert find_twin(tmp_path / "sweeps", wanted) is None
    with pytest.raises(LocoError, match=r"reuse=.*nowhere: expected a folder of sweeps"):
        find_twin(tmp_path / "nowhere", wanted)


def test_a_run_that_was_resumed_with_other_settings_stands_for_none(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever its last start was told: only some of its steps were trained so."""
    caplog.set_level("INFO")
    folder, wanted = finished(tmp_path / "sweeps" / "a"), config(tmp_path / "b")
    now = settings_hash(wanted)
    assert now == settings_hash(config(tmp_path / "c", "seed=3", "data.num_workers=2"))
    then = settings_hash(config(tmp_path / "c", "optimizer.lr=0.1"))
    assert now != then
    for starts, same in (
        ([{"settings": now}], True),
        ([{"settings": now}, {"settings": now, "resumed_from": "x"}], True),
        ([{"settings": then}, {"settings": now, "resumed_from": "x"}], False),
        ([{"settings": then}, {"settings": now}], True),  # begun anew
        ([{"settings": then}, {"settings": now}, {"settings": then, "resumed_from": "x"}], False),
        ([{}], True),  # of an earlier version
        ([{}, {"resumed_from": "x"}], False),
    ):
        (folder / "provenance.json").write_text(json.dumps({"starts": starts}))
        assert (find_twin(tmp_path / "sweeps", wanted) == folder) == same, starts
    assert "a: not reused; it was, or may have been, resumed with other settings" in caplog.text
