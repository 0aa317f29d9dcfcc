"""Writes films of the small world, and the annotation file of their events.

root/films/{id}.mp4      pictures and sound, as browsers play them
root/annotations.json    UnAV-100's form
root/sources.json        all that is seen and heard, what misleads too
root/new/{id}.mp4        films of other seeds, for a prediction
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from loco.files import read_json, replacing, write_text
from loco.video.container import import_av
from loco.video.world.pictures import FPS, SIDE, render_pictures
from loco.video.world.scenes import CLASSES, Scene, draw_scene
from loco.video.world.sounds import RATE, render_sound

SPLITS = ("train", "validation", "test", "new")


def write_film(path: Path, scene: Scene) -> None:
    """An MP4 file, H.264 and AAC; whole or not at all."""
    av = import_av()
    rate = Fraction(FPS)
    with (
        replacing(path) as unfinished,
        av.open(str(unfinished), "w", format="mp4", options={"movflags": "faststart"}) as file,
    ):
        film = file.add_stream("libx264", rate=rate, options={"preset": "ultrafast", "crf": "20"})
        film.width = film.height = SIDE
        film.pix_fmt = "yuv420p"
        film.codec_context.thread_count = 1
        track = file.add_stream("aac", rate=RATE, layout="mono")
        for number, picture in enumerate(render_pictures(scene)):
            frame = av.VideoFrame.from_image(picture)
            frame.pts, frame.time_base = number, 1 / rate
            file.mux(film.encode(frame))
        file.mux(film.encode())
        wave = render_sound(scene)
        for start in range(0, len(wave), 1024):
            part = np.ascontiguousarray(wave[None, start : start + 1024])
            sound = av.AudioFrame.from_ndarray(part, "fltp", "mono")
            sound.sample_rate, sound.pts, sound.time_base = RATE, start, Fraction(1, RATE)
            file.mux(track.encode(sound))
        file.mux(track.encode())


def make_world(
    root: str | Path,
    counts: Sequence[int] = (140, 30, 30, 6),
    seed: int = 0,
    workers: int = 1,
    progress: Callable[[], None] = lambda: None,
) -> dict[str, int]:
    """Write the films of all splits that are not there yet, and the annotations.

    Args:
        root: folder of the data set.
        counts: films of train, validation, test, and new ones.
        seed: of all.
        workers: processes.
        progress: called after each film.

    Returns:
        events and misleading sources among the annotated films.

    Raises:
        ValueError: a number is out of its range, or the films that are there are of another seed.
    """
    if len(counts) != len(SPLITS) or min(counts) < 0 or not sum(counts) or seed < 0 or workers < 1:
        raise ValueError(
            f"expected the films of {', '.join(SPLITS)}, seed ≥ 0 and workers ≥ 1, got "
            f"{list(counts)}, {seed}, {workers}"
        )
    root = Path(root)
    scenes = {
        (split, f"{split}_{number:04}"): draw_scene((seed, part, number))
        for part, (split, count) in enumerate(zip(SPLITS, counts, strict=True))
        for number in range(count)
    }
    jobs = {}
    for (split, name), scene in scenes.items():
        path = root / ("new" if split == "new" else "films") / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        jobs[path] = scene
    todo = {path: scene for path, scene in jobs.items() if not path.is_file()}
    written = {name: [asdict(source) for source in scene.sources]
               for (_, name), scene in scenes.items()}  # fmt: skip
    _note_sources(root, jobs.keys() - todo.keys(), written)
    if workers == 1:
        for path, scene in todo.items():
            write_film(path, scene)
            progress()
    else:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            done = [pool.submit(write_film, path, scene) for path, scene in todo.items()]
            for job in as_completed(done):
                job.result()
                progress()
    annotated = {name: (split, scene) for (split, name), scene in scenes.items() if split != "new"}
    sources = [source for _, scene in annotated.values() for source in scene.sources]
    # a few films may not show all classes; ids are without gaps
    labels = sorted({source.label for source in sources if source.is_event})
    database = {
        name: _annotation(split, scene, labels) for name, (split, scene) in annotated.items()
    }
    _write(root / "annotations.json", {"database": database})
    events = sum(source.is_event for source in sources)
    return {"events": events, "misleading": len(sources) - events}


def _note_sources(root: Path, there: Collection[Path], wanted: dict[str, Any]) -> None:
    """Write what the films show, before the first of them: who goes on must know.

    Raises:
        ValueError: films that are there show something else, or nobody knows what.
    """
    file = root / "sources.json"
    noted = read_json(file) if file.is_file() else {}
    wanted = json.loads(json.dumps(wanted))
    for path in sorted(there):
        if path.stem not in noted:
            raise ValueError(
                f"{path}: there already, and {file} does not say what it shows; remove it"
            )
        if noted[path.stem] != wanted[path.stem]:
            raise ValueError(
                f"{path}: there already, and shows something else: the films here are of another "
                "seed; give that one, or another folder"
            )
    _write(file, noted | wanted)


def _annotation(split: str, scene: Scene, labels: list[int]) -> dict[str, Any]:
    entries = [
        {
            "segment": [source.start, source.end],
            "label": CLASSES[source.label],
            "label_id": labels.index(source.label),
        }
        for source in scene.sources
        if source.is_event
    ]
    return {"duration": scene.duration, "subset": split, "annotations": entries}


def _write(path: Path, content: Any) -> None:
    write_text(path, json.dumps(content, indent=1) + "\n")
