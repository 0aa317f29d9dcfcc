"""Draw one figure of finished runs for a paper: .pdf, .svg or .png.

    timeline    a test video's events and what runs say of it, a panel for each run
    similarity  which of its moments look like which sound, a matrix for each run
    windows     where the attention of a run with CDP looks in it
    pr          precision against recall over all test videos, a line for each run

loco figure timeline outputs/train/… VIDEO -o timeline.pdf
loco figure timeline RUN RUN VIDEO --name "without LCC" --name LoCo -o timeline.pdf
loco figure similarity outputs/train/… VIDEO --space common -o similarity.png
loco figure pr RUN RUN -o pr.svg
loco figure timeline -o timeline.pdf RUN -- -0nqfRcnAYE    (an id that begins with -)
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from loco.cli.configs import FIGURES, figure_file
from loco.errors import LocoError

KINDS = ("timeline", "similarity", "windows", "pr")
OF_ONE_KIND = {
    "min_score": ("timeline", 0.2), "space": ("similarity", "encoder"), "levels": ("windows", 4),
    "tiou": ("pr", 0.5),
}  # fmt: skip
"""Options that one kind alone has: which, and what holds without them."""


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    _settle(args)
    words, kind = args.words, args.kind
    runs, video = (words, "") if kind == "pr" else (words[:-1], words[-1])
    if not runs:
        raise LocoError(f"figure {kind}: expected a run's folder and a video, got {words[0]} alone")
    if kind == "windows" and len(runs) > 1:
        raise LocoError(f"figure windows: expected one run and a video, got {len(runs)} runs")
    if args.name and len(args.name) != len(runs):
        raise LocoError(f"--name: expected one for each of {len(runs)} runs, got {len(args.name)}")

    from loco.reporting.figures.style import write_figure
    from loco.reporting.paper import fit, lettering, precision, similarity, timeline, windows
    from loco.runs.entry import quieten
    from loco.runs.run_folder import RunFolder

    quieten()
    names = args.name or _names(runs)
    if len({*names}) < len(names):
        raise LocoError(f"figure {kind}: two runs of one name: {', '.join(names)}")
    named = dict(zip(names, (RunFolder(run, args.trust) for run in runs), strict=True))
    title = video if args.title is None else args.title
    with lettering(args.font):
        if kind == "timeline":
            figure = timeline(named, video, args.min_score, title)
        elif kind == "similarity":
            figure = similarity(named, video, args.space, title)
        elif kind == "windows":
            figure = windows(next(iter(named.values())), video, args.levels, title)
        else:
            figure = precision(named, args.tiou, args.title)
        fit(figure, args.width, args.height)
        write_figure(figure, args.output, args.dpi)
    width, height = figure.get_size_inches()
    print(f"{args.output}: {width:.2f} × {height:.2f} inches")
    return 0


def _settle(args: argparse.Namespace) -> None:
    """Refuse what the kind does not have, and set what was not given."""
    if args.name and args.kind == "windows":
        raise LocoError("--name does not go with windows")
    for name, (kind, default) in OF_ONE_KIND.items():
        if getattr(args, name) is None:
            setattr(args, name, default)
        elif kind != args.kind:
            raise LocoError(f"--{name.replace('_', '-')} does not go with {args.kind}")


def _names(runs: list[str]) -> list[str]:
    """What the runs are called: their folders' names, or the paths where these are not unique.

    A run alone needs no name.
    """
    if len(runs) == 1:
        return [""]
    names = [Path(run).resolve().name for run in runs]
    return names if len({*names}) == len(names) else runs


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco figure",
        usage="loco figure KIND RUN [RUN …] [VIDEO] -o FILE [options]",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("kind", choices=KINDS, metavar="KIND", help="what is drawn: " + ", ".join(KINDS))
    add("words", nargs="+", metavar="RUN … VIDEO", help="folders of finished runs, then the id of "
        "a test video; of pr the runs alone")  # fmt: skip
    add("-o", "--output", type=figure_file, required=True, metavar="FILE", help="its ending says "
        "the format: " + ", ".join(FIGURES))  # fmt: skip
    add("--name", action="append", default=[], help="what a run is called, one for each in their "
        "order (default: of several, their folders)")  # fmt: skip
    add("--title", help="above all (default: the video's id; '' for none)")
    add("--min-score", type=_fraction, metavar="S", help="timeline: predictions below "
        f"it are left out (default: {OF_ONE_KIND['min_score'][1]})")  # fmt: skip
    add("--space", choices=("encoder", "common"), help="similarity: of what the encoders say, or "
        f"of the space that LCC compares in (default: {OF_ONE_KIND['space'][1]})")  # fmt: skip
    add("--levels", type=_count, metavar="N", help="windows: of the pyramid, from the "
        f"finest (default: {OF_ONE_KIND['levels'][1]})")  # fmt: skip
    add("--tiou", type=_fraction, metavar="T", help="pr: overlap of a match (default: "
        f"{OF_ONE_KIND['tiou'][1]})")  # fmt: skip
    add("--width", type=_inches, metavar="INCHES", help="(default: a paper's column, 3.3, or its "
        "text, 6.9, by what there is to show)")  # fmt: skip
    add("--height", type=_inches, metavar="INCHES", help="(default: by what there is to show)")
    add("--font", choices=("sans", "serif"), default="sans", help="(default: %(default)s)")
    add("--dpi", type=_count, default=300, help="of a .png (default: %(default)s)")
    add("--trust", action="append", default=[], metavar="PACKAGE", help="a package of your own "
        "whose parts the runs' files may name; may be repeated")  # fmt: skip
    return parser


def _fraction(text: str) -> float:
    return _number(text, "a number in [0, 1]", 0.0, 1.0)


def _inches(text: str) -> float:
    return _number(text, "inches in [1, 50]", 1.0, 50.0)


def _count(text: str) -> int:
    expected = "a whole number in [1, 5000]"
    return int(_number(text if text.isdecimal() else "", expected, 1, 5000))


def _number(text: str, expected: str, low: float, high: float) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text}")
    return number
