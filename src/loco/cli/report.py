"""Write a finished run's report, one HTML file to look at and to send around.

loco report outputs/train/…
loco report outputs/train/… --videos 300
loco report outputs/train/… --against outputs/train/…
loco report outputs/train/… --video-root data/films
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="loco report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, help="the run's folder; it gets report.html")
    parser.add_argument(
        "--videos",
        type=int,
        default=100,
        help="test videos that can be looked at: the best, the worst, and others evenly spread "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--against",
        type=Path,
        metavar="OTHER",
        help="the folder of another run that this one is compared with, over the test videos that "
        "both have; it stays as it is",
    )
    parser.add_argument(
        "--video-root",
        type=Path,
        metavar="DIR",
        help="a folder with the films of the videos, named by their ids: the page plays them",
    )
    parser.add_argument(
        "--trust",
        action="append",
        default=[],
        metavar="PACKAGE",
        help="a package of your own whose parts the run's files may name; may be repeated",
    )
    args = parser.parse_args(arguments)

    from loco.reporting.report import write_report
    from loco.runs.entry import quieten

    quieten()
    began = time.perf_counter()
    path = write_report(
        args.run,
        videos=args.videos,
        trust=args.trust,
        against=args.against,
        video_root=args.video_root,
    )
    size = path.stat().st_size / 1e6
    print(f"{path}: {size:.1f} MB, took {time.perf_counter() - began:.0f} s")
    return 0
