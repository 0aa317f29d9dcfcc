"""Marks of annotation tools → an annotation file, by the command."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from clips import FLASH, write_clip
from loco.cli.convert import main
from loco.errors import IncompleteError, LocoError, VideoError


def test_a_bad_film_is_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name in "abc":
        write_clip(clips / f"{name}.mp4", FLASH)
    (clips / "diary.mp4").write_text("hello")
    marks = tmp_path / "marks.csv"
    rows = [f"{video},0.5,1.5,dog\n" for video in ("a", "b", "diary")] + ["a,1.5,2.3,dog\n"]
    marks.write_text("video,start,end,label\n" + "".join(rows))
    out = tmp_path / "new" / "annotations.json"
    (clips / "film.f4v").write_text("hello")
    words = [str(marks), "--videos", str(clips), "--out", str(out)]
    caplog.set_level(logging.INFO)
    with pytest.raises(IncompleteError, match=r"their marks:\n  .*diary\.mp4: not a video"):
        main(words)
    told = capsys.readouterr().out
    assert "by their names no videos: 1 (film.f4v)" in caplog.text
    assert "3 videos" in told
    assert "1 event ended up to 0.5 s behind their video: cut at its end" in told
    assert set(json.loads(out.read_text())["database"]) == {"a", "b", "c"}
    with pytest.raises(LocoError, match="there already; --overwrite"):
        main(words)
    for path in clips.iterdir():
        path.write_bytes(b"")
    with pytest.raises(VideoError, match=r"not one video could be used:\n  .*a\.mp4: empty"):
        main([*words, "--overwrite"])
