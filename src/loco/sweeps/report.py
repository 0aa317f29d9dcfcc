"""A page for a whole sweep: its table, curves and mistakes by row, links to the jobs' reports.

One HTML file without a network, in the looks of a run's report (`loco.reporting.report`).
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Sequence
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

from matplotlib.figure import Figure

from loco.files import write_text
from loco.reporting.figures import plot_characteristics, plot_curve, plot_errors, plot_map
from loco.reporting.page import escaped, inline_svg, or_else
from loco.runs.logs import Curve
from loco.runs.run_folder import RunFolder
from loco.sweeps.render import seeds_text
from loco.sweeps.summary import label, mean_metrics, row_logs
from loco.sweeps.tabulate import MAP_COLUMNS, Column, Row, Table

CURVES = (
    ("val/mAP", "Validation mAP, average", "mAP (%)", 100.0),
    ("lcc/sigma", "LCC: width σ", "σ (steps)", 1.0),
)
MAX_LINES = 7  # rows that are drawn, as many as there are colours that can be told apart

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>{title} · loco sweep report</title>
<link rel="icon" href="data:,">
{style}
</head>
<body>
<header><h1>{title}</h1></header>
<main>
<section aria-labelledby="h-table">
<h2 id="h-table">Table</h2>
<div class="folded" tabindex="0" role="region" aria-labelledby="h-table">{table}</div>
</section>
{charts}
<section aria-labelledby="h-jobs">
<h2 id="h-jobs">Jobs</h2>
<table><thead><tr><th scope="col">row</th><th scope="col">seed</th><th scope="col">{score}</th>
<th scope="col">report</th></tr></thead><tbody>{jobs}</tbody></table>
</section>
</main>
</body>
</html>
"""


def write_sweep_report(table: Table, path: Path, title: str) -> Path:
    """Write the page of a sweep; returns its path.

    Args:
        table: what `loco tabulate` prints.
        path: the file to write; links to reports of jobs are relative to it.
        title: what the page is called.
    """
    template = resources.files("loco.reporting").joinpath("report_template.html").read_text("utf-8")
    style = re.search(r"<style>.*?</style>", template, re.S)
    assert style
    missing: list[str] = []
    charts = [
        or_else(f"chart of {what}", lambda: inline_svg(make(), f"f{i}"), "", missing)  # noqa: B023
        for i, (what, make) in enumerate(_figures(table, missing).items())
    ]
    figures = "".join(f"<figure>{chart}</figure>" for chart in charts if chart)
    notes = [_charts_note(table.rows), *map(escaped, missing)]
    section = (
        '<section aria-labelledby="h-charts"><h2 id="h-charts">Curves and mistakes</h2>'
        + "".join(f'<p class="note">{note}</p>' for note in notes)
        + f'<div class="charts">{figures}</div></section>'
    )
    page = _PAGE.format(
        title=escaped(title),
        style=style[0],
        table=_table(table),
        charts=section if charts or missing else "",
        score=escaped(table.columns[-1].title),
        jobs=_jobs(table, path.parent),
    )
    write_text(path, page)
    return path


def _figures(table: Table, missing: list[str]) -> dict[str, Callable[[], Figure]]:
    """mAP against tIoU; curves, mistakes and kinds of events, of each row's first finished job."""
    if not set(MAP_COLUMNS) <= set(table.columns):
        return {}
    shown = [row for row in table.rows if row.finished][:MAX_LINES]
    figures: dict[str, Callable[[], Figure]] = {}
    if means := mean_metrics(shown):
        figures["mAP"] = lambda: plot_map(means)
    logs: dict[str, dict[str, Curve]] = {}
    none: dict[str, dict[str, Curve]] = {}
    diagnoses = {}
    for row in shown:
        logs |= or_else(f"curves of {row.name}", lambda: row_logs([row]), none, missing)  # noqa: B023
        mistakes = or_else(f"mistakes of {row.name}", lambda: _diagnosis(row), None, missing)  # noqa: B023
        if mistakes is not None:
            diagnoses[label(row)] = mistakes
    for curve in CURVES:
        if any(curve[0] in log for log in logs.values()):
            figures[curve[1]] = partial(plot_curve, logs, *curve)
    if diagnoses:
        figures["mistakes"] = lambda: _errors(diagnoses)
        figures["kinds of events"] = lambda: plot_characteristics(diagnoses)
    return figures


def _diagnosis(row: Row) -> dict[str, Any] | None:
    return RunFolder(row.finished[0].folder).details["diagnosis"]


def _errors(diagnoses: dict[str, Any]) -> Figure:
    figure = plot_errors(diagnoses)
    figure.set_figwidth(6.2)  # beside the rows' names there must be room for the title
    return figure


def _charts_note(rows: Sequence[Row]) -> str:
    finished = sum(bool(row.finished) for row in rows)
    note = "mAP against tIoU is the mean over seeds; all else is of the first seed."
    return note if finished <= MAX_LINES else f"{note} The first {MAX_LINES} rows are drawn."


def _table(table: Table) -> str:
    heads = [*table.keys, "seeds", *(column.title for column in table.columns)]
    heads += ["Δ Avg."] if table.differences is not None else []
    head = "".join(f'<th scope="col">{escaped(text)}</th>' for text in heads)
    body = []
    for i, row in enumerate(table.rows):
        names = [escaped(value) for value in row.settings.values()]
        cells = [f'<th scope="row">{names[0]}</th>'] if names else []
        cells += [f"<td>{name}</td>" for name in names[1:]]
        cells.append(f"<td>{seeds_text(row)}</td>")
        cells += [f"<td>{_number(table, row, column)}</td>" for column in table.columns]
        if table.differences is not None:
            cells.append(f"<td>{_difference(table, i)}</td>")
        body.append(f"<tr>{''.join(cells)}</tr>")
    unit = "mAP in percent; " if table.columns[-1].result == "mAP" else ""
    caption = f"{unit}mean ± sample standard deviation over the seeds, the best in bold."
    if table.reference is not None:
        caption += " Δ: with a 95 % bootstrap interval over the test videos"
        caption += " and the seeds." if table.over_seeds else "."
    return (
        f"<table><caption>{caption}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _number(table: Table, row: Row, column: Column) -> str:
    mean, deviation = table.mean(row, column), table.deviation(row, column)
    if math.isnan(mean):
        return "–"
    text = f"{mean:.{column.digits}f}"
    text = f"<strong>{text}</strong>" if table.is_best(row, column) else text
    return text if deviation is None else f"{text} ± {deviation:.{column.digits}f}"


def _difference(table: Table, index: int) -> str:
    if index == table.reference:
        return "reference"
    gap = (table.differences or {}).get(index)
    if gap is None:
        return "–"
    text = f"{100 * gap.mean:+.2f} ({100 * gap.low:+.2f} to {100 * gap.high:+.2f})"
    return text.replace("-", "−")


def _jobs(table: Table, folder: Path) -> str:
    """A line for each finished job; a link where it has a report."""
    lines = []
    column = table.columns[-1]
    for row in table.rows:
        for job in row.finished:
            report = job.folder / "report.html"
            text = escaped(job.folder.name)
            if report.is_file():
                place = Path(os.path.relpath(report.resolve(), folder.resolve())).as_posix()
                text = f'<a href="{escaped(quote(place))}">{text}</a>'
            value = job.result(column.result) * column.scale
            lines.append(
                f'<tr><th scope="row">{escaped(label(row))}</th>'
                f"<td>{escaped(job.seed)}</td>"
                f"<td>{'–' if math.isnan(value) else f'{value:.{column.digits}f}'}</td>"
                f'<td style="overflow-wrap: anywhere">{text}</td></tr>'
            )
    return "".join(lines)
