"""What the suite itself wrote may be damaged later: each command tells so in a line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from loco.cli import main

DEEP = "[" * 100_000


def of_values(value: object) -> Callable[[str], str]:
    """All values of the object that the text holds become this one."""
    return lambda text: json.dumps(dict.fromkeys(json.loads(text), value))


DAMAGES: dict[str, Callable[[str], str]] = {
    "empty": lambda _: "",
    "half": lambda text: text[: len(text) // 2],
    "deep": lambda _: DEEP,
    "list": lambda _: "[]",
    "null": lambda _: "null",
    "no names": lambda _: "{}",
    "text for numbers": of_values("x"),
    "lists for numbers": of_values([1]),
    "objects for numbers": of_values({"a": 1}),
    "nothing for numbers": of_values(None),
}


@pytest.mark.parametrize(
    ("name", "damage"),
    [("metrics.json", damage) for damage in DAMAGES]
    + [(f"{name}.json", how) for name in ("provenance", "predictions") for how in ("half", "deep")],
)
def test_a_damaged_file_of_a_run_is_a_line(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, damage: str
) -> None:
    """A table shows dashes for figures that are not there; provenance is not needed."""
    run = tmp_path / "runs" / "run"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    (run / ".hydra").mkdir()
    (run / ".hydra" / "overrides.yaml").write_text("- seed=0\n")
    (run / ".hydra" / "hydra.yaml").write_text("hydra: {job: {num: 0}, runtime: {choices: {}}}\n")
    shutil.copy(run / "config.yaml", run / ".hydra")
    (run / name).write_text(DAMAGES[damage]((run / name).read_text()))
    codes = []
    for command in (["report", str(run)], ["tabulate", str(run.parent)]):
        codes.append(main(command))
        told = capsys.readouterr().err.splitlines()
        assert [codes[-1], len(told)] in ([0, 0], [1, 1]), told
    if name == "metrics.json":
        assert codes == [1, int(damage != "no names")]


@pytest.mark.parametrize("damage", ["deep", "half", "list"])
def test_a_damaged_configuration_is_a_line(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run, ignore=shutil.ignore_patterns("checkpoints"))
    (run / "config.yaml").write_text(DAMAGES[damage]("data:\n  root: [a,\n  b: c"))
    assert main(["report", str(run)]) == 1
    (told,) = capsys.readouterr().err.splitlines()
    assert "config.yaml: " in told
