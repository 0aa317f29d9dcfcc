"""Say what an annotation file holds, and which settings suit it on a feature grid.

The grid is that of a layout in conf/data, or given in numbers: frames a second, and the frames that
a feature vector sees and that lie between two of them.

python scripts/describe_data.py data/synthetic/annotations.json
python scripts/describe_data.py mine.json --fps 16 --window 16 --stride 4 --plot mine.png
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loco.data.annotations import read_annotations
from loco.data.describe import advise, describe_splits
from loco.data.describe_tables import advice_lines, description_table, levels_table
from loco.data.layouts import read_layout
from loco.errors import LocoError
from loco.runs.results import show
from loco.structures import TimeGrid

LAYOUTS = Path(__file__).resolve().parent.parent / "conf" / "data"


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    try:
        grid = _grid(args)
        annotations = read_annotations(args.annotations)
        advice = advise(annotations, grid, args.levels)
        show(description_table(describe_splits(annotations), str(args.annotations)))
        print(f"grid: {grid.fps:g} fps, window {grid.window}, stride {grid.stride} frames: a step "
              f"is {grid.stride / grid.fps:.3g} s")  # fmt: skip
        show(levels_table(advice))
        print("\n".join(advice_lines(advice)))
        if args.plot is not None:
            from loco.reporting.figures import plot_data  # matplotlib takes a second

            args.plot.parent.mkdir(parents=True, exist_ok=True)
            plot_data(annotations, advice).savefig(args.plot, dpi=150)
            print(f"drawn in {args.plot}")
    except (LocoError, OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _grid(args: argparse.Namespace) -> TimeGrid:
    given = (args.fps, args.window, args.stride)
    if given == (None, None, None):
        if args.layout is None:
            print("steps as in conf/data/synthetic.yaml; --layout NAME takes another's\n")
        return read_layout(LAYOUTS, args.layout or "synthetic").grid
    if args.layout is not None or None in given:
        raise LocoError("expected --layout, or --fps, --window and --stride together")
    return TimeGrid(*given)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("annotations", type=Path, help="annotation file in UnAV-100's form")
    add("--layout", metavar="NAME", help="grid of conf/data/NAME.yaml (default: synthetic)")
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
    add("--plot", type=Path, metavar="FILE", help="draw the data set (.png, .pdf or .svg)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
