"""Say what an annotation file holds, and which settings suit it on a feature grid.

The grid is that of a layout, or given in numbers: frames a second, and the frames that a feature
vector sees and that lie between two of them.

loco describe data/synthetic/annotations.json
loco describe mine.json --config-dir my_conf --layout mine
loco describe mine.json --fps 16 --window 16 --stride 4 --plot mine.png
loco describe mine.json --config-dir my_conf --layout mine --check data/mine/features
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from loco.cli.configs import figure_file, find_layout, own_folder
from loco.errors import LocoError

if TYPE_CHECKING:
    from loco.data.annotations import Annotations
    from loco.structures import TimeGrid


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        annotations = _describe(args)
        if args.check is not None:
            return _check(args, annotations)
    except ValueError as error:  # of a grid, or of a picture's format
        raise LocoError(str(error)) from None
    return 0


def _describe(args: argparse.Namespace) -> Annotations:
    """Print what the file holds; returns it."""
    from loco.data.annotations import read_annotations
    from loco.data.describe import advise, describe_splits
    from loco.data.describe_tables import advice_lines, description_table, levels_table
    from loco.runs.results import show

    if args.check is not None and (args.fps, args.window, args.stride) != (None, None, None):
        raise LocoError("--check: expected --layout NAME, which also says how the files are named, "
                        "instead of --fps, --window and --stride")  # fmt: skip
    annotations = read_annotations(args.annotations)  # before anything is printed
    grid = _grid(args)
    advice = advise(annotations, grid, args.levels)
    show(description_table(describe_splits(annotations), str(args.annotations)))
    print(f"grid: {grid.fps:g} fps, window {grid.window}, stride {grid.stride} frames: a step "
          f"is {grid.stride / grid.fps:.3g} s")  # fmt: skip
    show(levels_table(advice))
    print("\n".join(advice_lines(advice)))
    if args.plot is not None:
        from loco.reporting.figures import plot_data
        from loco.reporting.figures.style import write_figure

        figure = plot_data(annotations, advice, str(args.annotations))
        write_figure(figure, args.plot, dpi=150)
        print(f"drawn in {args.plot}")
    return annotations


def _check(args: argparse.Namespace, annotations: Annotations) -> int:
    """Read every value of the feature files; 1 if anything is wrong with them."""
    from rich.progress import Progress

    from loco.data.features import FeatureStore
    from loco.data.inspection import told_lengths
    from loco.runs.text import console

    layout = find_layout(args.layout or "synthetic", args.config_dir)
    store = FeatureStore(args.check, layout)
    found = store.inspect(annotations)
    with Progress(console=console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading features", total=len(found.lengths))
        bad = store.check_values(list(found.lengths), lambda: bar.advance(task))
    problems: list[object] = [*found.problems, *bad]
    if told := told_lengths(store.root, layout.grid, found.lengths, annotations):
        problems.append(told)
    print(f"\n{args.check}: every value of {len(found.lengths) - len(bad)} videos is fine, "
          f"{len(problems)} problems")  # fmt: skip
    for problem in problems:
        print(f"  {problem}")
    return 1 if problems else 0


def _grid(args: argparse.Namespace) -> TimeGrid:
    given = (args.fps, args.window, args.stride)
    if given == (None, None, None):
        if args.layout is None:
            print("steps as in the synthetic data; --layout NAME takes another's\n")
        return find_layout(args.layout or "synthetic", args.config_dir).grid
    if args.layout is not None or None in given:
        raise LocoError("expected --layout, or --fps, --window and --stride together")
    from loco.structures import TimeGrid

    return TimeGrid(*given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco describe",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("annotations", type=Path, help="annotation file in UnAV-100's form")
    add("--layout", metavar="NAME", help="grid of data=NAME (default: synthetic)")
    add(
        "--config-dir",
        type=own_folder,
        metavar="DIR",
        help="folder of your own, with data/NAME.yaml",
    )
    add("--fps", type=float, help="frames a second")
    add("--window", type=int, help="frames that a feature vector sees")
    add("--stride", type=int, help="frames from one feature vector to the next")
    add(
        "--levels",
        type=int,
        choices=range(1, 11),
        metavar="N",
        help="levels of the pyramid (default: as many as the events need)",
    )
    add(
        "--check",
        type=Path,
        metavar="FOLDER",
        help="also read every value of the videos' feature files, named as in the layout",
    )
    add("--plot", type=figure_file, metavar="FILE", help="draw the data set (.png, .pdf or .svg)")
    return parser
