"""The jobs of a sweep: finished ones are kept, failed ones noted, and the others go on."""

from __future__ import annotations

import functools
import logging
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig

from loco.errors import CheckpointError, LocoError, OutputError
from loco.files import replacing, write_text
from loco.runs.command.quoting import quoted_override
from loco.runs.entry import USER_ERRORS, readable
from loco.runs.folders import requeued, write_sweep
from loco.runs.job_status import FAILED, RESULTS, failure, find_twin, job_folders, status
from loco.runs.settings import absolute_paths, flat, read_config
from loco.runs.text import console
from loco.sweeps.sharing import share_machine
from loco.sweeps.stopping import beside_others, stopping

log = logging.getLogger(__name__)


def sweep_job(main: Callable[[DictConfig], Any]) -> Callable[[DictConfig], Any]:
    """Run an entry point as a job, if it is one of a sweep; a single run is left as it is.

    In a sweep an exception becomes `failed.txt` in the job's folder, so that the next job starts.
    With `resume_sweep` a finished job is not repeated, and another one goes on from its last
    checkpoint.
    """

    @functools.wraps(main)
    def wrapped(config: DictConfig) -> None:
        hydra = HydraConfig.get()
        if hydra.mode != RunMode.MULTIRUN:
            for key in ("reuse", "resume_sweep"):
                if config.get(key):
                    raise LocoError(f"{key}={config[key]}: is for a sweep, which -m starts")
            main(config)
            return
        folder = Path(hydra.runtime.output_dir)
        beside = beside_others(hydra.launcher)
        with alone_in(folder) as alone, stopping() if beside else nullcontext(True) as wanted:
            if not alone:
                log.warning("%s: runs elsewhere, left alone", folder)
            if not alone or not wanted:
                return
            share_machine(hydra.launcher, config.get("trainer") or {}, folder.parent)
            try:
                _run(main, config, folder)
            except Exception as error:
                _note_failure(folder, error)

    return wrapped


def _run(main: Callable[[DictConfig], Any], config: DictConfig, folder: Path) -> None:
    if Path(config.output_dir).absolute() != folder.absolute():
        raise LocoError(
            "output_dir would be shared by all jobs of the sweep; hydra.sweep.dir names its folder"
        )
    if config.resume_sweep or requeued():
        if status(folder) == "finished":
            _warn_of_changes(config, folder)
            log.info("%s: finished already, kept", folder)
            return
        if (folder / "checkpoints").is_symlink():  # of a twin, see `reuse`
            (folder / "checkpoints").unlink()
        if checkpoint := usable_checkpoint(folder):  # newer than what the job was started from
            config.ckpt_path = str(checkpoint)
    (folder / FAILED).unlink(missing_ok=True)
    if config.reuse and (twin := find_twin(Path(config.reuse), config)):
        _take_over(folder, twin)
        return
    main(config)


def _take_over(folder: Path, twin: Path) -> None:
    """Let a folder have the results of another one; its checkpoints stay where they are."""
    log.info("%s: the same as %s, taken from there", folder, twin)
    mine, theirs = folder / "checkpoints", twin / "checkpoints"
    if theirs.is_dir() and not mine.exists():
        try:
            mine.symlink_to(theirs.resolve())
        except (OSError, NotImplementedError) as error:  # a file system without links
            log.warning("%s: cannot be a link to %s (%s)", mine, theirs, error)
    (folder / "logs").mkdir(exist_ok=True)
    kept = ("config.yaml", "predictions.json", "provenance.json", "report.html", "logs/metrics.csv")
    for name in (*kept, *RESULTS):  # the last ones say: finished
        if (twin / name).is_file():
            with replacing(folder / name) as unfinished:
                shutil.copyfile(twin / name, unfinished)


def usable_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of an unfinished job; None if there is none, or a damaged one."""
    file = folder / "checkpoints" / "last.ckpt"
    if not file.is_file():
        return None
    from loco.runs.checkpoints import load_checkpoint  # here, as it imports torch

    try:
        load_checkpoint(file)
    except CheckpointError as error:
        log.warning("%s; the job starts anew", error)
        return None
    return file


def _warn_of_changes(config: DictConfig, folder: Path) -> None:
    """Say which settings a finished job does not share with the one that it stands for."""
    noted = folder / "config.yaml"
    if not noted.is_file():
        return
    then, now = (flat(absolute_paths(plain)) for plain in (read_config(noted), config))
    changed = [
        f"{key} {then.get(key)} → {now.get(key)}"
        for key in sorted(then.keys() | now.keys())
        if then.get(key) != now.get(key)
    ]
    if changed:
        log.warning("%s: finished with other settings: %s", folder, ", ".join(changed))


def _note_failure(folder: Path, error: Exception) -> None:
    message = readable(error)
    if not isinstance(error, USER_ERRORS):
        message = f"{type(error).__name__}: {message}"
    text = f"{message}\n\n{''.join(traceback.format_exception(error))}"
    try:
        write_text(folder / FAILED, text)
    except OutputError as failure:  # a full disk may be what made the job fail
        log.error("%s", failure)
    print(f"error: {folder.name}: {message} (more in {folder / FAILED})", file=sys.stderr)


@contextmanager
def alone_in(folder: Path) -> Iterator[bool]:
    """Whether no other process works in a folder; keeps others out meanwhile."""
    from filelock import FileLock, Timeout  # here, as --help needs none

    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=1)  # the end of a sweep holds it for a moment, to see who else does
    except Timeout:
        yield False
        return
    except (OSError, NotImplementedError):  # a file system without locks
        yield True
        return
    try:
        yield True
    finally:
        lock.release()


class SweepSummary(Callback):
    """Notes what a sweep was started with, and ends it with a list of what became of its jobs."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        hydra = config.hydra
        write_sweep(
            Path(hydra.sweep.dir),
            hydra.overrides.task,
            hydra.sweeper.get("params") or (),
            time.time(),
        )

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Print it; the exit code is 1 if a job failed."""
        sweep = Path(config.hydra.sweep.dir)
        became: dict[Path, str] = {folder: status(folder) for folder in job_folders(sweep)}
        if not config.get("results", True):  # as debug=fast has it: noted alone
            became |= {folder: "finished" for folder in became if _ended_well(folder)}
        done = sum(state == "finished" for state in became.values())
        print(f"{sweep}: {done} of {len(became)} jobs finished")
        if done and config.get("results", True):
            _show_table(sweep)
        if done == len(became):
            return
        from rich.table import Table  # here: `--help` needs none

        table = Table("job", "", "why")
        for folder, state in became.items():
            if state != "finished":
                with alone_in(folder) as alone:
                    table.add_row(folder.name, state if alone else "runs", failure(folder))
        console(width=None if sys.stdout.isatty() else 160).print(table)
        print(f"the same command with {quoted_override('resume_sweep', sweep)} tries these again")
        sys.exit(1)


def _ended_well(folder: Path) -> bool:
    from loco.sweeps.job_record import Job  # here, as --help needs none

    return bool(Job(folder).provenance.get("ended") == "finished")


def _show_table(sweep: Path) -> None:
    """Print what `loco tabulate` prints; results that make no table end nothing."""
    from loco.sweeps.render import markdown
    from loco.sweeps.summary import caution
    from loco.sweeps.tabulate import Table, columns_of, make_rows, read_jobs

    try:
        rows = make_rows(read_jobs([sweep]))
        print(f"\n{markdown(Table(rows, columns_of(rows)))}")
        if beware := caution(rows):
            print(f"note: {beware}")
    except (LocoError, OSError, ValueError) as error:
        print(f"loco tabulate {sweep}: {error}")
