"""A table of results as Markdown, LaTeX, CSV or JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence

from loco.errors import LocoError
from loco.files import csv_cell
from loco.runs.text import one_line
from loco.sweeps.columns import Column
from loco.sweeps.effects import Effect
from loco.sweeps.tabulate import Row, Table


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
    return _csv(table.records())


def as_json(table: Table) -> str:
    """A list of objects, one a row; null where there is no number."""
    return _json(table.records())


def _csv(records: Sequence[Mapping[str, str | float | None]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    for i, record in enumerate(records):
        if i == 0:
            writer.writerow(map(csv_cell, record))
        writer.writerow(
            csv_cell(value) if isinstance(value, str) else value for value in record.values()
        )
    return file.getvalue()


def _json(records: Sequence[Mapping[str, str | float | None]]) -> str:
    return json.dumps(records, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def effects_table(effects: Sequence[Sequence[Effect]], columns: Sequence[Column], form: str) -> str:
    """What each setting adds to each result, as markdown, csv or json (not rounded).

    Raises:
        LocoError: another form.
    """
    if form in ("csv", "json"):
        records: list[dict[str, str | float | None]] = []
        for row in effects:
            records.append({"setting": row[0].setting, "jobs": row[0].jobs})
            for column, effect in zip(columns, row, strict=True):
                for end in ("mean", "low", "high"):
                    records[-1][f"{column.result} {end}"] = getattr(effect, end)
        return _csv(records) if form == "csv" else _json(records)
    if form != "markdown":
        raise LocoError(f"--format {form}: effects are markdown, csv or json")
    titles = ["setting", "jobs", *(_escape_markdown(column.title) for column in columns)]
    lines = [f"| {' | '.join(titles)} |", "| --- |" + " ---: |" * (len(titles) - 1)]
    for row in effects:
        cells = [_escape_markdown(row[0].setting), str(row[0].jobs)]
        for column, effect in zip(columns, row, strict=True):
            mean, low, high = (
                _signed(column.scale * value, "−", column.digits)
                for value in (effect.mean, effect.low, effect.high)
            )
            text = f"{mean} ({low} to {high})"
            cells.append(f"**{text}**" if effect.low > 0 or effect.high < 0 else text)
        lines.append(f"| {' | '.join(cells)} |")
    caption = (
        "What each setting adds where it is on, the others being what they are in the sweep, "
        "with a 95 % interval; bold where that misses 0. One in twenty does so by luck."
    )
    return "\n".join([*lines, "", caption, ""])


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
        text = difference_text(table, index, minus, to)
        cells.append(bold(text) if gap is not None and gap.certain else text)
    return cells


def difference_text(table: Table, index: int, minus: str = "−", to: str = "to") -> str:
    """A row's difference to the reference, its interval, and of how many seeds if not of all."""
    gap = (table.differences or {}).get(index)
    if index == table.reference or table.reference is None:
        return "reference"
    if gap is None:
        return "–"
    mean, low, high = (_signed(100 * value, minus) for value in (gap.mean, gap.low, gap.high))
    notes = ["no interval" if math.isnan(gap.low) else f"{low} {to} {high}"]
    most = max(len(table.rows[i].finished) for i in (index, table.reference))
    if gap.seeds and gap.seeds < most:
        notes.append(f"{gap.seeds} shared seed{'s' * (gap.seeds > 1)}")
    elif gap.seeds == 0 and most > 1 and table.rows[index].figures is None:
        notes.append("no shared seeds")
    return f"{mean} ({'; '.join(notes)})"


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


def _signed(value: float, minus: str, digits: int = 2) -> str:
    text = f"{abs(value):.{digits}f}"
    return text if float(text) == 0 else f"{'+' if value > 0 else minus}{text}"


def _caption(table: Table) -> str:
    text = f"{table.unit}; mean ± sample standard deviation over the seeds, the best in bold."
    if table.differences is not None and table.reference is not None:
        choice = f"the test videos{' and the seeds' * table.over_seeds}"
        text += (
            f" Δ: Avg. less that of {table.rows[table.reference].name}, over the seeds of both, "
            f"with a 95 % interval over {choice}, bold where it misses 0."
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
