"""The words of a command that Hydra reads: paths may hold `=`, and what it cannot read is told."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from loco.errors import SettingError

PATHS = (
    "ckpt_path", "resume_sweep", "reuse", "output_dir", "data.root", "data.annotations",
    "hydra.run.dir", "hydra.sweep.dir",
)  # fmt: skip
"""Settings that are paths, such as `runs/lr=0.1/checkpoints/epoch=3.ckpt`."""
ESCAPED, BACKSLASH = re.compile(r"(?<!\\)="), r"\\="


def readable_words(words: Sequence[str]) -> list[str]:
    """The same words, paths quoted as Hydra wants them; `~` at their beginning is the home.

    A shell knows that of `output_dir=~/x`, and not of `data.root=~/x`.

    Raises:
        SettingError: Hydra cannot read one; says how to quote it.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    parser = OverridesParser.create()

    def is_read(word: str) -> bool:
        try:
            parser.parse_override(word)
        except HydraException:
            return False
        return True

    made = []
    for before, word in pairwise(["", *words]):
        key, _, value = word.partition("=")
        if key.lstrip("+") in PATHS and value.startswith("~/"):
            value = f"{Path.home()}{value[1:]}"
            word = f"{key}={value}"
        if word.startswith("-") or before.startswith("--") or not value or is_read(word):
            made.append(word)
            continue
        quoted, escaped = _quoted(key, value), f"{key}={ESCAPED.sub(BACKSLASH, value)}"
        if key.lstrip("+") not in PATHS or set(value) & set("'\""):
            raise SettingError(
                f"{word}: Hydra cannot read this; text with signs in it stands in quotes within "
                f"those of the shell: {shlex.quote(quoted)}"
            )
        # several paths of a sweep stay several
        made.append(escaped if is_read(escaped) else quoted)
    return made


def options_last(words: Sequence[str]) -> list[str]:
    """The same words, Hydra's options last: an override between two of them is no word to it."""
    from hydra._internal.utils import get_args_parser

    options = get_args_parser()._option_string_actions
    overrides, others = [], []
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            overrides.append(word)
            continue
        others.append(word)
        takes = word in options and options[word].nargs in (None, "?")
        if takes and rest and not rest[0].startswith("-"):
            others.append(rest.pop(0))
    return [*overrides, *others]


def _quoted(key: str, value: str) -> str:
    sign = '"' if '"' not in value else "'"
    escaped = value.replace(sign, f"\\{sign}")
    return f"{key}={sign}{escaped}{sign}"
