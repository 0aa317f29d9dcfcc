"""Ctrl-C and SIGTERM in a sweep whose jobs run beside each other on this machine.

Its jobs are in processes of joblib's, which would kill them at the first exception: so the command
passes the signal on and waits, each job saves and ends, and none begins any more.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from types import FrameType
from typing import Any

from loco.errors import Interrupted

_state = {"running": False, "stopped": False}
"""Of this process, as one of joblib's: whether a job runs, and whether none shall any more."""


def beside_others(launcher: Mapping[str, Any]) -> bool:
    """Whether Hydra's launcher runs jobs in processes of joblib's."""
    return str(launcher["_target_"]).endswith(".JoblibLauncher")


@contextmanager
def waiting_for_jobs() -> Iterator[None]:
    """In the command: tell the jobs to end, and wait for them; a second Ctrl-C does not wait.

    Raises:
        SystemExit: at the end, after a signal, with its exit code.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def pass_on(number: int, frame: FrameType | None) -> None:
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not received:
            name = signal.Signals(number).name
            print(
                f"\n{name}: waiting for the jobs, which save and end", file=sys.stderr, flush=True
            )
        received.append(number)
        for process in multiprocessing.active_children():
            with suppress(OSError):  # it has ended
                os.kill(process.pid or 0, signal.SIGTERM)

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    except SystemExit:
        if not received:
            raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if received:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + received[0])


@contextmanager
def stopping() -> Iterator[bool]:
    """In a process of joblib's: whether a job shall run; a signal ends it without an exception."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _note)
    if _state["stopped"]:
        yield False
        return
    _state["running"] = True
    try:
        yield True
    except (KeyboardInterrupt, Interrupted):
        _state["stopped"] = True
    finally:
        _state["running"] = False


def _note(number: int, frame: FrameType | None) -> None:
    _state["stopped"] = True
    if _state["running"]:
        raise Interrupted(number)
