"""Where the configurations lie, and how commands get theirs from them."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
import traceback
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loco.errors import LocoError
from loco.runs.command.config_folder import config_folder
from loco.runs.command.quoting import COMMAND, without_secrets

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from loco.data.features import FeatureLayout

FIGURES = (".pdf", ".svg", ".png")


def run_composed(
    name: str,
    task: Callable[[DictConfig], Any],
    arguments: list[str],
    given: list[str] | None = None,
) -> int:
    """Let Hydra compose `{name}.yaml` from a command's words, and call the task with it.

    Args:
        name: of the command and of its configuration.
        task: what is called; in a sweep once a job, also in other processes.
        arguments: overrides and Hydra's own options.
        given: the words that the user gave, where they are others.

    Raises:
        LocoError: a word names what there is not, or a file that is not there.
    """
    import hydra
    from hydra._internal.utils import get_args_parser

    from loco.runs.command.composition import Composition
    from loco.runs.command.named_files import check_named_files
    from loco.runs.command.torchrun import check_start
    from loco.sweeps.stopping import beside_others, waiting_for_jobs

    options, _ = get_args_parser().parse_known_args(arguments)
    beside = False
    if options.shell_completion and len(options.overrides) != 1:
        raise LocoError("--shell-completion: expected one of install=SHELL, uninstall=, query=")
    others = (options.hydra_help, options.shell_completion, options.info, options.config_path)
    if options.help or not any(others):
        composition = Composition(
            options.config_name or name, options.overrides, config_folder(), options.config_dir,
            bool(options.multirun),
        )  # fmt: skip
        if options.help:
            from loco.runs.command.help_page import help_page

            own = [Path(options.config_dir)] if options.config_dir else []
            print(help_page(composition, [config_folder(), *own]))
            return 0
        check_start(options.overrides, bool(options.multirun))
        config = composition.config
        if not options.cfg and not options.multirun:
            check_named_files(config)
        beside = options.multirun and beside_others(config.hydra.launcher)
    words = ["loco", name, *(arguments if given is None else given)]
    os.environ[COMMAND] = shlex.join(without_secrets(words))  # also for processes of a job
    sys.argv = [f"loco {name}", *arguments]  # Hydra reads nothing else
    compose = hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=name)
    try:
        with waiting_for_jobs() if beside else nullcontext():
            compose(task)()
    except ValueError as error:
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        if not str(frame.f_globals.get("__name__")).startswith("hydra."):
            raise
        raise LocoError(" ".join(str(error).split())) from error  # of Hydra's own options
    return 0


def own_folder(text: str) -> Path:
    """A folder of configurations of the user's own, for argparse.

    Raises:
        ArgumentTypeError: there is none.
    """
    path = Path(text)
    if not path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: expected a folder")
    return path


def figure_file(text: str) -> Path:
    """A file to draw, for argparse.

    Raises:
        ArgumentTypeError: its ending names no format of figures.
    """
    path = Path(text)
    if path.suffix not in FIGURES:
        raise argparse.ArgumentTypeError(f"{text}: expected an ending of {', '.join(FIGURES)}")
    return path


def seed(text: str) -> int:
    """A seed, for argparse.

    Raises:
        ArgumentTypeError: it is no whole number from 0.
    """
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"expected a whole number from 0, got {text}")
    return int(text)


def find_layout(name: str, own: Path | None = None) -> FeatureLayout:
    """The layout of `data/{name}.yaml`, in a user's own folder of configurations or in ours.

    Raises:
        LocoError: there is none.
    """
    from loco.data.layouts import read_layout

    theirs = own is not None and (own / "data" / f"{name}.yaml").is_file()
    return read_layout((own if own and theirs else config_folder()) / "data", name)
