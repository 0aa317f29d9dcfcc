"""What the jobs that run at the same time on one machine get of it: cores, and a GPU each."""

from __future__ import annotations

import itertools
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from loco.sweeps.stopping import beside_others

VISIBLE = "CUDA_VISIBLE_DEVICES"
_held: list[Any] = []
"""The lock on this process's GPU, for as long as it lives: what CUDA saw first stays."""


def share_machine(launcher: Mapping[str, Any], trainer: Mapping[str, Any], folder: Path) -> None:
    """Give this process its share, if joblib runs it beside others.

    Args:
        launcher: the settings of Hydra's launcher.
        trainer: those of the trainer. One that asks for several devices, or for none that CUDA
            knows, is left alone.
        folder: of the sweep; the workers agree in it.
    """
    if not beside_others(launcher):
        return
    _share_threads(int(launcher["n_jobs"]))
    wanted = trainer.get("devices", 1), str(trainer.get("accelerator", "auto"))
    if wanted[0] in (1, "1") and wanted[1] in ("auto", "gpu", "cuda"):
        take_gpu(folder, visible_gpus())


def _share_threads(jobs: int) -> None:
    """Divide the processor's cores among the jobs."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    cores = cores or 1
    jobs = jobs if jobs > 0 else cores
    torch.set_num_threads(max(1, min(torch.get_num_threads(), cores // jobs)))


def visible_gpus() -> list[str]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if VISIBLE in os.environ:
        return [name for name in os.environ[VISIBLE].split(",") if name]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


def take_gpu(folder: Path, gpus: list[str]) -> None:
    """Let this process see one GPU alone: the first that the fewest others have taken.

    It keeps it until it ends, so that a worker's next job runs there, too.

    Args:
        folder: where the others look, too.
        gpus: to choose from; of one or none there is nothing to choose.
    """
    if _held or len(gpus) < 2:
        return
    from filelock import FileLock, Timeout

    for turn in itertools.count():
        for gpu in gpus:
            lock = FileLock(folder / f".gpu-{gpu}-{turn}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            _held.append(lock)
            os.environ[VISIBLE] = gpu
            return
