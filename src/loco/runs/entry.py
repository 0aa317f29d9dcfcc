"""What the entry points share: errors that a user can mend are a line, not a traceback."""

from __future__ import annotations

import difflib
import functools
import inspect
import logging
import os
import re
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.errors import InstantiationException
from hydra.types import RunMode
from hydra.utils import get_class
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

import loco.runs.folders  # noqa: F401  registers the resolvers that the configs use
from loco.errors import Interrupted, LocoError, SettingError, system_reason
from loco.runs.command.config_folder import layout_of
from loco.runs.command.hydra_notes import remove_empty_run
from loco.runs.command.quoting import quoted_override
from loco.runs.command.torchrun import by_torchrun
from loco.runs.text import replace_unshowable

log = logging.getLogger("loco")


OmegaConf.register_new_resolver("layout_of", layout_of, replace=True)
USER_ERRORS = (LocoError, InstantiationException, OmegaConfBaseException, OSError)


def user_errors(main: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Run an entry point; an error that a user can mend becomes its message and exit code 1."""

    @functools.wraps(main)
    def wrapped(config: DictConfig) -> Any:
        quieten()
        try:
            with raising_on_sigterm():
                return main(config)
        except USER_ERRORS as error:
            remove_empty_run()
            print(f"error: {readable(error)}", file=sys.stderr)
            sys.exit(getattr(error, "exit_code", 1))
        except (KeyboardInterrupt, Interrupted) as end:
            print(f"interrupted; {how_to_go_on(config)}", file=sys.stderr)
            remove_empty_run()
            sys.exit(getattr(end, "exit_code", 130))

    return wrapped


@contextmanager
def raising_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end the work as Ctrl-C does, unless a cluster's launcher handles it itself."""
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    signal.signal(signal.SIGTERM, _raise_interrupted)
    try:
        yield
    finally:
        if signal.getsignal(signal.SIGTERM) is _raise_interrupted:  # else a sweep's worker listens
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _raise_interrupted(number: int, frame: FrameType | None) -> None:
    raise Interrupted(number)


def how_to_go_on(config: DictConfig) -> str:
    """Which command goes on with what was interrupted, ready to be pasted."""
    if "resume_sweep" not in config:
        return "start it again"
    if HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN:
        sweep = quoted_override("resume_sweep", HydraConfig.get().sweep.dir)
        return f"the same command with {sweep} goes on"
    folder = Path(config.output_dir)
    if (folder / "checkpoints" / "last.ckpt").is_file():
        return f"go on with: loco train {quoted_override('ckpt_path', folder)}"
    return f"{folder}: nothing was saved yet"


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
    if by_torchrun() and os.environ.get("RANK") != "0":
        logging.getLogger().setLevel(logging.WARNING)
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
        key = re.search(r"full_key: (\S+)\s*$", str(error))
        if isinstance(cause, ValueError) or _is_refusal(cause):
            return (f"{key[1]}: " if key else "") + " ".join(str(cause).split())
        if "got an unexpected keyword argument" in str(cause):
            target = re.search(r"'([\w.]+)'", str(error))
            part = None if target is None else get_class(target[1])
            if told := unknown_argument(part, str(cause), key[1] if key else "config"):
                return told
        if unknown := re.match(r"Error locating target '([^']+)'", str(error)):
            return (
                f"{unknown[1]}: there is no such part; a file of your own is found if its folder "
                "is on PYTHONPATH"
            )
        return " ".join(str(error).split())
    if isinstance(error, MissingMandatoryValue):
        return f"{error.full_key}=… is needed; --help says more"
    if isinstance(error, OSError) and error.strerror:
        return system_reason(error)
    message = str(error)
    if message.startswith("Caught "):  # raised in a loader's process, its traceback in the text
        return message.strip().splitlines()[-1].partition(": ")[2]
    return message


def unknown_argument(target: type | None, cause: str, key: str = "config") -> str:
    """A line on a setting that a part does not take, and what it may have been; else nothing.

    Args:
        target: the class that was built.
        cause: what Python says of it, or of a part within it.
        key: where its settings stand.
    """
    found = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'", cause)
    if found is None:
        return ""
    part, name = found.groups()
    meant: list[str] = []
    for owner in () if target is None else target.__mro__:  # none of them where it is within it
        if owner.__name__ == part:
            meant = difflib.get_close_matches(name, inspect.signature(owner).parameters, 1)
    hint = f"; did you mean {meant[0]}?" if meant else ""
    return f"{key}: {part} takes no {name}{hint}"
