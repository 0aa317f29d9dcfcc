"""Write the net of a finished run as a file that runs without this suite.

torch: a program of torch.export, FILE.pt2. onnx: FILE.onnx (needs the extra export).
It takes features and a mask, and answers with what the net says at each point; class names, time
grid and thresholds stand in it.

loco export outputs/train/… --format torch -o net.pt2
loco export outputs/train/… --format torch -o long.pt2 --steps 512
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from loco.errors import LocoError

if TYPE_CHECKING:
    from loco.runs.net_file import Form

ENDINGS: dict[Form, str] = {"torch": ".pt2", "onnx": ".onnx"}


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    form: Form | None = args.format
    form = form or next((f for f, ending in ENDINGS.items() if ending == args.output.suffix), None)
    if form is None or args.output.suffix != ENDINGS[form]:
        expected = ENDINGS[form] if form else " or ".join(ENDINGS.values())
        raise LocoError(f"-o {args.output}: expected a name that ends in {expected}")

    from loco.runs.entry import quieten
    from loco.runs.net_file import export_net

    quieten()
    notes = export_net(args.run, args.output, form, args.steps, args.trust)
    size, classes = args.output.stat().st_size / 1e6, len(notes["class_names"])
    print(f"{args.output}: {size:.1f} MB, {notes['detector']}, {classes} classes, videos of up to "
          f"{notes['steps']} steps; read back, it answers as the net does")  # fmt: skip
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco export",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("run", help="the run's folder, whose best checkpoint counts, or a checkpoint")
    add("-o", "--output", type=Path, required=True, metavar="FILE", help=".pt2 or .onnx")
    add("--format", choices=sorted(ENDINGS), help="(default: by the name's ending)")
    add("--steps", type=_steps, metavar="N", help="of the feature grid, the longest video that it "
        "takes (default: the length of the training's crops)")  # fmt: skip
    add("--trust", action="append", default=[], metavar="PACKAGE", help="a package of your own "
        "whose parts the checkpoint may name; may be repeated")  # fmt: skip
    return parser


def _steps(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"expected a whole number in [1, 100000], got {text}")
    return int(text)
