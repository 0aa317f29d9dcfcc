"""The help of a command: its groups with the first words of each file, its values with their
comments. What is shown is read from the YAML files, where each setting has its comment."""

from __future__ import annotations

import re
import string
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from loco.runs.command.composition import Composition

WIDTH = 100
KEY = re.compile(r"( *)([\w@/]+):(?: |$)")
BESIDE = re.compile(r"\s{2}(# .*)$")
ALWAYS = ("hydra/launcher",)
"""Groups of Hydra's own that are listed, too."""


class _Dumper(yaml.SafeDumper):
    """Lists of numbers and texts in a line, as the files have them."""

    def represent_sequence(self, tag: str, sequence: Any, flow_style: bool | None = None) -> Any:
        flow = not any(isinstance(value, dict | list) for value in sequence)
        return super().represent_sequence(tag, sequence, flow)


def help_page(composition: Composition, folders: list[Path]) -> str:
    """What `--help` prints, as `hydra.help.template` says.

    Args:
        composition: of the command's words, so that the help of a choice shows its values.
        folders: of configurations, those that come first first.
    """
    config = composition.config
    chosen = dict(config.hydra.runtime.choices)
    return string.Template(config.hydra.help.template).substitute(
        GROUPS=_groups(composition, chosen, folders),
        VALUES=_values(composition, config, folders),
    )


def _groups(composition: Composition, chosen: dict[str, str], folders: list[Path]) -> str:
    """Each group that the command chooses from: a line an option, a star before what is chosen."""
    blocks = []
    for group in sorted(composition.groups()):
        if group not in chosen or (group.startswith("hydra/") and group not in ALWAYS):
            continue
        lines = [f"{group}="]
        for option in sorted(set(composition.options(group)) - {"base"}):  # which others begin with
            file = _file(f"{group}/{option}", folders)
            star = "*" if chosen[group] == option else " "
            told = _first_sentence(file) if file else ""
            begin = f"{star} {option:<24}"
            lines += textwrap.wrap(
                f"{begin} {told}".rstrip(), WIDTH, subsequent_indent=" " * 27,
                break_on_hyphens=False,
            )  # fmt: skip
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks)


def _values(composition: Composition, config: DictConfig, folders: list[Path]) -> str:
    """The composed values as YAML, below the comments that stand above them in the files."""
    comments: dict[str, list[str]] = {}
    defaults = composition.loader.compute_defaults_list(
        composition.name, composition.words, RunMode.RUN
    )
    for default in defaults.defaults:
        file = _file(str(default.config_path), folders)
        if file is not None:
            package = default.package or ""
            for key, comment in _comments(file.read_text(encoding="utf-8")):
                comments[f"{package}.{key}" if package else key] = comment
    shown = OmegaConf.to_container(OmegaConf.masked_copy(config, [*set(config) - {"hydra"}]))
    text = yaml.dump(shown, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=1000)
    lines = []
    for line, key in _keyed(text):
        indent = " " * (len(line) - len(line.lstrip()))
        lines += [f"{indent}{comment}" for comment in comments.get(key, ())]
        lines.append(line)
    return "\n".join(lines)


def _file(name: str, folders: list[Path]) -> Path | None:
    """Where a configuration stands; None for those of Hydra and its plugins."""
    return next((f for d in folders if (f := d / f"{name}.yaml").is_file()), None)


def _first_sentence(file: Path) -> str:
    """Of the comment that a file begins with."""
    words: list[str] = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            words += line.removeprefix("#").split()
    text = " ".join(words)
    return re.split(r"(?<=[\w)\"]\.)(?<!Eq\.) ", text, maxsplit=1)[0]


def _comments(text: str) -> Iterator[tuple[str, list[str]]]:
    """Keys of a file with the lines of the comment right above each.

    The comment that the file begins with is of the file, not of its first key.
    """
    above: list[str] = []
    head = True
    for line, key in _keyed(text):
        if line.lstrip().startswith("#"):
            above.append(line.strip())
            continue
        beside = BESIDE.search(line)
        above = [] if head else above
        if key and (above or beside):
            yield key, [*above, *([beside[1]] if beside else [])]
        head = False
        above = []


def _keyed(text: str) -> Iterator[tuple[str, str]]:
    """The lines of a YAML file, each with the dotted key that it sets, if it does."""
    path: list[tuple[int, str]] = []
    for line in text.splitlines():
        found = KEY.match(line)
        if found is None:
            yield line, ""
            continue
        indent = len(found[1])
        path = [(depth, name) for depth, name in path if depth < indent]
        path.append((indent, found[2]))
        yield line, ".".join(name for _, name in path)
