"""What the entry points share: errors that a user can mend are a line, not a traceback."""

from __future__ import annotations

import functools
import logging
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra.errors import InstantiationException
from omegaconf import DictConfig
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import loco.runs.folders  # noqa: F401  registers the resolvers that the configs use
from loco.errors import LocoError, SettingError
from loco.runs.streams import replace_unshowable

log = logging.getLogger("loco")


USER_ERRORS = (LocoError, InstantiationException, OmegaConfBaseException, OSError)


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


@contextmanager
def naming_settings() -> Iterator[None]:
    """Make a line of what Lightning has against a setting of the trainer.

    Raises:
        SettingError: what it says.
    """
    try:
        yield
    except Exception as error:
        if not _is_refusal(error):
            raise
        raise SettingError(f"trainer: {' '.join(str(error).split())}") from error


def _is_refusal(error: BaseException | None) -> bool:
    """Whether it was Lightning that raised an error, about its settings."""
    if type(error).__name__ == "MisconfigurationException":
        return True
    last = None if error is None else error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    name = "" if last is None else str(last.tb_frame.f_globals.get("__name__", ""))
    return isinstance(error, ValueError) and name.startswith("lightning.")


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
        cause = error.__cause__
        if isinstance(cause, LocoError):
            return str(cause)
        if isinstance(cause, ValueError) or _is_refusal(cause):
            key = re.search(r"full_key: (\S+)\s*$", str(error))
            return (f"{key[1]}: " if key else "") + " ".join(str(cause).split())
        if unknown := re.match(r"Error locating target '([^']+)'", str(error)):
            return (
                f"{unknown[1]}: there is no such part; a file of your own is found if its folder "
                "is on PYTHONPATH"
            )
        return " ".join(str(error).split())
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}=… is needed; --help says more"
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    message = str(error)
    if message.startswith("Caught "):  # raised in a loader's process, its traceback in the text
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message
