"""Processes that torchrun or srun started, one a device: they must agree where they write.

Each composes the configuration for itself, so that `outputs/train/<time>` would be a folder each.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from loco.errors import SettingError


def by_torchrun() -> bool:
    """Whether torchrun started this process and others."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", 1)) > 1


def agreed(make: Callable[[], str]) -> str:
    """What `make` returns in the first process, in all of them; it is called there alone."""
    if not by_torchrun():
        return make()
    from torch.distributed import TCPStore

    store = TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), is_master=False)
    key = f"loco/folder/{os.environ.get('TORCHELASTIC_RESTART_COUNT', 0)}"
    if os.environ["RANK"] == "0":
        store.set(key, make())
    return store.get(key).decode()


def check_start(overrides: Sequence[str], sweep: bool) -> None:
    """Refuse words that processes started from outside could not agree on.

    Raises:
        SettingError: says what to do.
    """
    if sweep and by_torchrun():
        raise SettingError("-m: a sweep starts its processes itself; start it without torchrun")
    tasks = int(os.environ.get("SLURM_NTASKS") or 1)
    named = any(word.startswith("hydra.run.dir=") for word in overrides)
    if tasks > 1 and "SLURM_PROCID" in os.environ and not named and not by_torchrun():
        raise SettingError(
            f"srun started {tasks} processes: give them one folder, hydra.run.dir=…, to write to"
        )
