"""What stands beside the code: the table of models, the citation, the Dockerfile."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from helpers import ROOT
from loco import __version__


def test_numbers_of_the_model_zoo_stand_in_the_pages_that_it_names() -> None:
    text = (ROOT / "docs" / "model_zoo.md").read_text("utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| ")]
    header, *rows = rows
    assert len(rows) > 10
    for row in rows:
        cells = dict(zip(header, row, strict=True))
        target = re.search(r"\(([^)#]+)(?:#[^)]*)?\)$", cells["from"])
        assert target, row
        page = (ROOT / "docs" / target[1]).resolve().read_text("utf-8")
        for number in (cells["0.5"], cells["Avg."]):
            assert number == "–" or number in page, (row, number)
        assert cells["seeds"]
        config = re.search(r"\((\S+)\)", cells["configuration"])
        assert config
        assert (ROOT / "docs" / config[1]).is_file()


def test_the_citation_names_this_version_and_the_paper() -> None:
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert cited["version"] == __version__
    paper = cited["preferred-citation"]
    readme = (ROOT / "README.md").read_text("utf-8")
    assert paper["title"] in readme
    assert paper["url"] in readme
    for author in paper["authors"]:
        assert f"{author['family-names']}, {author['given-names']}" in readme


def dockerfile() -> list[tuple[str, str]]:
    """Instruction and argument of each line."""
    lines = (ROOT / "Dockerfile").read_text("utf-8").splitlines()
    told = [line for line in lines if line and not line.startswith("#")]
    return [(line.split()[0], line.partition(" ")[2]) for line in told]


def copied() -> list[str]:
    """Tracked files that `COPY . .` takes along."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a checkout")
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    patterns = [line for line in ignored if line and not line.startswith("#")]
    return [
        name for name in listed.stdout.splitlines()
        if not any(
            fnmatch.fnmatch(name, pattern) or name.startswith(f"{pattern}/") for pattern in patterns
        )
    ]  # fmt: skip


def test_the_image_gets_what_the_demo_needs() -> None:
    names = copied()
    assert {"Makefile", "pyproject.toml", "constraints.txt", "setup.py", "README.md"} <= {*names}
    assert any(name.startswith("src/loco/data/synthetic/") for name in names)
    assert any(name.startswith("conf/data/") for name in names)
    kinds = [kind for kind, _ in dockerfile()]
    assert kinds == ["FROM", "ARG", "WORKDIR", "COPY", "RUN", "RUN", "CMD"]
    assert ("CMD", '["make", "demo"]') in dockerfile()
    targets = (ROOT / "Makefile").read_text()
    for kind, command in dockerfile():
        if kind == "RUN" and command.startswith("make "):
            assert re.search(rf"^{command.split()[1]}:", targets, re.M)


@pytest.mark.slow
def test_the_image_can_be_made_in_a_fresh_folder(tmp_path: Path) -> None:
    """Each RUN line, in a folder with what COPY copies; the demo's commands are only listed."""
    for name in copied():
        if (ROOT / name).is_file():
            target = tmp_path / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    for command in [text for kind, text in dockerfile() if kind == "RUN"] + ["make -n demo"]:
        done = subprocess.run(
            ["sh", "-c", command], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, (command, done.stderr[-2000:])
    assert "loco train experiment=demo" in done.stdout
    asked = subprocess.run(
        [tmp_path / ".venv/bin/python", "-c", "import loco; print(loco.__file__)"],
        cwd="/", env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert asked.stdout.startswith(str(tmp_path))
