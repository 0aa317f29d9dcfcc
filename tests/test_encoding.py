"""Text files are UTF-8 whatever the locale: every call that opens one says so."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from helpers import ROOT

SOURCES = sorted(
    path for room in ("src", "scripts", "docs") for path in (ROOT / room).rglob("*.py")
)


def owner(function: ast.expr) -> str:
    """`a` of a call `a.b()`; nothing of `b()`."""
    return str(getattr(getattr(function, "value", None), "id", ""))


def unsaid(source: str) -> list[int]:
    """Lines of calls that open a text file without an encoding."""
    found = []
    for call in (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)):
        name = getattr(call.func, "attr", getattr(call.func, "id", ""))
        given = {keyword.arg for keyword in call.keywords}
        if "encoding" in given:
            continue
        if name in ("read_text", "write_text"):
            if len(call.args) < (1 if name == "read_text" else 2):
                found.append(call.lineno)
        elif name == "open" and not (
            isinstance(call.func, ast.Attribute)
            and getattr(call.func.value, "id", "") in ("Image", "os", "av", "tarfile")
        ):
            words = [*call.args, *(k.value for k in call.keywords if k.arg == "mode")]
            modes = [str(w.value) for w in words if isinstance(w, ast.Constant)]
            if not any("b" in mode and len(mode) <= 3 for mode in modes):
                found.append(call.lineno)
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_text_is_utf_8(path: Path) -> None:
    assert unsaid(path.read_text(encoding="utf-8")) == []


def test_the_check_itself() -> None:
    good = "p.open('rb')\np.read_text('utf-8')\np.write_text(x, encoding='utf-8')\nopen(p, 'xb')"
    bad = "p.open()\np.read_text()\np.write_text(x)\nopen(p, 'w')\np.open(newline='')"
    assert unsaid(good) == []
    assert unsaid(bad) == [1, 2, 3, 4, 5]
