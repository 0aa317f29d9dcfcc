"""The console command `loco`: its first word says what to do, the others are handed on.

The topmost room: it may import every other one, and none imports it. Each command is a file that
reads its words and calls what does the work; it is imported when it is called, and what is slow to
import waits until its words are read.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys

from loco import __version__
from loco.runs.text import replace_unshowable

COMMANDS = {
    "make-synthetic": "make the synthetic benchmark, the default data",
    "make-videos": "make films of a small world, to try it all from pixels on",
    "convert": "an annotation file from ELAN, Audacity, VIA or a table",
    "describe": "what an annotation file holds, and which settings suit it",
    "models": "the systems that there are, with their size and what they cost",
    "fetch": "UnAV-100 from its authors, checked and in its place",
    "train": "train a detector and test its best checkpoint; with -m a sweep",
    "search": "search settings by the validation mAP, with Optuna",
    "evaluate": "repeat the test of a checkpoint, or test it on other data",
    "extract": "make feature files of videos",
    "predict": "find the events of videos without annotations",
    "score": "the mAP of anybody's predictions, compared",
    "report": "a finished run as a page to look at",
    "figure": "a figure of finished runs for a paper: .pdf, .svg, .png",
    "export": "the net of a run as a file for plain torch or ONNX",
    "tabulate": "the results of sweeps as a table",
    "dashboard": "a W&B workspace for the project's runs",
}
COMPOSED = ("train", "evaluate", "predict", "extract")
"""Commands whose words Hydra reads."""
PAGE = """\
Dense audio-visual event localization: train, compare, look, publish.

  loco COMMAND …

{commands}

  loco COMMAND --help    what a command takes
  loco --version

For example:

  loco make-synthetic
  loco train attention=cdp trainer.max_epochs=20
  loco train -m attention=fixed,cdp seed=0,1,2
  loco train --config-dir my_conf data=mine
  loco tabulate multirun/train/…"""


def main(arguments: list[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: the words after `loco`; by default those that the process was started with.

    Returns:
        the exit status: 0, 1 after an error that the user can mend, 2 for wrong words, 130 after
        Ctrl-C.
    """
    replace_unshowable()
    name, *rest = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        return _run(name, rest)
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from loco.runs.entry import USER_ERRORS, readable  # here, as `--help` needs none

        if not isinstance(error, USER_ERRORS):
            raise
        print(f"error: {readable(error)}", file=sys.stderr)
        return 1


def _run(name: str, rest: list[str]) -> int:
    """As `main`; what it raises is told there."""
    if name in ("-h", "--help"):
        print(PAGE.format(commands="\n".join(f"  {k:<16}{v}" for k, v in COMMANDS.items())))
        return 0
    if name == "--version":
        print(f"loco {__version__}")
        return 0
    if name not in COMMANDS:
        close = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f"did you mean {close[0]}?" if close else "loco --help lists them"
        print(f"error: no command {name!r}; {hint}", file=sys.stderr)
        return 2
    # Threads that spin for long while they wait for one another slow a shared machine down several
    # times over; not to spin at all slows down an idle one. Read when torch is loaded, after this.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    command = importlib.import_module(f"loco.cli.{name.replace('-', '_')}")
    if name in COMPOSED:
        from loco.runs.command.overrides import options_last, readable_words

        rest = options_last(readable_words(rest))
    status: int = command.main(rest)
    return status
