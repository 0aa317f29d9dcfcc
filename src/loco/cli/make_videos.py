"""Make films of a small world: drawn things that move and sound, with what misleads.

An event is a thing that is seen and heard. For three of them there are two that are not both, a
sound off screen or a silent action. The same settings give the same films; those that are there are
left as they are.

    loco make-videos
    loco make-videos --root data/world_1 --seed 1 --films 40 10 10 2
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from loco.cli.configs import seed
from loco.errors import LocoError
from loco.runs.text import console


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    from loco.video.extraction import cores
    from loco.video.world.films import make_world

    columns = (TextColumn("films"), BarColumn(), MofNCompleteColumn())
    shown = sys.stderr.isatty()
    with Progress(*columns, console=console(stderr=True), transient=True, disable=not shown) as bar:
        task = bar.add_task("", total=sum(args.films))
        try:
            made = make_world(args.root, args.films, args.seed, cores(), lambda: bar.advance(task))
        except ValueError as error:
            raise LocoError(str(error)) from None
    print(f"{args.root}: {sum(args.films[:3])} films with {made['events']} events and "
          f"{made['misleading']} things that mislead; {args.films[3]} new ones")  # fmt: skip
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco make-videos",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--root", type=Path, default=Path("data/world"), help="folder to make (%(default)s)")
    add(
        "--films",
        type=int,
        nargs=4,
        default=[140, 30, 30, 6],
        metavar=("TRAIN", "VAL", "TEST", "NEW"),
        help="films of each subset, and new ones to predict (140 30 30 6)",
    )
    add("--seed", type=seed, default=0, help="of all randomness (%(default)s)")
    return parser
