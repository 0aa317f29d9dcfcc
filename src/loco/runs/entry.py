"""What the entry points share: errors that a user can mend are a line, not a traceback."""

from __future__ import annotations

import functools
import logging
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import loco.runs.folders  # noqa: F401  registers the resolvers that the configs use
from loco.errors import LocoError
from loco.runs.configs import layout_of
from loco.runs.streams import replace_unshowable

log = logging.getLogger("loco")


OmegaConf.register_new_resolver("layout_of", layout_of, replace=True)
USER_ERRORS = (LocoError, InstantiationException, OmegaConfBaseException)


def user_errors(main: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Run an entry point; an error that a user can mend becomes its message and exit code 1."""

    @functools.wraps(main)
    def wrapped(config: DictConfig) -> Any:
        quieten()
        try:
            return main(config)
        except USER_ERRORS as error:
            print(f"error: {readable(error)}", file=sys.stderr)
            sys.exit(getattr(error, "exit_code", 1))
        except KeyboardInterrupt:
            print(f"interrupted; ckpt_path={config.output_dir} goes on from its last epoch, "
                  "and resume_sweep=true with a sweep", file=sys.stderr)  # fmt: skip
            sys.exit(130)

    return wrapped


def quieten() -> None:
    """Leave out what Lightning tells its own developers, and what a stream cannot show."""
    replace_unshowable()
    logging.getLogger("lightning.pytorch.utilities.rank_zero").setLevel(logging.WARNING)
    for message in (
        r".*treespec, LeafSpec.*",
        r".*does not have many workers.*",
        r".*smaller than the logging interval.*",
        r".*sync_dist=True.*",  # mAP is put together by the metric, the same in all processes
    ):
        warnings.filterwarnings("ignore", message=message)


def readable(error: Exception) -> str:
    """An error's message without what libraries wrap around it."""
    if isinstance(error, InstantiationException):
        if isinstance(error.__cause__, LocoError | ValueError):
            return str(error.__cause__)
        if unknown := re.match(r"Error locating target '([^']+)'", str(error)):
            return (
                f"{unknown[1]}: there is no such part; a file of your own is found if its folder "
                "is on PYTHONPATH"
            )
        return " ".join(str(error).split())
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}=… is needed; --help says more"
    message = str(error)
    if message.startswith("Caught "):  # raised in a loader's process, its traceback in the text
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message
