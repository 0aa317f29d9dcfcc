"""Write a finished run's report, one HTML file to look at and to send around.

loco report outputs/train/…
loco report outputs/train/… --videos 300
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
        help="test videos that can be looked at, evenly spread over all (default: %(default)s)",
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
    path = write_report(args.run, videos=args.videos, trust=args.trust)
    size = path.stat().st_size / 1e6
    print(f"{path}: {size:.1f} MB, took {time.perf_counter() - began:.0f} s")
    return 0
