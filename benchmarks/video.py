"""Times extraction by stage, in seconds for a minute of film, beside the decoder alone.

    python benchmarks/video.py [--seconds 60] [--films 2] [--workers 2]

The films are made here, 640 × 360 at 30 frames a second with sound. The stated limit is PyAV
decoding every frame and doing nothing with it. CPU time counts, as on a busy machine the wall clock
says little. Where it is to be read, one film is done twice: with decoding and looking one after the
other in a single thread, and side by side in two, as `loco extract workers=1` does it.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from loco.data.features import FeatureLayout
from loco.video.encoders.lite0 import Lite0
from loco.video.encoders.logmel import LogMel
from loco.video.extraction import cores, extract_videos
from loco.video.extractor import Extractor
from loco.video.reader import VideoReader

FPS, RATE = 30, 48_000


def write_film(path: Path, seconds: int) -> None:
    """Moving noise on a gradient, and a sweep."""
    random = np.random.default_rng(0)
    ground = np.linspace(0, 200, 640)[None, :, None] * np.ones((360, 1, 3))
    with av.open(str(path), "w") as file:
        film = file.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        film.width, film.height, film.pix_fmt = 640, 360, "yuv420p"
        track = file.add_stream("aac", rate=RATE, layout="stereo")
        for number in range(seconds * FPS):
            pixels = np.roll(ground, 3 * number, 1)
            x = number % 500
            pixels[100:200, x : x + 100] = random.integers(0, 255, (100, 100, 3))
            frame = av.VideoFrame.from_ndarray(pixels.astype(np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            file.mux(film.encode(frame))
        file.mux(film.encode())
        for start in range(0, seconds * RATE, 1024):
            clock = (start + np.arange(1024)) / RATE
            wave = np.sin(2 * np.pi * (200 + 50 * clock) * clock).astype(np.float32)
            sound = av.AudioFrame.from_ndarray(np.stack([wave, wave]), "fltp", "stereo")
            sound.sample_rate, sound.pts, sound.time_base = RATE, start, Fraction(1, RATE)
            file.mux(track.encode(sound))
        file.mux(track.encode())


def decode_alone(path: Path) -> float:
    """CPU seconds of decoding every frame on one thread."""
    began = time.thread_time()
    with av.open(str(path)) as file:
        file.streams.video[0].thread_count = 1
        for _ in file.decode(video=0):
            pass
    return time.thread_time() - began


class OneThread(Executor):
    """Does at once, in the calling thread, what a pool is given."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        done: Future[Any] = Future()
        done.set_result(fn(*args, **kwargs))
        return done


def clock(extractor: Extractor, path: Path, pool: Executor) -> float:
    """Seconds by the clock that one film takes."""
    began = time.perf_counter()
    extractor.extract(VideoReader(path), pool)
    return time.perf_counter() - began


def main() -> None:
    """Runs the comparison and prints it as a table."""
    parser = argparse.ArgumentParser(description="Times extraction by stage.")
    parser.add_argument("--seconds", type=int, default=60, help="of a film (%(default)s)")
    parser.add_argument("--films", type=int, default=2)
    parser.add_argument("--workers", type=int, default=cores())
    args = parser.parse_args()

    layout = FeatureLayout(["{id}_lite0.npy"], ["{id}_logmel.npy"], 25, 24, 8)
    extractor = Extractor(layout, [Lite0()], [LogMel()])
    with tempfile.TemporaryDirectory() as folder:
        films = {f"film_{i}": Path(folder) / f"film_{i}.mp4" for i in range(args.films)}
        for path in films.values():
            write_film(path, args.seconds)
        minutes = args.films * args.seconds / 60
        alone = sum(map(decode_alone, films.values()))
        began = time.process_time()
        summary = extract_videos(films, Path(folder) / "f", extractor, workers=args.workers)
        whole = time.process_time() - began
        first = next(iter(films.values()))
        torch.set_num_threads(1)
        serial = clock(extractor, first, OneThread())
        with ThreadPoolExecutor(1) as pool:
            beside = clock(extractor, first, pool)

    table = Table(title=f"{args.films} films of {args.seconds} s, {args.workers} at once")
    table.add_column("")
    table.add_column("s a minute of film", justify="right")
    rows = {
        "decoder alone (the limit)": alone, "decode": summary.seconds["decode"],
        "resize": summary.seconds["resize"], "look (EfficientNet-Lite0)": summary.seconds["see"],
        "decode sound": summary.seconds["sound"], "listen (log-mel)": summary.seconds["hear"],
        "all, CPU": whole, "all, by the clock": summary.wall,
    }  # fmt: skip
    for name, seconds in rows.items():
        table.add_row(name, f"{seconds / minutes:.2f}", end_section=name == "all, by the clock")
    for name, seconds in {"one after the other": serial, "side by side": beside}.items():
        table.add_row(f"one film, by the clock, {name}", f"{60 * seconds / args.seconds:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
