"""The words of a command: quoted so that they can be pasted, and without what is secret."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from typing import Any

COMMAND = "LOCO_COMMAND"
"""The environment's variable with the command that the user gave, for what it starts."""
HIDDEN = "HIDDEN"
_SECRET = re.compile(
    r"(api_?key|access_?key|token|secret|passw(or)?d|credentials?)$", re.IGNORECASE
)
_INSIDE = re.compile(r"([\w.]+)['\"]?\s*:\s*('[^']*'|\"[^\"]*\"|[^,{}\[\]]+)")
_NO_SECRET = re.compile(r"true|false|null|[+-]?[\d.]{1,5}(e[+-]?\d+)?", re.IGNORECASE)
"""Values of settings such as `model.num_token=4`, whose names end as those of secrets do."""
_PLAIN = re.compile(r"[\w./:@%+-]+", re.ASCII)


def quoted_value(value: object) -> str:
    """A text as Hydra reads it back, such as a path with `=`, spaces or quotes in it."""
    text = str(value)
    if _PLAIN.fullmatch(text) and text.lower() not in ("null", "true", "false"):
        return text
    # a backslash escapes only a quote, or itself before a quote
    escaped = re.sub(r"(\\*)('|\Z)", lambda m: 2 * m[1] + (r"\'" if m[2] else ""), text)
    return f"'{escaped}'".replace("${", r"\${")  # no interpolation


def quoted_override(key: str, value: object) -> str:
    """`key=value` for a shell's command line."""
    return shlex.quote(f"{key}={quoted_value(value)}")


def is_secret(key: str) -> bool:
    """Whether a setting is named as keys and passwords are, `logger.wandb.api_key` for one."""
    return _SECRET.search(key.strip("'\"")) is not None


def secret_values(words: Iterable[str]) -> list[str]:
    """What overrides give to keys that are named as secrets, also to those in braces."""
    pairs = [pair for word in words for pair in (word.partition("=")[::2], *_INSIDE.findall(word))]
    values = [value.strip().strip("'\"") for key, value in pairs if is_secret(key)]
    return [value for value in values if value and not _NO_SECRET.fullmatch(value)]


def without_secrets(words: Iterable[str]) -> list[str]:
    """The same words, `HIDDEN` standing for the values of secrets."""
    words = list(words)
    hidden = []
    for word in words:
        for value in sorted(secret_values([word]), key=len, reverse=True):
            key, equals, rest = word.partition("=")
            word = key + equals + rest.replace(value, HIDDEN) if value else word
        hidden.append(word)
    return hidden


def plain_without_secrets(plain: Any, key: str = "") -> Any:
    """The same nested values, likewise."""
    if isinstance(plain, dict):
        return {name: plain_without_secrets(value, str(name)) for name, value in plain.items()}
    if isinstance(plain, list):
        values = (plain_without_secrets(value, key) for value in plain)
        return [without_secrets([v])[0] if isinstance(v, str) else v for v in values]
    return HIDDEN if isinstance(plain, str) and plain and is_secret(key) else plain
