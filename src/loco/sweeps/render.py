"""A table of results as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable

from loco.runs.streams import csv_cell, one_line
from loco.sweeps.tabulate import Column, Row, Table


def markdown(table: Table) -> str:
    """A table of GitHub's Markdown, and a line on what it shows."""
    header = [*map(_escape_markdown, table.keys), *map(_escape_markdown, _titles(table, "Δ Avg."))]
    lines = [f"| {' | '.join(header)} |"]
    lines.append(
        "|" + "".join(" --- |" if i < len(table.keys) else " ---: |" for i in range(len(header)))
    )
    for i, row in enumerate(table.rows):
        cells = _cells(table, i, row, lambda text: f"**{text}**", "±", "−", "to")
        named = map(_escape_markdown, cells[: len(table.keys)])
        lines.append(f"| {' | '.join([*named, *cells[len(table.keys) :]])} |")
    return "\n".join([*lines, "", _escape_markdown(_caption(table)), ""])


def latex(table: Table) -> str:
    """A tabular for the package booktabs; letters beyond Latin ones need XeLaTeX or LuaLaTeX."""
    header = [_escape(text) for text in (*table.keys, *_titles(table, "Δ Avg."))]
    header = [text.replace("Δ", r"$\Delta$") if text == "Δ Avg." else text for text in header]
    lines = [
        "% \\usepackage{booktabs}",
        f"\\begin{{tabular}}{{{'l' * len(table.keys)}{'r' * (len(header) - len(table.keys))}}}",
        "\\toprule",
        " & ".join(header) + r" \\",
        "\\midrule",
    ]
    for i, row in enumerate(table.rows):
        cells = _cells(
            table, i, row, lambda text: f"\\textbf{{{text}}}", r"{\scriptsize$\pm$}", "$-$", "to"
        )
        named = [_escape(cell) for cell in cells[: len(table.keys)]]
        lines.append(" & ".join([*named, *cells[len(table.keys) :]]) + r" \\")
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}", ""])


def comma_separated(table: Table) -> str:
    """CSV: numbers without rounding, mean and deviation in columns of their own."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for i, record in enumerate(table.records()):
        if i == 0:
            writer.writerow(map(csv_cell, record))
        writer.writerow(
            csv_cell(value) if isinstance(value, str) else value for value in record.values()
        )
    return file.getvalue()


def as_json(table: Table) -> str:
    """A list of objects, one a row; null where there is no number."""
    return json.dumps(table.records(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


RENDERERS: dict[str, Callable[[Table], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": comma_separated,
    "json": as_json,
}


def _titles(table: Table, difference: str) -> list[str]:
    last = [] if table.differences is None else [difference]
    return ["seeds", *(column.title for column in table.columns), *last]


def _cells(
    table: Table,
    index: int,
    row: Row,
    bold: Callable[[str], str],
    plus_minus: str,
    minus: str,
    to: str,
) -> list[str]:
    cells = [*row.settings.values(), seeds_text(row)]
    for column in table.columns:
        text = _number(table, row, column, plus_minus)
        cells.append(bold(text) if table.is_best(row, column) else text)
    if table.differences is not None:
        gap = table.differences.get(index)
        if index == table.reference:
            cells.append("reference")
        elif gap is None:
            cells.append("–")
        else:
            mean, low, high = (
                _signed(100 * value, minus) for value in (gap.mean, gap.low, gap.high)
            )
            cells.append(f"{mean} ({low} {to} {high})")
    return cells


def seeds_text(row: Row) -> str:
    """How many seeds stand behind a row, and how many are missing."""
    lost = [(row.failed, "failed"), (row.unfinished, "unfinished")]
    notes = ", ".join(f"{count} {what}" for count, what in lost if count)
    if row.figures is not None:
        return "–"
    return f"{len(row.finished)} ({notes})" if notes else str(len(row.finished))


def _number(table: Table, row: Row, column: Column, plus_minus: str) -> str:
    mean, deviation = table.mean(row, column), table.deviation(row, column)
    if not row.finished and row.figures is None:
        return "failed" if row.failed else "–"
    if math.isnan(mean):
        return "–"
    text = f"{mean:.{column.digits}f}"
    return text if deviation is None else f"{text} {plus_minus} {deviation:.{column.digits}f}"


def _signed(value: float, minus: str) -> str:
    text = f"{abs(value):.2f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else minus}{text}"


def _caption(table: Table) -> str:
    shown = "mAP in percent" if table.columns[-1].result == "mAP" else "What the models cost"
    text = f"{shown}; mean ± sample standard deviation over the seeds, the best in bold."
    if table.differences is not None and table.reference is not None:
        text += (
            f" Δ: Avg. less that of {table.rows[table.reference].name}, with a 95 % bootstrap "
            f"interval over the test videos{' and the seeds' * table.over_seeds}."
        )
    return text


def _escape(text: str) -> str:
    """A name for LaTeX, without what it would take for a command, a ligature or an argument."""
    return "".join(_LATEX.get(character, character) for character in one_line(text))


_LATEX = {
    "\\": r"\textbackslash{}", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\symbol{34}",
    "'": r"\textquotesingle{}", "`": r"\textasciigrave{}", "-": "{-}", "[": "{[}", "*": "{*}",
    "�": "?",
} | {character: f"\\{character}" for character in "&%$#_{}"}  # fmt: skip


def _escape_markdown(text: str) -> str:
    """A name for GitHub's Markdown, without what it would take for markup; blanks are single."""
    text = _MARKDOWN.sub(r"\\\g<0>", one_line(text))
    return re.sub(r"&(?=#?\w+;)", "&amp;", text).replace("<", "&lt;")


_MARKDOWN = re.compile(r"[\\`*|$~]|(?<!\w)_|_(?!\w)|\](?=[(\[])|:(?=[\w+-]+:)")
