"""Detections on the films themselves: a page that plays them, and copies with captions.

The page is `templates/player.html`; it finds its films by relative paths.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from loco.errors import VideoError
from loco.files import write_text
from loco.runs.export import Cue, cues
from loco.runs.pages import render, script_json
from loco.runs.text import one_line, shown
from loco.structures import Events
from loco.video.container import probe
from loco.video.playable import encode, how_to_play, remux

log = logging.getLogger(__name__)

SHOWN = 20
"""Detections of a film that the page shows at first: the best ones."""


def write_page(
    folder: str | Path,
    films: Mapping[str, Path],
    detections: Mapping[str, Events],
    class_names: Sequence[str],
) -> Path:
    """Write `predictions.html`, in which the films play below the timelines of their events.

    A film that browsers do not play is put beside it, in `films/`, as one that they do.

    Args:
        folder: of the prediction.
        films: id → file.
        detections: by id, with scores.
        class_names: K names.
    """
    folder = Path(folder)
    videos = []
    for video_id, events in sorted(detections.items()):
        file, note = _for_browsers(films[video_id], folder / "films" / f"{video_id}.mp4")
        path = os.path.relpath(file.absolute(), folder.absolute())
        scores = sorted((cue.score or 0.0 for cue in cues(events, class_names)), reverse=True)
        videos.append({
            "id": video_id, "src": quote(os.fsencode(path.replace(os.sep, "/"))),
            "path": shown(path), "note": note,
            "events": [list(cue) for cue in cues(events, class_names)],
            "least": scores[SHOWN - 1] if len(scores) >= SHOWN else 0.0,
        })  # fmt: skip
    page = folder / "predictions.html"
    names = list(dict.fromkeys(map(one_line, class_names)))  # as the cues have them
    data = script_json({"classes": names, "videos": videos})
    write_text(page, render("player.html", data=data))
    return page


def write_captioned(
    folder: str | Path,
    films: Mapping[str, Path],
    detections: Mapping[str, Events],
    class_names: Sequence[str],
) -> Path:
    """Write copies of the films into `mp4/`, with captions while an event lasts."""
    target = Path(folder) / "mp4"
    target.mkdir(parents=True, exist_ok=True)
    for video_id, events in sorted(detections.items()):
        captions = _Captions(cues(events, class_names))
        file = films[video_id]
        _refuse_to_replace(file, target / f"{video_id}.mp4")
        encode(file, target / f"{video_id}.mp4", probe(file), captions.draw)
    return target


def _refuse_to_replace(film: Path, copy: Path) -> None:
    """Keep a film from being replaced by what is made of it."""
    if copy.exists() and copy.samefile(film):
        raise VideoError(f"{film}: its copy would take its place; take another output_dir")


def _for_browsers(film: Path, copy: Path) -> tuple[Path, str]:
    """The file that browsers play, and a word where it is another one."""
    info = probe(film)
    how = how_to_play(info, film)
    if how == "as it is":
        return film, ""
    _refuse_to_replace(film, copy)
    copy.parent.mkdir(parents=True, exist_ok=True)
    held = f"{info.codec} and {info.sound_codec or 'no sound'} in {film.suffix or 'this form'}"
    if how == "remux":
        note = f"browsers do not play {film.suffix} files: the same pictures and sound in {copy}"
        try:
            remux(film, copy)
        except VideoError as error:  # its times are not as MP4 wants them
            log.info("%s; it is written anew", error)
            how = "encode"
    if how == "encode":
        encode(film, copy, info)
        note = f"browsers do not play {held}: written anew as {copy}"
    log.info("%s: %s", film, note)
    return copy, note


def _font_for(text: str) -> str:
    """The file of a font that has all letters of a text: DejaVu Sans, else one of this machine's.

    Where there is none, it is DejaVu Sans, with a warning.
    """
    import matplotlib  # here, as it takes a second
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    own = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    listed = font_manager.fontManager.ttflist
    others = (font.fname for font in listed if "LastResort" not in font.fname)  # has boxes for all
    letters = {letter for letter in text if not letter.isspace()}
    for file in (str(own), *others):
        with contextlib.suppress(OSError, RuntimeError):
            if all(FT2Font(file).get_char_index(ord(letter)) for letter in letters):
                return file
    log.warning("captions: no font of this machine has all letters of %r: boxes stand there", text)
    return str(own)


class _Captions:
    """Draws the names of the events that are going on at the foot of a picture."""

    def __init__(self, events: Sequence[Cue]) -> None:
        self._events = events
        self._file = _font_for("".join(cue.text for cue in events))
        self._fonts: dict[int, Any] = {}

    def draw(self, pixels: np.ndarray, time: float) -> np.ndarray:
        """The picture with the captions of its time."""
        lines = [cue.text for cue in self._events if cue.start <= time < cue.end]
        if not lines:
            return pixels
        image = Image.fromarray(pixels)
        height = max(10, image.height // 18)
        font = self._fonts.setdefault(height, ImageFont.truetype(self._file, height))
        draw = ImageDraw.Draw(image)
        for number, line in enumerate(reversed(lines)):
            middle = (image.width / 2, image.height - (number + 0.8) * 1.35 * height)
            box = draw.textbbox(middle, line, font, anchor="mm")
            draw.rectangle((box[0] - 4, box[1] - 2, box[2] + 4, box[3] + 2), fill=(0, 0, 0))
            draw.text(middle, line, (255, 255, 255), font, anchor="mm")
        return np.asarray(image)
