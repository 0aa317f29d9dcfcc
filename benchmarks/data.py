"""Times one training item, load and crop, against reading the whole files.

    python benchmarks/data.py [--videos 32] [--steps 150] [--repeats 9]

The videos have UnAV-100's I3D + VGGish layout (1024 + 1024 + 128 channels, float32). The plain
alternative reads all files of a video with `np.load`, without memory mapping, joins the channels
and then slices the same crop; it checks nothing. Both run in turn, on files in the page cache;
the median over the rounds counts. A second pair has crops of 64 steps of longer videos.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from loco.data.annotations import Video
from loco.data.dataset import RandomCrop, VideoDataset
from loco.data.features import FeatureLayout, FeatureStore
from loco.structures import Events

LAYOUT = FeatureLayout(("{id}_rgb.npy", "{id}_flow.npy"), ("{id}_vggish.npy",), 25, 24, 8)
CHANNELS = (1024, 1024, 128)


def make_dataset(root: Path, videos: int, steps: int, max_length: int) -> VideoDataset:
    """Random features of so many videos, with three events each."""
    random = np.random.default_rng(0)
    duration = LAYOUT.grid.end_seconds(steps)
    known = []
    for number in range(videos):
        for pattern, channels in zip(LAYOUT.patterns, CHANNELS, strict=True):
            features = random.standard_normal((steps, channels), dtype=np.float32)
            np.save(root / pattern.replace("{id}", f"v{number}"), features)
        segments = np.sort(random.uniform(0, duration, (3, 2)))
        known.append(
            Video(f"v{number}", duration, "train", Events(torch.tensor(segments), torch.arange(3)))
        )
    lengths = {video.id: steps for video in known}
    crop = RandomCrop(max_length, (0.9, 1.0), seed=0)
    return VideoDataset(known, FeatureStore(root, LAYOUT), lengths, crop)


def plain_item(root: Path, number: int, start: int, stop: int) -> tuple[np.ndarray, np.ndarray]:
    """The same features, from files read whole."""
    rgb, flow, audio = (
        np.load(root / pattern.replace("{id}", f"v{number}")) for pattern in LAYOUT.patterns
    )
    visual = np.concatenate([rgb, flow], axis=1)
    return visual[start:stop].copy(), audio[start:stop].copy()


def milliseconds(work: Callable[[int], object], count: int) -> float:
    """Milliseconds that `work` takes for one of `count` items."""
    began = time.perf_counter()
    for number in range(count):
        work(number)
    return (time.perf_counter() - began) / count * 1000


def compare(videos: int, steps: int, max_length: int, repeats: int) -> tuple[float, float]:
    """Median milliseconds of one item, of the data set and of the plain alternative."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        dataset = make_dataset(root, videos, steps, max_length)
        length = min(max_length, round(0.95 * steps))  # what a crop has on average
        start = (steps - length) // 2

        def plain(number: int) -> object:
            return plain_item(root, number, start, start + length)

        times = []
        for epoch in range(repeats + 1):
            ours = milliseconds(partial(dataset.sample, epoch=epoch), videos)
            times.append((ours, milliseconds(plain, videos)))
    median = np.median(times[1:], axis=0)  # the first round warms up
    return float(median[0]), float(median[1])


def main() -> None:
    """Runs the comparison and prints it as a table."""
    parser = argparse.ArgumentParser(description="Times one training item.")
    parser.add_argument("--videos", type=int, default=32)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()

    table = Table(title=f"one training item, {' + '.join(map(str, CHANNELS))} channels, float32")
    for name in ("video", "crop", "this, ms", "whole files, ms", "ratio"):
        table.add_column(name, justify="right")
    for steps, max_length, crop in (
        (args.steps, 10**9, "0.9–1.0 of it"),
        (4 * args.steps, 64, "64 steps"),
    ):
        ours, plain = compare(args.videos, steps, max_length, args.repeats)
        row = (f"T = {steps}", crop, f"{ours:.2f}", f"{plain:.2f}", f"{ours / plain:.2f}")
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
