"""Stand-ins for a training that take no time, for tests of what is around it."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from omegaconf import DictConfig, OmegaConf

from loco.detection.losses import DetectionLoss
from loco.errors import LocoError

MENDED = "mended"


def quick(config: DictConfig) -> None:
    """Seed 1 fails until a file `mended` lies in the working directory; each call leaves a line."""
    output = Path(config.output_dir)
    with (output / "calls.txt").open("a") as file:
        file.write(f"{config.ckpt_path}\n")
    if config.seed == 1 and not Path(MENDED).exists():
        raise ValueError("seed 1 is broken")
    metrics = {f"mAP@0.{i}": 0.1 for i in range(1, 10)} | {"mAP": config.correspondence.weight}
    OmegaConf.save(config, output / "config.yaml", resolve=True)
    (output / "logs").mkdir(exist_ok=True)
    (output / "logs" / "metrics.csv").write_text("step,epoch,lcc/sigma\n9,0,1.25\n")
    (output / "metrics.json").write_text(json.dumps(metrics))


def threads(config: DictConfig) -> None:
    """Leave how many threads torch would use."""
    import torch

    metrics = {"threads": torch.get_num_threads(), "began": time.time()}
    (Path(config.output_dir) / "metrics.json").write_text(json.dumps(metrics))


def ranked(config: DictConfig) -> None:
    """Each process leaves its rank; with seed 1 the second one fails while the first one waits."""
    rank = os.environ["LOCAL_RANK"]
    output = Path(config.output_dir)
    (output / f"rank{rank}.txt").write_text(os.environ["WORLD_SIZE"])
    if config.seed == 1:
        if rank == "1":
            while not (output / "rank0.txt").exists():
                time.sleep(0.05)
            raise LocoError("rank 1 will not")
        time.sleep(300)
    if rank == "0":
        (output / "metrics.json").write_text("{}")


def searched(config: DictConfig) -> None:
    """A training that is the better the nearer λ is to 0.3; above 0.9 it fails."""
    import torch

    from loco.sweeps.search import Pruning

    weight = config.correspondence.weight
    if weight > 0.9:
        raise LocoError("too much")
    worse = 0.2 if config.attention.window_size == 4 else 0.0
    score = torch.tensor(1 - abs(weight - 0.3) - worse)
    for epoch in range(5):
        trainer: Any = SimpleNamespace(
            callback_metrics={"val/mAP": score}, sanity_checking=False, current_epoch=epoch
        )
        Pruning().on_validation_end(trainer, None)
    output = Path(config.output_dir)
    (output / "checkpoints").mkdir(parents=True)
    states = {"callbacks": {"BestCheckpoint{}": {"best_model_score": score}}}
    torch.save(states, output / "checkpoints" / "best.ckpt")
    (output / "metrics.json").write_text(json.dumps({"mAP": float(score)}))


class OwnLoss(DetectionLoss):
    """A part that is not of the suite."""
