"""Time and memory of `loco predict` on one long video, three hours on the grid of ONE-PEACE.

The model is untrained, which is the hardest case of what comes after the net: every point may be an
event of every class.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from hydra import compose, initialize_config_dir

from loco.runs.checkpoints import build_module
from loco.runs.settings import plain_config

ROOT = Path(__file__).parents[1]
STEPS_AN_HOUR = 4 * 3600


# a process counts the memory of the one that started it until it has become another program, so
# that a small one starts what is measured
STARTER = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(code)
"""


class Cost(NamedTuple):
    """Of a whole command: seconds, peak of resident memory in MB, and where its files lie."""

    seconds: float
    peak_mb: float
    output: Path


def untrained(folder: Path, channels: int, classes: int, words: Sequence[str]) -> Path:
    """A checkpoint of a model that nobody trained, for ONE-PEACE features of so many channels."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        composed = compose("train", ["data=unav100_onepeace", f"output_dir={folder}", *words])
    config = plain_config(composed) | {
        "visual_channels": channels,
        "audio_channels": channels,
        "class_names": [f"class {k}" for k in range(classes)],
    }
    torch.manual_seed(0)
    module = build_module(config)
    file = folder / "untrained.ckpt"
    torch.save(
        {
            "state_dict": module.state_dict(), "hyper_parameters": config, "epoch": 0,
            "global_step": 0, "pytorch-lightning_version": "2.6.0",
        },
        file,
    )  # fmt: skip
    return file


def predict(
    folder: Path, steps: int, *, channels: int = 1536, classes: int = 100, words: Sequence[str] = ()
) -> Cost:
    """Predict one video of random features in a process of its own; `words` as for a training."""
    features = folder / "features"
    features.mkdir(parents=True)
    random = np.random.default_rng(0)
    for name in ("video_finetune", "audio"):
        array = random.standard_normal((steps, channels), dtype=np.float32).astype(np.float16)
        np.save(features / f"long_one_peace_{name}.npy", array)
    checkpoint = untrained(folder, channels, classes, words)
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src")}
    command = [
        sys.executable, str(ROOT / "scripts" / "predict.py"), f"ckpt_path={checkpoint}",
        f"data.root={features}", f"output_dir={folder / 'out'}", "data.num_workers=0",
        "trainer.accelerator=cpu", "formats=[json,csv,srt,vtt,audacity,elan]",
    ]  # fmt: skip
    began = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", STARTER, *command],
        cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"loco predict ended with code {done.returncode}")
    return Cost(time.perf_counter() - began, int(done.stdout) / 1024, folder / "out")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hours", type=float, default=3, help="of video (default 3)")
    parser.add_argument("words", nargs="*", help="as for a training: model=loco attention=global")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        steps = round(args.hours * STEPS_AN_HOUR)
        cost = predict(Path(folder) / "run", steps, words=args.words)
    print(f"{steps} steps: {cost.seconds:.0f} s, {cost.peak_mb:.0f} MB at its peak")


if __name__ == "__main__":
    main()
