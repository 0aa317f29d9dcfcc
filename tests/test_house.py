"""Imports go one way, and what several detectors share knows none of them: docs/house.py."""

from __future__ import annotations

import ast
from itertools import pairwise
from pathlib import Path

import pytest
from docs.draw_house import HUES, LIVES, PICTURE, draw
from docs.house import (
    PACKAGE,
    ROOMS,
    broken_rules,
    module_files,
    read_imports,
    room,
    uses,
    words_of,
)

HANDS_ON = {"cli", "reporting/figures"}
"""Packages whose `__init__` hands on the names of its files."""


def build(root: Path, files: dict[str, str]) -> Path:
    """A package `loco` of these files; their folders are packages."""
    package = root / "loco"
    for name, text in files.items():
        file = package / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return package


def test_the_code_keeps_the_rules() -> None:
    assert not (broken := broken_rules()), "\n".join(["", *broken])


def test_the_picture_shows_the_imports_of_now() -> None:
    assert PICTURE.read_text("utf-8") == draw(), "run: python -m docs.draw_house"


def test_every_room_can_be_drawn(tmp_path: Path) -> None:
    assert set(LIVES) == set(HUES) == set(ROOMS)
    package = build(tmp_path, {"cli/x.py": "import loco.errors", "errors.py": "", "nn/a.py": ""})
    picture = draw(package)
    assert all(f">{name}</text>" in picture for name in ("cli", "errors", "nn"))
    assert picture.count("<circle") == 1
    assert "cli uses errors" in picture


def test_packages_say_what_lives_there_and_import_nothing() -> None:
    for folder in {file.parent for file in module_files(PACKAGE).values()} - {PACKAGE}:
        tree = ast.parse((folder / "__init__.py").read_text("utf-8"))
        assert ast.get_docstring(tree), folder
        if folder.relative_to(PACKAGE).as_posix() not in HANDS_ON:
            imports = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
            assert not imports, f"{folder}: imports in an __init__ run whenever a file is imported"


GOOD = {
    "__init__.py": "def __getattr__(name):\n    from loco.runs import train\n    return train",
    "structures.py": "import numpy as np\nLOC_OFFSET = local_order = unavailable = 1",
    "nn/__init__.py": "",
    "nn/layers.py": '"""As in LoCo\'s CDP."""\nimport loco.structures\nx = loco.structures.y',
    "nn/blocks.py": "from . import layers\nfrom ..structures import LOC_OFFSET",
    "detectors/loco/cdp.py": "from loco.nn import blocks",
    "detectors/loco/detector.py": "from .cdp import CDP",
    "runs/train.py": "def train():\n    from loco.detectors.loco import cdp\n    return cdp",
}  # fmt: skip


def test_imports_are_resolved(tmp_path: Path) -> None:
    package = build(tmp_path, GOOD)
    assert broken_rules(package) == []
    found = {(i.source, i.target, i.line) for i in read_imports(package)}
    assert found == {
        ("loco", "loco.runs.train", 2),
        ("loco.nn.layers", "loco.structures", 2),
        ("loco.nn.blocks", "loco.nn.layers", 1),
        ("loco.nn.blocks", "loco.structures", 2),
        ("loco.detectors.loco.cdp", "loco.nn.blocks", 1),
        ("loco.detectors.loco.detector", "loco.detectors.loco.cdp", 1),
        ("loco.runs.train", "loco.detectors.loco.cdp", 2),
    }
    assert uses(read_imports(package))["runs"] == {"detectors"}
    assert room("loco") == "__init__"


@pytest.mark.parametrize(
    ("file", "text", "told"),
    [
        ("nn/bad.py", "def f():\n    from loco.runs.train import g", [":2", "runs is above nn"]),
        ("nn/bad.py", "if TYPE_CHECKING:\n    from ..runs import train", [":2", "above nn"]),
        ("data/bad.py", "import loco.training.module as m", [":1", "above data"]),
        ("runs/bad.py", "from loco import train", [":1", "hands their names on"]),
        ("video.py", "from loco.other import x", [":1", "other is no room"]),
        ("other.py", "", ["other.py", "not a room of the house"]),
        ("evaluation/bad.py", "from loco.detectors.loco import x", ["knows no detector"]),
        ("detectors/tridet.py", "from loco.detectors.loco.cdp import CDP", ["another one"]),
        ("nn/bad.py", "x = 1\nclass LoCoBlock: ...", [":2", "`LoCoBlock`"]),
        ("nn/bad.py", "def f(lcc_weight): ...", [":1", "`lcc_weight`"]),
        ("detection/bad.py", "y = f(unav=3)", ["`unav`"]),
        ("detection/bad.py", "y = x.action_former", ["`action_former`"]),
        ("evaluation/bad.py", "from numpy import cdp", ["`cdp`"]),
        ("evaluation/bad.py", "loco = 1", ["`loco`"]),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_told(tmp_path: Path, file: str, text: str, told: list[str]) -> None:
    package = build(tmp_path, GOOD | {file: text})
    broken = "\n".join(broken_rules(package))
    assert file in broken
    assert all(part in broken for part in told), broken


def test_circles_are_told(tmp_path: Path) -> None:
    package = build(
        tmp_path,
        {
            "nn/a.py": "from loco.nn import b",
            "nn/b.py": "\ndef f():\n    import loco.nn.c",
            "nn/c.py": "from .a import x",
        },
    )
    (told,) = broken_rules(package)
    for step in ("a.py:1", "b.py:3", "c.py:1"):
        assert step in told
    order = told.partition(":")[0].split(" → ")
    assert order[0] == order[-1]
    follows = {"loco.nn.a": "loco.nn.b", "loco.nn.b": "loco.nn.c", "loco.nn.c": "loco.nn.a"}
    assert all(follows[a] == b for a, b in pairwise(order))


def test_words_of_identifiers() -> None:
    assert words_of("UnAVHead_2") == ["un", "av", "head", "2"]
    assert words_of("LCC_WEIGHT") == ["lcc", "weight"]
    assert words_of("TadTR") == ["tad", "tr"]
