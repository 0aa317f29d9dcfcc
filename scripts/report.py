"""Write a finished run's report, one HTML file to look at and to send around.

python scripts/report.py outputs/train/…
python scripts/report.py outputs/train/… --videos 300
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from loco.errors import LocoError
from loco.reporting.report import MAX_VIDEOS, write_report
from loco.runs.entry import quieten


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, help="the run's folder; it gets report.html")
    parser.add_argument(
        "--videos",
        type=int,
        default=MAX_VIDEOS,
        help="test videos that can be looked at, evenly spread over all (default: %(default)s)",
    )
    args = parser.parse_args(arguments)
    quieten()
    began = time.perf_counter()
    try:
        path = write_report(args.run, videos=args.videos)
    except LocoError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    size = path.stat().st_size / 1e6
    print(f"{path}: {size:.1f} MB, took {time.perf_counter() - began:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
