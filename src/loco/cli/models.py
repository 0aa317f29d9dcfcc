"""List the systems that `model=NAME` chooses from: size, operations, paper, settings.

Each is built as it would be for UnAV-100's I3D and VGGish features, and one video of 224 steps is
passed through it; GFLOP are 2 × multiply-accumulates.

loco models
loco models tridet actionformer
loco models --format md
loco models --visual-channels 1536 --audio-channels 1536 --steps 256
loco models --config-dir my_conf mine
"""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from loco.cli.configs import config_folder, own_folder

if TYPE_CHECKING:
    from loco.runs.systems import System

FORMATS = ("table", "md", "json")
HEADER = ("model", "parameters (M)", "GFLOP", "source", "settings")


def main(arguments: list[str]) -> int:
    """Run the command; returns the exit status."""
    args = _parser().parse_args(arguments)
    from loco.runs.systems import Sizes, describe_system, model_names, rows_of  # imports torch

    conf, own = config_folder(), args.config_dir
    sizes = Sizes(args.visual_channels, args.audio_channels, args.classes, args.steps)
    names = args.models or model_names(conf, own)
    systems = [describe_system(name, conf, own, sizes) for name in names]
    if args.format == "json":
        print(json.dumps(rows_of(systems), indent=1, ensure_ascii=False))
    elif args.format == "md":
        print(_markdown([_cells(system) for system in systems]))
    else:
        _show([_cells(system) for system in systems], sizes)
    return 0


def _cells(system: System) -> tuple[str, ...]:
    settings = ", ".join(f"{key} {_plain(value)}" for key, value in system.settings.items())
    millions = f"{system.parameters / 1e6:.2f}"
    return system.name, millions, f"{system.gflop:.2f}", system.source or "–", settings


def _plain(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _markdown(rows: list[tuple[str, ...]]) -> str:
    lines = [HEADER, ("---", "---:", "---:", "---", "---"), *rows]
    return "\n".join(
        "| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines
    )


def _show(rows: list[tuple[str, ...]], sizes: tuple[int, ...]) -> None:
    from rich.table import Table

    from loco.runs.results import show

    visual, audio, classes, steps = sizes
    table = Table(
        title="model=NAME",
        caption=f"{visual} + {audio} channels, {classes} classes; GFLOP (2 × MAC) of one video of "
        f"{steps} steps",
        show_lines=True,
    )
    for title in HEADER:
        right = title in ("parameters (M)", "GFLOP")
        table.add_column(title, justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*row)
    show(table)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="loco models",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("models", nargs="*", metavar="NAME", help="of them alone (default: all)")
    add(
        "--config-dir",
        type=own_folder,
        metavar="DIR",
        help="folder of your own, with model/NAME.yaml",
    )
    add("--format", choices=FORMATS, default="table", help="(default: %(default)s)")
    for name, value in (
        ("visual-channels", 2048), ("audio-channels", 128), ("classes", 100), ("steps", 224),
    ):  # fmt: skip
        add(f"--{name}", type=_count, default=value, metavar="N", help="(default: %(default)s)")
    return parser


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number from 1, got {text}")
    return int(text)
