"""Print the results of sweeps as a table: a row for each setting, mean ± deviation over seeds.

loco tabulate multirun/train/…
loco tabulate multirun/train/… multirun/train/… --format latex --output table.tex
loco tabulate multirun/train/… --reference attention=fixed
loco tabulate multirun/train/… --html sweep.html
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loco.cli.configs import seed
from loco.runs.files import write_text
from loco.sweeps.render import RENDERERS
from loco.sweeps.tabulate import Difference, Table, columns_of, find_row, make_rows, read_jobs


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    rows = make_rows(read_jobs(args.folders), args.by)
    table = Table(rows, columns_of(rows, args.column))
    if args.reference is not None:
        reference = find_row(rows, args.reference)
        from rich.console import Console
        from rich.progress import Progress

        from loco.runs.paired import differences  # here, as it imports torch

        with Progress(console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("resampling test videos", total=args.resamples)
            groups = [[job.folder for job in row.finished] for row in rows]
            seeds = [[job.seed for job in row.finished] for row in rows]
            found = differences(
                groups, reference, args.resamples, args.seed, lambda: bar.advance(task),
                seeds if args.over == "both" else None,
            )  # fmt: skip
        gaps = {i: Difference(*of_row) for i, of_row in found.items()}
        over = "the test videos" + " and the seeds" * (args.over == "both")
        table = Table(rows, table.columns, gaps, reference, over)
    if args.html is not None:
        from loco.sweeps.report import write_sweep_report  # here, as it imports matplotlib

        title = ", ".join(folder.resolve().name for folder in args.folders)
        path = write_sweep_report(table, args.html, title)
        print(f"{path}: open it in a browser", file=sys.stderr)
    text = RENDERERS[args.format](table)
    if args.output is None:
        print(text, end="")
    else:
        write_text(args.output, text)
    return 0


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
        "logged curve, such as lcc/sigma; or what the training took: parameters, gflop, epoch_s; "
        "may be repeated",
    )
    add(
        "--reference",
        metavar="KEY=VALUE,…",
        help="also show each row's difference to this one, with a 95%% bootstrap interval over the "
        "test videos; reads predictions.json and the annotation file that config.yaml names",
    )
    add(
        "--over",
        choices=("videos", "both"),
        default="videos",
        help="what the interval is of: the choice of the test videos, or of these and of the "
        "seeds, of which those count that a row shares with the reference (default: %(default)s)",
    )
    add("--resamples", type=int, default=1000, help="of the bootstrap (default: %(default)s)")
    add("--seed", type=seed, default=0, help="of the bootstrap (default: %(default)s)")
    return parser
