"""Make the synthetic benchmark: annotations and feature files in the layout of UnAV-100.

The same settings give the same bytes. A finished folder of the same settings is left as it is.

    loco make-synthetic
    loco make-synthetic --seed 1 --root data/synthetic_1 --plot properties.png
    loco make-synthetic --layout unav100_onepeace --channels-visual 1536 \\
        --channels-audio 1536 --annotations data/unav100/unav100_annotations.json --workers 8
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from loco.cli.configs import figure_file, find_layout, own_folder, seed
from loco.data.synthetic.config import SyntheticConfig
from loco.runs.text import console

if TYPE_CHECKING:
    from rich.table import Table

    from loco.data.synthetic.generator import SyntheticSummary


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)

    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    from loco.data.synthetic.generator import make_synthetic

    given = {
        "num_videos": args.videos,
        "num_classes": args.classes,
        "visual_channels": args.channels_visual,
        "audio_channels": args.channels_audio,
        "difficulty": args.difficulty,
        "dtype": args.dtype,
        "seed": args.seed,
    }
    out = console()
    bar = Progress(
        TextColumn("videos"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=console(stderr=True),
        transient=True,
        disable=not sys.stderr.isatty(),
    )
    layout = find_layout(args.layout, args.config_dir)
    config = SyntheticConfig(**{k: v for k, v in given.items() if v is not None})
    with bar:
        task = bar.add_task("", total=None)
        summary = make_synthetic(
            args.root,
            layout,
            config,
            annotations=args.annotations,
            max_videos=args.max_videos,
            overwrite=args.overwrite,
            workers=args.workers,
            progress=lambda done, total: bar.update(task, completed=done, total=total),
        )
    out.print(_table(summary))
    if args.plot is not None:
        from loco.reporting.figures.style import write_figure
        from loco.reporting.figures.synthetic import plot_properties

        write_figure(plot_properties(args.root, layout), args.plot, dpi=150)
        out.print(f"properties drawn in {args.plot}")
    return 0


def _table(summary: SyntheticSummary) -> Table:
    """What was made, or found."""
    from rich.table import Table

    action = "made" if summary.created else "there already, nothing to do"
    table = Table(title=f"{summary.root}: {action}", show_header=False, title_justify="left")
    rows = {
        "videos": ", ".join(f"{name} {count}" for name, count in summary.videos.items()),
        "events": f"{summary.events}",
        "classes": f"{summary.classes}",
        "off-screen sounds, silent actions": f"{summary.offscreen}, {summary.silent}",
        "features": f"{summary.num_bytes / 1e6:.1f} MB",
        "time": f"{summary.seconds:.1f} s",
    }
    for name, value in rows.items():
        table.add_row(name, value)
    return table


def _parser() -> argparse.ArgumentParser:
    defaults = SyntheticConfig()
    parser = argparse.ArgumentParser(
        prog="loco make-synthetic",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--root", type=Path, default=Path("data/synthetic"), help="folder to make (%(default)s)")
    add(
        "--layout",
        default="synthetic",
        metavar="NAME",
        help="file names and grid, as in data=NAME (%(default)s)",
    )
    add(
        "--config-dir",
        type=own_folder,
        metavar="DIR",
        help="folder of your own, with data/NAME.yaml",
    )
    for modality, channels in (
        ("visual", defaults.visual_channels),
        ("audio", defaults.audio_channels),
    ):
        shown = " ".join(map(str, channels))
        add(
            f"--channels-{modality}",
            type=int,
            nargs="+",
            metavar="C",
            help=f"channels of each {modality} file of the layout ({shown})",
        )
    shown = " ".join(map(str, defaults.num_videos))
    add(
        "--videos",
        type=int,
        nargs=3,
        metavar=("TRAIN", "VAL", "TEST"),
        help=f"videos of each subset ({shown})",
    )
    add("--classes", type=int, metavar="K", help=f"number of classes ({defaults.num_classes})")
    add(
        "--difficulty",
        type=float,
        metavar="X",
        help=f"scale of all noise; 0 is a clean recording ({defaults.difficulty:g})",
    )
    add("--seed", type=seed, help=f"of all randomness ({defaults.seed})")
    add(
        "--annotations",
        type=Path,
        metavar="FILE",
        help="a real annotation file: make features for its videos and events "
        "(--videos and --classes have no effect then)",
    )
    add(
        "--max-videos",
        type=int,
        metavar="N",
        help="of --annotations, take N videos that show every class",
    )
    add("--dtype", choices=("float16", "float32"), help=f"of the files ({defaults.dtype})")
    add("--workers", type=int, default=1, metavar="N", help="processes (%(default)s)")
    add("--overwrite", action="store_true", help="replace data that was made with other settings")
    add("--plot", type=figure_file, metavar="FILE", help="draw the properties of the data "
        "(.png, .pdf or .svg)")  # fmt: skip
    return parser
