"""Print the results of sweeps as a table: a row for each setting, mean ± deviation over seeds.

loco tabulate multirun/train/…
loco tabulate multirun/train/… multirun/train/… --format latex --output table.tex
loco tabulate multirun/train/… --reference attention=fixed --baselines
loco tabulate multirun/train/… --html sweep.html
loco tabulate multirun/train/… --reference attention=fixed --over-seeds --plot differences.svg
loco tabulate multirun/train/… --effects --column 'max val/mAP' --only
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loco.cli.configs import figure_file, seed
from loco.errors import LocoError, listed
from loco.files import write_text
from loco.sweeps.effects import effects
from loco.sweeps.render import RENDERERS, effects_table
from loco.sweeps.summary import caution, differences_by_name, reference_name
from loco.sweeps.tabulate import Difference, Row, Table, columns_of, find_row, make_rows, read_jobs

if TYPE_CHECKING:
    from loco.reporting.figures.results import Interval


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    rows = make_rows(read_jobs(args.folders), args.by)
    if args.only and not args.column:
        raise LocoError("--only shows the columns that --column names, and there are none")
    columns = columns_of(rows, args.column, args.only)
    if args.effects:
        refused = {
            "--reference": args.reference,
            "--baselines": args.baselines,
            "--html": args.html,
            "--over-seeds": args.over_seeds,
            "--by": args.by,
        }
        if given := [name for name, value in refused.items() if value]:
            raise LocoError(f"--effects does not go with {given[0]}")
        # a job that several folders share counts once
        of_settings = effects([job for row in rows for job in row.finished], columns)
        text = effects_table(of_settings, columns, args.format)  # its error before a file
        if args.plot is not None:
            shown = {of_columns[0].setting: of_columns[0] for of_columns in of_settings}
            _draw(shown, f"{columns[0].title}, with it less without", columns[0].scale, args.plot)
        _write(text, args.output)
        return 0
    reference = None if args.reference is None else find_row(rows, args.reference)
    if args.over_seeds and reference is None:
        raise LocoError("--over-seeds is of the intervals that --reference shows")
    if args.plot is not None and reference is None:
        raise LocoError("--plot draws the intervals of --reference or --effects")
    groups = [[job.folder for job in row.finished] for row in rows]
    if args.baselines:
        rows += _baselines(rows)
    table = Table(rows, columns)
    if reference is not None:
        from rich.console import Console
        from rich.progress import Progress

        from loco.runs.paired import differences  # here, as it imports torch

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("resampling test videos", total=args.resamples)
            found = differences(
                groups, reference, args.resamples, args.seed, lambda: bar.advance(task),
                over_seeds=args.over_seeds, baselines=args.baselines,
            )  # fmt: skip
        gaps = {i: Difference(*of_row) for i, of_row in found.items()}
        table = Table(rows, columns, gaps, reference, args.over_seeds)
    if args.html is not None:
        from loco.sweeps.report import write_sweep_report  # here, as it imports matplotlib

        title = listed([folder.resolve().name for folder in args.folders], 3)
        path = write_sweep_report(table, args.html, title)
        print(f"{path}: open it in a browser", file=sys.stderr)
    if args.plot is not None and reference is not None:
        title = f"Average mAP less that of {reference_name(rows[reference])}"
        _draw(differences_by_name(table), title, 100.0, args.plot)
    _write(RENDERERS[args.format](table), args.output)
    if beware := caution(table.rows):
        print(f"note: {beware}", file=sys.stderr)
    return 0


def _draw(intervals: Mapping[str, Interval], title: str, scale: float, path: Path) -> None:
    from loco.reporting.figures import plot_differences  # here, as it imports matplotlib
    from loco.reporting.figures.style import write_figure

    write_figure(plot_differences(intervals, title, scale), path, dpi=200)
    print(f"drawn in {path}", file=sys.stderr)


def _write(text: str, path: Path | None) -> None:
    if path is None:
        print(text, end="")
    else:
        write_text(path, text)


def _baselines(rows: Sequence[Row]) -> list[Row]:
    """A row for each answer that needs no model, on the videos that the first job was tested on."""
    from loco.runs.paired import baseline_rows  # here, as it imports torch

    finished = [job for row in rows for job in row.finished]
    if not finished:
        raise LocoError("--baselines: no job is finished, whose test videos they would answer")
    for row in rows:
        row.settings = row.settings or {"answer": "runs"}  # a table of one row names none
    keys = list(rows[0].settings)
    return [
        Row(dict.fromkeys(keys, "–") | dict.fromkeys(keys[:1], name), figures=figures)
        for name, figures in baseline_rows(finished[0].folder).items()
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco tabulate",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("folders", type=Path, nargs="+", help="folders of sweeps, or of single runs")
    add("--format", choices=sorted(RENDERERS), default="markdown", help="(default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="write there instead of printing")
    add("--html", type=Path, metavar="FILE", help="also write a page with curves and mistakes")
    add(
        "--plot",
        type=figure_file,
        metavar="FILE",
        help="also draw the intervals of --reference, or of --effects (.png, .pdf or .svg)",
    )
    add(
        "--by",
        action="append",
        default=[],
        metavar="KEY",
        help="one more setting that tells rows apart; may be repeated (all overrides that differ, "
        "except the seed, do already)",
    )
    add(
        "--column",
        action="append",
        default=[],
        metavar="NAME",
        help="one more column: a number of metrics.json, such as mAP@0.1; the last value of a "
        "logged curve, such as lcc/sigma, or its highest, such as 'max val/mAP'; or what the "
        "training took: parameters, gflop, epoch_s; may be repeated",
    )
    add("--only", action="store_true", help="no other columns, such as while validation chooses")
    add(
        "--effects",
        action="store_true",
        help="instead of rows: what each setting adds where it is on, from all jobs at once, for "
        "sweeps that change several settings in each job",
    )
    add(
        "--reference",
        metavar="KEY=VALUE,…",
        help="also show each row's difference to this one, with a 95%% interval over the "
        "test videos; reads predictions.json and the annotation file that config.yaml names",
    )
    add(
        "--over-seeds",
        action="store_true",
        help="of these intervals: of the choice of the seeds, too, not only of the test videos",
    )
    add(
        "--baselines",
        action="store_true",
        help="also rows of what needs no model: the constant predictor, and the oracle of "
        "video-level classes",
    )
    add("--resamples", type=int, default=1000, help="of the bootstrap (default: %(default)s)")
    add("--seed", type=seed, default=0, help="of the bootstrap (default: %(default)s)")
    return parser
