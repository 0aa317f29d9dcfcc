"""A page for a whole sweep: what it was, its table, curves and mistakes by row, links to its jobs.

One HTML file without a network, in the looks of a run's report (`loco.reporting.report`).
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from matplotlib.figure import Figure

from loco.files import write_text
from loco.reporting.figures import (
    plot_characteristics,
    plot_curve,
    plot_differences,
    plot_errors,
    plot_importances,
    plot_map,
)
from loco.reporting.page import chart_svgs, or_else
from loco.runs.logs import Curve
from loco.runs.pages import render
from loco.sweeps.columns import MAP_COLUMNS, Column
from loco.sweeps.origin import (
    commands,
    facts,
    fixed_settings,
    noted_importances,
    shared_settings,
)
from loco.sweeps.render import difference_text, seeds_text
from loco.sweeps.summary import (
    caution,
    differences_by_name,
    label,
    mean_diagnosis,
    mean_metrics,
    reference_name,
    seed_logs,
)
from loco.sweeps.tabulate import Row, Table

CURVES = (
    ("val/mAP", "Validation mAP, average", "mAP (%)", 100.0),
    ("val/loss", "Validation loss", "loss", 1.0),
    ("lcc/sigma", "LCC: width σ", "σ (steps)", 1.0),
    ("lcc/temperature", "LCC: temperature τ", "τ", 1.0),
)
MAX_LINES = 7  # rows that are drawn, as many as there are colours that can be told apart


class Cell(NamedTuple):
    """A cell of the table.

    Attributes:
        text: in bold where it is the best.
        more: what follows it.
        value: what rows are sorted by; None for the text.
    """

    text: str
    best: bool = False
    more: str = ""
    value: float | None = None


def write_sweep_report(table: Table, path: Path, title: str) -> Path:
    """Write the page of a sweep; returns its path.

    Args:
        table: what `loco tabulate` prints.
        path: the file to write; links to reports of jobs are relative to it.
        title: what the page is called.
    """
    jobs = [job for row in table.rows for job in row.finished]
    missing: list[str] = []
    page = render(
        "sweep.html",
        ["loco.sweeps", "loco.reporting"],
        title=title,
        facts=facts(table.rows),
        commands=commands(jobs),
        caption=_caption(table),
        heads=_heads(table),
        rows=[_cells(table, i) for i in range(len(table.rows))],
        named=bool(table.keys),
        note=_charts_note(table.rows),
        charts=chart_svgs(_charts(table, missing), missing, height=3.5),
        missing=missing,
        fixed=fixed_settings(jobs, table.keys),
        shared=shared_settings(jobs),
        score=table.score.title,
        jobs=_jobs(table, path.parent),
    )
    write_text(path, page)
    return path


def _charts(table: Table, missing: list[str]) -> dict[str, Callable[[], Figure]]:
    """mAP against tIoU; curves, mistakes and kinds of events, of each row."""
    if not set(MAP_COLUMNS) <= set(table.columns):
        return {}
    shown = [row for row in table.rows if row.finished][:MAX_LINES]
    charts: dict[str, Callable[[], Figure]] = {}
    if means := mean_metrics(shown):
        charts["mAP"] = lambda: plot_map(means)
    if (gaps := differences_by_name(table)) and table.reference is not None:
        title = f"Average mAP less that of {reference_name(table.rows[table.reference])}"
        charts["differences"] = lambda: plot_differences(gaps, title)
    logs: dict[str, list[dict[str, Curve]]] = {}
    diagnoses: dict[str, dict[str, Any]] = {}
    none: dict[str, Any] = {}
    for row in shown:
        logs[label(row)] = or_else(f"curves of {row.name}", partial(seed_logs, row), [], missing)
        mean = or_else(f"mistakes of {row.name}", partial(mean_diagnosis, row), none, missing)
        diagnoses |= {label(row): mean} if mean else {}
    for name, title, unit, scale in CURVES:
        if any(name in log for of_row in logs.values() for log in of_row):
            charts[title] = partial(plot_curve, logs, name, title, unit, scale)
    if found := noted_importances([job for row in shown for job in row.finished]):
        charts["what decides"] = lambda: plot_importances(found)
    if diagnoses:
        charts["mistakes"] = lambda: plot_errors(diagnoses)
        charts["kinds of events"] = lambda: plot_characteristics(diagnoses)
    return charts


def _charts_note(rows: Sequence[Row]) -> str:
    finished = sum(bool(row.finished) for row in rows)
    note = (
        "Means over the seeds, curves as far as all seeds of a row go; bands are ± their sample "
        "standard deviation."
    )
    if finished > MAX_LINES:
        note += f" Of {finished} rows the first {MAX_LINES} are drawn, and all of the differences."
    return note


def _caption(table: Table) -> str:
    text = f"{table.unit}; mean ± sample standard deviation over the seeds, the best in bold."
    if table.reference is not None:
        text += " Δ: over the seeds that both rows have, with a 95 % interval over the test videos"
        text += f"{' and the seeds' * table.over_seeds}, bold where it misses 0."
    if beware := caution(table.rows):
        text += f" {beware[0].upper()}{beware[1:]}."
    return f"{text} A click on a column's name sorts by it."


def _heads(table: Table) -> list[str]:
    heads = [*table.keys, "seeds", *(column.title for column in table.columns)]
    return heads + (["Δ Avg."] if table.differences is not None else [])


def _cells(table: Table, index: int) -> list[Cell]:
    row = table.rows[index]
    cells = [Cell(value) for value in row.settings.values()]
    cells.append(Cell(seeds_text(row), value=len(row.finished)))
    cells += [_number(table, row, column) for column in table.columns]
    return cells + ([_difference(table, index)] if table.differences is not None else [])


def _number(table: Table, row: Row, column: Column) -> Cell:
    mean, deviation = table.mean(row, column), table.deviation(row, column)
    if math.isnan(mean):
        return Cell("–")
    more = "" if deviation is None else f" ± {deviation:.{column.digits}f}"
    return Cell(f"{mean:.{column.digits}f}", table.is_best(row, column), more, mean)


def _difference(table: Table, index: int) -> Cell:
    if index == table.reference:
        return Cell("reference", value=0.0)
    gap = (table.differences or {}).get(index)
    if gap is None:
        return Cell("–")
    return Cell(difference_text(table, index), gap.certain, value=gap.mean)


def _jobs(table: Table, folder: Path) -> list[dict[str, Any]]:
    """A line for each finished job; a link where it has a report."""
    lines = []
    column = table.score
    for row in table.rows:
        for job in row.finished:
            report = job.folder / "report.html"
            link = None
            if report.is_file():
                place = Path(os.path.relpath(report.resolve(), folder.resolve())).as_posix()
                link = quote(os.fsencode(place))
            value = job.result(column.result) * column.scale
            score = "–" if math.isnan(value) else f"{value:.{column.digits}f}"
            lines.append(
                {"row": label(row), "seed": job.seed, "score": score, "link": link,
                 "name": job.folder.name}
            )  # fmt: skip
    return lines
