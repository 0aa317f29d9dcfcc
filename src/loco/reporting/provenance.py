"""Where a run comes from, as its page shows it."""

from __future__ import annotations

from pathlib import Path

from loco.reporting.page import escaped
from loco.runs.provenance import provenance_rows


def provenance_html(folder: Path) -> str:
    """A table, folded up; nothing where the run's folder notes nothing."""
    rows = "".join(
        f'<tr><th scope="row">{escaped(name)}</th>'
        f'<td style="text-align:left;overflow-wrap:anywhere">{escaped(text)}</td></tr>'
        for name, text in provenance_rows(folder)
    )
    if not rows:
        return ""
    return f"<details><summary>Provenance</summary><table><tbody>{rows}</tbody></table></details>"
