"""The rules of the house, and what the files of `src/loco` import, read without running them.

tests/test_house.py holds the code to the rules, docs/draw_house.py draws the rooms.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from itertools import chain, pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "loco"

ROOMS = (
    "errors", "files", "structures", "nn", "detection", "detectors", "data", "video",
    "evaluation", "training", "runs", "reporting", "sweeps", "cli",
)  # fmt: skip
"""From the ground up: each imports only rooms listed before it."""

OUTSIDE = ("__init__", "__main__")
"""Files beside the rooms: one hands names of all rooms on, lazily; the other starts `cli`."""

BLIND = ("nn", "detection", "evaluation")
"""Rooms that know no detector, neither by an import nor by a name."""

DETECTORS = ("loco", "cdp", "lcc", "actionformer", "tridet", "unav", "uniav", "tadtr", "vsgn")
"""Names of detectors, and of LoCo's own parts, as words of an identifier."""


@dataclass(frozen=True)
class Import:
    """An import of a part of the package, wherever it stands in a file."""

    file: Path
    line: int
    source: str
    """The dotted name of the file."""
    target: str
    """The dotted name of the module that is imported."""
    text: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: `{self.text}`"


# -- reading ---------------------------------------------------------------------------------------


def module_files(package: Path) -> dict[str, Path]:
    """Dotted name → file of every module; a package's name stands for its `__init__`."""
    modules = {}
    for file in sorted(package.rglob("*.py")):
        parts = file.relative_to(package.parent).with_suffix("").parts
        modules[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return modules


def read_imports(package: Path = PACKAGE) -> list[Import]:
    """All imports between the files of a package, also those in functions and for type checkers.

    `from a import b` is an import of `a.b` where that is a module, else of `a`.
    """
    modules = module_files(package)
    return [
        Import(file, node.lineno, name, target, ast.unparse(node))
        for name, file in modules.items()
        for node in ast.walk(ast.parse(file.read_text("utf-8"), str(file)))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for target in dict.fromkeys(_targets(node, name, file, modules, package.name))
    ]


def _targets(
    node: ast.Import | ast.ImportFrom, name: str, file: Path, modules: dict[str, Path], package: str
) -> Iterator[str]:
    """The modules of the package that a statement imports."""
    named: list[tuple[str, str | None]]
    if isinstance(node, ast.Import):
        named = [(alias.name, None) for alias in node.names]
    else:
        base = node.module or ""
        if node.level:
            inside = name.split(".")
            if file.name != "__init__.py":
                inside = inside[:-1]
            base = ".".join([*inside[: len(inside) - node.level + 1], *filter(None, [base])])
        named = [(base, alias.name) for alias in node.names]
    for base, member in named:
        if base.split(".")[0] == package:
            yield f"{base}.{member}" if f"{base}.{member}" in modules else base


def room(module: str) -> str:
    """The room of a module; `__init__` is the package's own file."""
    return [*module.split("."), "__init__"][1]


def uses(imports: Iterable[Import]) -> dict[str, set[str]]:
    """Room → the other rooms that its files import."""
    used: dict[str, set[str]] = {}
    for found in imports:
        if room(found.source) != room(found.target):
            used.setdefault(room(found.source), set()).add(room(found.target))
    return used


# -- rules -----------------------------------------------------------------------------------------


def broken_rules(package: Path = PACKAGE) -> list[str]:
    """What the files of a package break: file, line, import or name, and the rule."""
    imports = read_imports(package)
    return [
        *chain.from_iterable(map(_breaks_order, imports)),
        *_circle(imports),
        *chain.from_iterable(
            _detector_names(file)
            for module, file in module_files(package).items()
            if room(module) in BLIND
        ),
        *(
            f"{file}: not a room of the house: {', '.join(ROOMS)}"
            for module, file in module_files(package).items()
            if room(module) not in (*ROOMS, *OUTSIDE)
        ),
    ]


def _breaks_order(found: Import) -> Iterator[str]:
    here, there = room(found.source), room(found.target)
    if here not in ROOMS:
        return
    if there == "__init__":
        if not re.fullmatch(r"from \S+ import __\w+__", found.text):
            yield f"{found}: rooms import from rooms, not from what hands their names on"
    elif there not in ROOMS:
        yield f"{found}: {there} is no room, and not to be imported"
    elif ROOMS.index(there) > ROOMS.index(here):
        yield f"{found}: a room imports only rooms below it, and {there} is above {here}"
    elif there == "detectors" and here in BLIND:
        yield f"{found}: {here} knows no detector"
    elif here == there == "detectors":
        mine, other = (module.split(".")[2:3] for module in (found.source, found.target))
        if mine and other and mine != other:
            yield f"{found}: a detector does not import another one"


def _circle(imports: Iterable[Import]) -> Iterator[str]:
    """A circle of files that import each other, if there is one."""
    graph: dict[str, set[str]] = {}
    where: dict[tuple[str, str], Import] = {}
    for found in imports:
        if room(found.source) not in OUTSIDE:
            graph.setdefault(found.source, set()).add(found.target)
            where.setdefault((found.source, found.target), found)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circle = list(reversed(error.args[1]))
        steps = "".join(f"\n    {where[pair]}" for pair in pairwise(circle))
        yield f"{' → '.join(circle)}: files do not import each other in a circle{steps}"


def _detector_names(file: Path) -> Iterator[str]:
    for line, name in identifiers(ast.parse(file.read_text("utf-8"), str(file))):
        words = words_of(name)
        named = {*words, *("".join(pair) for pair in pairwise(words))}.intersection(DETECTORS)
        if named:
            yield f"{file}:{line}: `{name}` has the name of a detector in it; here none is known"


def words_of(identifier: str) -> list[str]:
    """The words of an identifier in lower case: `UnAVHead_2` → un, av, head, 2."""
    words = re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", identifier)
    return [word.lower() for word in words]


def identifiers(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and name of all that a file names, but for the package itself in its imports."""
    fields = ("id", "attr", "arg", "name", "names", "asname", "rest", "kwd_attrs")
    plain = {
        alias.name.split(".")[0]
        for node in ast.walk(tree) if isinstance(node, ast.Import)
        for alias in node.names if not alias.asname
    }  # fmt: skip
    for node in ast.walk(tree):
        for field in fields:
            value = getattr(node, field, None)
            if isinstance(node, ast.alias) and field == "name":
                value = [part for part in node.name.split(".") if part not in plain]
            for name in value if isinstance(value, list) else [value]:
                line = getattr(node, "lineno", 0)
                if isinstance(name, str) and not (isinstance(node, ast.Name) and name in plain):
                    yield line, name
