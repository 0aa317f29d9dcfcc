"""Runs a task in one process a device, without the entry point being started again.

Lightning would start the script once more for each device, and Hydra would then compose another
output folder in each, or in a sweep the whole sweep. Here the processes get the job's own resolved
config instead, in a file, and the process that Hydra runs in waits for them. So a process that
fails is a job that fails, and the next job of a sweep can start.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from loco.errors import Interrupted, LocoError, SettingError
from loco.runs.settings import only_used_groups

log = logging.getLogger(__name__)

POLL_SECONDS = 0.2
GRACE_SECONDS = 15.0
INTERRUPTED = (130, 143)  # the exit codes of a process that Ctrl-C or SIGTERM ended


def run_task(name: str, config: DictConfig) -> Any:
    """Call `name(config)`: here, or in a process for each device of `config.trainer`.

    Args:
        name: dotted path of the task.
        config: the composed config, with `trainer` and `output_dir`.

    Returns:
        what the task returns; None where it ran in processes of its own.

    Raises:
        LocoError: one of the processes failed.
        SettingError: several machines, without processes on them.
    """
    from hydra.utils import get_method

    if started_from_outside():
        return get_method(name)(config)
    nodes = (config.get("trainer") or {}).get("num_nodes", 1)
    if nodes != 1:
        raise SettingError(
            f"trainer.num_nodes={nodes}: torchrun or srun has to start a process for each device "
            "of each machine"
        )
    count = num_processes(config)
    if count == 1:
        return get_method(name)(config)
    if "model" in config:  # here, where Hydra knows what was chosen, and what stands by default
        config = only_used_groups(config)
    launch(name, config, count)
    return None


def num_processes(config: DictConfig) -> int:
    """Processes that the trainer asks for on this machine."""
    trainer = config.get("trainer")
    if trainer is None or trainer.get("devices", 1) in (1, "1"):
        return 1
    from hydra.utils import instantiate

    return int(instantiate(trainer, logger=False, enable_checkpointing=False).num_devices)


def started_from_outside() -> bool:
    """Whether torchrun or a cluster's srun has started a process for each device already."""
    return "LOCAL_RANK" in os.environ or int(os.environ.get("SLURM_NTASKS") or 1) > 1


def launch(name: str, config: DictConfig, count: int) -> None:
    """Run a task in `count` processes on this machine and wait for all of them."""
    with tempfile.TemporaryDirectory() as folder:
        OmegaConf.save(config, Path(folder) / "config.yaml", resolve=True)
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SLURM_")}
        shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port()), "NODE_RANK": "0"}
        # A fair share of the cores each, unless the user decided.
        threads = str(max(1, (os.cpu_count() or 1) // count))
        inherited.setdefault("OMP_NUM_THREADS", threads)
        processes = [
            subprocess.Popen(
                [sys.executable, "-m", "loco.runs.processes", name, folder],
                env=inherited | shared | {"WORLD_SIZE": str(count), "LOCAL_RANK": str(rank)},
            )
            for rank in range(count)
        ]
        try:
            failed = _wait(processes)
        finally:
            _end(processes)
        if failed is not None:
            notes = sorted(Path(folder).glob("*.error"), key=lambda file: file.stat().st_mtime)
            code = processes[failed].returncode
            if not notes and code in INTERRUPTED:
                raise Interrupted(code - 128)
            what = f"process {failed + 1} of {count} {_how_it_ended(code)}"
            error = LocoError(notes[0].read_text(encoding="utf-8") if notes else what)
            error.exit_code = code if notes else 1
            raise error


def _how_it_ended(code: int) -> str:
    if code >= 0:
        return f"ended with code {code}, see above"
    name = signal.Signals(-code).name
    hint = "; a system that runs out of memory does so" if name == "SIGKILL" else ""
    return f"was killed by {name}{hint}"


def _wait(processes: list[subprocess.Popen[bytes]]) -> int | None:
    """Wait for all, or for the first that fails: its number."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                return rank
        if all(code == 0 for code in codes):
            return None
        time.sleep(POLL_SECONDS)


def _end(processes: list[subprocess.Popen[bytes]]) -> None:
    """End those that still run, which may hang in waiting for one that is gone."""
    deadline = time.monotonic() + GRACE_SECONDS
    for process in processes:
        if process.poll() is None:
            process.terminate()
    for process in processes:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main(name: str, folder: Path) -> int:
    """One of the processes: load the config and call the task."""
    from hydra.utils import get_method

    from loco.runs.entry import USER_ERRORS, quieten, readable

    rank = int(os.environ["LOCAL_RANK"])
    config = OmegaConf.load(folder / "config.yaml")
    assert isinstance(config, DictConfig)
    _configure_log(Path(config.output_dir), rank)
    quieten()
    try:
        get_method(name)(config)
    except USER_ERRORS as error:
        (folder / f"{rank}.error").write_text(readable(error), encoding="utf-8")
        return getattr(error, "exit_code", 1)
    except KeyboardInterrupt:
        return 130
    except Interrupted as end:
        return end.exit_code
    return 0


def _configure_log(output: Path, rank: int) -> None:
    """The first process logs as a run of one process does; the others speak of troubles only."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stdout)]
    if rank == 0:
        output.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(output / "processes.log", encoding="utf-8"))
    logging.basicConfig(
        level=logging.INFO if rank == 0 else logging.WARNING,
        format="[%(asctime)s][%(name)s][%(levelname)s] - %(message)s",
        handlers=handlers,
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
