"""Make an annotation file from what people marked with their tools.

It reads ELAN documents (.eaf), Audacity label tracks (.txt), VIA 3 projects (.json) and tables with
the columns video, start, end and label (.csv). The id of a video is its file's name without ending;
a label track is of the video of its own name. Videos without a mark are ones without events.

    loco convert marks/*.eaf --videos clips --out data/mine/annotations.json
    loco convert events.csv --videos clips --out data/mine/annotations.json --parts 0.8 0.1 0.1
"""

from __future__ import annotations

import argparse
import logging
from collections import Counter
from pathlib import Path

from loco.cli.configs import seed
from loco.errors import IncompleteError, LocoError, VideoError


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)

    from loco.data.importing import CUT, annotation_file, read_marks
    from loco.runs.results import counted, write_json
    from loco.video.container import probe
    from loco.video.sources import find_videos

    logging.basicConfig(level=logging.INFO, format="%(message)s")  # what is left out
    if args.out.exists() and not args.overwrite:
        raise LocoError(f"{args.out}: there already; --overwrite replaces it")
    marks = [mark for path in args.files for mark in read_marks(path)]
    durations, failed = {}, {}
    for video_id, path in find_videos(args.videos, args.recursive).items():
        try:
            seconds = probe(path).duration
            if seconds is None:
                raise VideoError(f"{path}: its header does not say how long it is")
            durations[video_id] = round(seconds, 3)
        except VideoError as error:
            failed[video_id] = str(error)
    if failed and not durations:
        raise VideoError("\n  ".join(["not one video could be used:", *failed.values()]))
    marks = [mark for mark in marks if mark.video not in failed]
    try:
        content = annotation_file(marks, durations, args.parts, args.seed)
    except ValueError as error:
        raise LocoError(str(error)) from None
    write_json(args.out, content)
    if cut := sum(mark.end > durations[mark.video] for mark in marks):
        print(f"{counted(cut, 'event')} ended up to {CUT:g} s behind their video: cut at its end")
    subsets = Counter(video["subset"] for video in content["database"].values())
    shown = ", ".join(f"{name} {count}" for name, count in subsets.items())
    print(f"{args.out}: {len(durations)} videos ({shown}), {len(marks)} events of "
          f"{len({mark.label for mark in marks})} classes")  # fmt: skip
    if failed:
        reasons = "".join(f"\n  {reason}" for reason in failed.values())
        raise IncompleteError(f"left out, as they could not be used, and their marks:{reasons}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco convert",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("files", type=Path, nargs="+", help="what was marked")
    add("--videos", type=Path, required=True, help="the videos: a folder, or a list in a .txt file")
    add("--recursive", action="store_true", help="also videos in folders within the folder")
    add("--out", type=Path, required=True, help="the annotation file to write")
    add(
        "--parts",
        type=float,
        nargs=3,
        default=[0.7, 0.15, 0.15],
        metavar=("TRAIN", "VAL", "TEST"),
        help="of the videos, drawn by chance (0.7 0.15 0.15)",
    )
    add("--seed", type=seed, default=0, help="of the draw (%(default)s)")
    add("--overwrite", action="store_true", help="replace the file if it is there")
    return parser
