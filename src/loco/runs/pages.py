"""Pages that people open in a browser: single HTML files of jinja2 templates, without a network.

`templates/base.html` is the frame of all of them, with their colours and their text. What stands in
`{{ }}` is data: it is escaped, unless it is `Markup`, and control characters become `�`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from loco.runs.results import percent
from loco.runs.text import shown


def render(template: str, packages: Sequence[str] = (), **values: Any) -> str:
    """A page as text.

    Args:
        template: its name.
        packages: whose folders `templates` are looked through, before this room's own.
        **values: what the template names.
    """
    return _environment((*packages, "loco.runs")).get_template(template).render(**values)


def script_json(content: Any) -> Markup:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return Markup(text)


def signed(fraction: float | None) -> str:
    """A difference of fractions in percentage points, with its sign."""
    text = percent(None if fraction is None else abs(fraction), 2)
    if fraction is None or text in ("–", "0.00"):
        return text
    return f"{'+' if fraction > 0 else '−'}{text}"


@cache
def _environment(packages: tuple[str, ...]) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package) for package in packages]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_finalized,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> Markup:
        """A file of styles or scripts as it is, in which `{{` means nothing."""
        assert environment.loader is not None
        return Markup(environment.loader.get_source(environment, name)[0])

    environment.globals["source"] = source
    environment.filters["percent"] = percent
    environment.filters["signed"] = signed
    return environment


def _finalized(value: Any) -> Any:
    plain = isinstance(value, str) and not isinstance(value, Markup)
    return shown(value) if plain else value
