"""From films to the files of a data set: whole or not there, resumed, shared, told what fails."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clips import Brightness, flash, real_film, steady, tone, write_clip
from loco.data.extraction import read_extraction
from loco.data.features import FeatureLayout, FeatureStore
from loco.errors import FeatureError, VideoError
from loco.video.encoders.logmel import LogMel
from loco.video.extraction import extract_videos
from loco.video.extractor import Extractor
from loco.video.reader import VideoReader
from loco.video.sources import find_videos, take_shard
from loco.video.windows import num_steps


def extractor(*visual: Brightness, **settings: Any) -> Extractor:
    encoders = visual or (Brightness(),)
    patterns = [f"{{id}}_v{i}.npy" for i in range(len(encoders))]
    layout = FeatureLayout(patterns, ["{id}_a.npy"], 25, 24, 8)
    return Extractor(layout, encoders, [LogMel(bands=4)], **settings)


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("films")
    return {
        f"v{i}": write_clip(folder / f"v{i}.mp4", flash(1 + i / 2), steady(4), tone(1 + i / 2, 4))
        for i in range(5)
    }


def paths() -> str:
    """Where a program of a test finds this file."""
    here = Path(__file__).parent
    return os.pathsep.join([str(here), str(here.parent), os.environ.get("PYTHONPATH", "")])


def files(root: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(root.glob("*.npy"))}


def test_files_are_what_the_data_module_reads(films: dict[str, Path], tmp_path: Path) -> None:
    made = extractor()
    summary = extract_videos(films, tmp_path, made, workers=2)
    assert sorted(summary.made) == sorted(films)
    assert summary.film_seconds == pytest.approx(20, abs=0.2)
    store = FeatureStore(tmp_path, made.layout)
    assert store.find_videos() == sorted(films)
    found = store.inspect(films)
    assert (found.visual_channels, found.audio_channels, found.problems) == (2, 8, [])
    assert set(found.lengths.values()) == {10}
    visual, audio = store.load("v2")
    assert visual.dtype == np.float16
    # the flash of [2, 2.4) s is seen and heard in the steps whose windows hold it
    grid = made.grid
    holds = [t for t in range(10) if t * 8 / 25 < 2.4 and t * 8 / 25 + 0.96 > 2.04]
    assert list(np.flatnonzero(visual[:, 1] > 0.1)) == holds
    loud = audio[:, 4:].max(1)  # the deviation: the tone does not fill a window
    assert set(np.flatnonzero(loud > 1)) <= {*holds, holds[0] - 1, holds[-1] + 1}
    assert grid.to_seconds(float(visual[:, 0].argmax())) == pytest.approx(2.2, abs=0.5)
    record = read_extraction(tmp_path)
    assert record is not None
    assert record.videos["v2"].duration == 4
    assert record.videos["v2"].steps == 10
    assert record.encoders["{id}_v0.npy"]["name"] == "brightness"


def test_the_numbers_do_not_depend_on_what_goes_on_beside(
    films: dict[str, Path], tmp_path: Path
) -> None:
    for workers in (1, 3):
        extract_videos(films, tmp_path / str(workers), extractor(), workers=workers)
    extract_videos({"v3": films["v3"]}, tmp_path / "alone", extractor(), workers=2)
    first = files(tmp_path / "1")
    assert first == files(tmp_path / "3")
    assert files(tmp_path / "alone").items() <= first.items()


def test_pictures_are_decoded_once_for_all_encoders(films: dict[str, Path], tmp_path: Path) -> None:
    both = extractor(Brightness(16, 4), Brightness(24, 8), Brightness(16, 4))
    passes = []

    class Counting(VideoReader):
        def pictures(self, fps: float) -> Iterator[Any]:
            passes.append(fps)
            return super().pictures(fps)

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        found = both.extract(Counting(films["v1"]), pool)
        alone = extractor(Brightness(24, 8)).extract(VideoReader(films["v1"]), pool)
    assert passes == [25]
    np.testing.assert_array_equal(found.arrays["{id}_v1.npy"], alone.arrays["{id}_v0.npy"])
    np.testing.assert_array_equal(found.arrays["{id}_v0.npy"], found.arrays["{id}_v2.npy"])
    assert set(found.seconds) == {"decode", "resize", "see", "sound", "hear"}


def test_films_are_done_at_once(films: dict[str, Path], tmp_path: Path) -> None:
    """Neither goes on before the other one has begun."""
    both, begun = threading.Barrier(2, timeout=30), set()

    def progress(video_id: str, seconds: float, done: bool) -> None:
        if video_id not in begun:
            begun.add(video_id)
            both.wait()

    two = {name: films[name] for name in ("v0", "v1")}
    assert len(extract_videos(two, tmp_path, extractor(), workers=2, progress=progress).made) == 2


def test_decoding_goes_on_while_pictures_are_looked_at(
    films: dict[str, Path], tmp_path: Path
) -> None:
    """The first pictures are not done with before the film is decoded well beyond them."""
    beyond = threading.Event()

    class Waiting(Brightness):
        def look(self, pictures: np.ndarray) -> np.ndarray:
            assert beyond.wait(30), "decoding waits for the pictures to be looked at"
            return super().look(pictures)

    def progress(video_id: str, seconds: float, done: bool) -> None:
        if seconds > 2.5:  # the first block of 16 pictures, each fourth moment, ends at 2.4 s
            beyond.set()

    one = {"v1": films["v1"]}
    summary = extract_videos(
        one, tmp_path, extractor(Waiting()), workers=1, progress=progress
    )  # fmt: skip
    assert summary.made == ["v1"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's own figures")
def test_memory_of_an_extraction_stays_flat(tmp_path: Path) -> None:
    """Of half an hour no more is held than of two minutes: its sound alone would be 115 MB, its
    decoded pictures 200."""
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from test_extraction import Brightness, extractor, extract_videos\n"
        "film = {'film': Path(sys.argv[1])}\n"
        "extract_videos(film, sys.argv[1] + '_f', extractor(Brightness(64)), workers=1)\n"
        "status = Path('/proc/self/status').read_text()\n"  # ru_maxrss knows the parent's, too
        "print(status.partition('VmHWM:')[2].split()[0])\n"
    )
    peaks = []
    for minutes in (2, 30):
        sound = np.tile(tone(4, 6), 10 * minutes)
        film = write_clip(tmp_path / f"{minutes}.mp4", flash(4), steady(60 * minutes), sound)
        run = subprocess.run(
            [sys.executable, "-c", program, str(film)],
            env=os.environ | {"PYTHONPATH": paths()}, capture_output=True, text=True, timeout=600,
        )  # fmt: skip
        peaks.append(int(run.stdout))
    assert peaks[1] - peaks[0] < 60_000  # KiB
    record = read_extraction(tmp_path / "30.mp4_f")
    assert record is not None
    assert record.videos["film"].steps == num_steps(1800 * 25, extractor().grid)


def test_what_is_there_is_kept_and_what_changed_is_made_again(
    films: dict[str, Path], tmp_path: Path
) -> None:
    films = {name: Path(path) for name, path in list(films.items())[:3]}
    copy = tmp_path / "v0.mp4"
    copy.write_bytes(films["v0"].read_bytes())
    films["v0"] = copy
    root = tmp_path / "features"
    extract_videos(films, root, extractor())
    write_clip(copy, flash(0.5), steady(3), tone(0.5, 3))
    (root / "v1_a.npy").write_bytes(b"half a file")
    summary = extract_videos(films, root, extractor())
    assert (sorted(summary.made), summary.kept) == (["v0", "v1"], ["v2"])
    assert read_extraction(root).videos["v0"].duration == 3  # type: ignore[union-attr]


def test_another_film_of_the_same_size_is_made_anew(tmp_path: Path) -> None:
    film, root = tmp_path / "v0.mp4", tmp_path / "features"
    write_clip(film, flash(1), steady(2), tone(1, 2))
    first = film.read_bytes()
    write_clip(film, flash(0.5), steady(3), tone(0.5, 3))
    second = film.read_bytes()
    gap = abs(len(first) - len(second)) + 8
    assert gap < 1 << 32
    shorter, longer = sorted([first, second], key=len)  # each ends with a box of nothing
    pair = [
        content + size.to_bytes(4, "big") + b"free" + bytes(size - 8)
        for content, size in ((shorter, gap), (longer, 8))
    ]
    assert len(pair[0]) == len(pair[1])
    found = []
    for content in (pair[0], pair[0], pair[1]):
        film.write_bytes(content)
        summary = extract_videos({"v0": film}, root, extractor())
        steps = read_extraction(root).videos["v0"].steps  # type: ignore[union-attr]
        found.append((summary.made, steps))
    assert [made for made, _ in found] == [["v0"], [], ["v0"]]
    assert found[0][1] == found[1][1] != found[2][1]


def test_a_record_of_an_earlier_version_knows_no_sample(tmp_path: Path) -> None:
    film, root = tmp_path / "v0.mp4", tmp_path / "features"
    write_clip(film, flash(1), steady(2), tone(1, 2))
    extract_videos({"v0": film}, root, extractor())
    record = json.loads((root / "extraction.json").read_text(encoding="utf-8"))
    assert len(record["videos"]["v0"].pop("sample")) == 64
    (root / "extraction.json").write_text(json.dumps(record), encoding="utf-8")
    assert extract_videos({"v0": film}, root, extractor()).kept == ["v0"]


def test_a_killed_run_goes_on_to_the_same_bytes(films: dict[str, Path], tmp_path: Path) -> None:
    extract_videos(films, tmp_path / "whole", extractor())
    root = tmp_path / "killed"
    program = (
        "import os, signal, sys\nfrom pathlib import Path\n"
        "from test_extraction import extractor, extract_videos\n"
        "films = {p.stem: p for p in map(Path, sys.argv[2:])}\n"
        "done = []\n"
        "def kill(video, seconds, finished):\n"
        "    done.append(finished)\n"
        "    if sum(done) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "extract_videos(films, sys.argv[1], extractor(), workers=1, progress=kill)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(root), *map(str, films.values())],
        env=os.environ | {"PYTHONPATH": paths()}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert run.returncode == -signal.SIGKILL, run.stderr
    assert 0 < len(files(root)) < len(files(tmp_path / "whole"))
    summary = extract_videos(films, root, extractor())
    assert summary.made
    assert files(root) == files(tmp_path / "whole")
    assert read_extraction(root) == read_extraction(tmp_path / "whole")


def test_shards_share_a_folder(films: dict[str, Path], tmp_path: Path) -> None:
    extract_videos(films, tmp_path / "whole", extractor())
    shards = [take_shard(films, f"{i}/2") for i in range(2)]
    assert [list(shard) for shard in shards] == [["v0", "v2", "v4"], ["v1", "v3"]]
    for shard in shards:
        extract_videos(shard, tmp_path / "shared", extractor())
    assert files(tmp_path / "shared") == files(tmp_path / "whole")
    assert read_extraction(tmp_path / "shared") == read_extraction(tmp_path / "whole")
    for wrong in ("2/2", "1", "a/b", "-1/2", "1/0"):
        with pytest.raises(VideoError, match="expected the number of this one"):
            take_shard(films, wrong)


def test_bad_films_are_told_and_the_others_go_on(films: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("hello")
    mute = write_clip(tmp_path / "mute.mp4", times=steady(2))
    short = write_clip(tmp_path / "short.mp4", times=steady(0.8), sound=tone(0, 0.8))
    given = {
        "v0": films["v0"], "text": tmp_path / "text.mp4", "mute": mute, "short": short,
        "no..id": films["v1"], "x" * 245: films["v1"],
    }  # fmt: skip
    summary = extract_videos(given, tmp_path / "features", extractor())
    assert summary.made == ["v0"]
    assert set(summary.failed) == {"text", "mute", "short", "no..id", "x" * 245}
    assert "too long for a file's name" in summary.failed["x" * 245]
    assert all(str(given[name]) in told for name, told in summary.failed.items())
    assert "0.80 s long, expected at least one window of 0.96 s" in summary.failed["short"]
    assert "on_no_audio=silence" in summary.failed["mute"]
    silent = extract_videos({"mute": mute}, tmp_path / "f2", extractor(on_no_audio="silence"))
    assert silent.warned == {"mute": ["no sound, taken for silence"]}


def test_a_folder_is_of_one_kind(films: dict[str, Path], tmp_path: Path) -> None:
    one = {"v0": films["v0"]}
    extract_videos(one, tmp_path, extractor())
    with pytest.raises(VideoError, match=r"holds features of brightness .* size 16 → 32"):
        extract_videos(one, tmp_path, extractor(Brightness(32)))
    (tmp_path / "extraction.json").write_text("[]")
    with pytest.raises(FeatureError, match="expected what `loco extract` writes"):
        extract_videos(one, tmp_path, extractor())
    (tmp_path / "extraction.json").unlink()
    with pytest.raises(VideoError, match="nothing says what made them"):
        extract_videos(one, tmp_path, extractor())


def test_a_root_that_is_no_folder(films: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for root in (tmp_path / "file", tmp_path / "file" / "inside"):
        with pytest.raises(VideoError, match=r"file.*: expected a folder .*; take another root"):
            extract_videos(films, root, extractor())


def test_which_videos_are_meant(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for path in (tmp_path / "b.MP4", tmp_path / "a.mkv", tmp_path / "notes.pdf", inner / "c.webm",
                 tmp_path / ".hidden.mp4"):  # fmt: skip
        path.write_bytes(b"")
    assert list(find_videos(tmp_path)) == ["a", "b"]
    assert list(find_videos(tmp_path, recursive=True)) == ["a", "b", "c"]
    assert find_videos(tmp_path / "notes.pdf") == {"notes": tmp_path / "notes.pdf"}
    other = tmp_path.with_name(f"{tmp_path.name}-other")
    other.mkdir()
    (other / "d.mp4").write_bytes(b"")
    (inner / "linked").symlink_to(other)
    (other / "back").symlink_to(tmp_path)  # round and round
    assert list(find_videos(tmp_path, recursive=True)) == ["a", "b", "c", "d"]
    (tmp_path / "list.txt").write_text("inner/c.webm\n\na.mkv\n")
    assert list(find_videos(tmp_path / "list.txt")) == ["a", "c"]
    assert list(find_videos([tmp_path / "b.MP4", inner])) == ["b", "c"]
    (inner / "a.mov").write_bytes(b"")
    with pytest.raises(VideoError, match="two videos of one id, 'a'"):
        find_videos(tmp_path, recursive=True)
    (tmp_path / "none").mkdir()
    with pytest.raises(VideoError, match="expected videos, found none"):
        find_videos(tmp_path / "none")
    names = ["with spaces 🎉 #1 50%.mp4", "b.MP4"]
    (tmp_path / "list.txt").write_bytes("\r\n".join(names).encode() + b"\r\n")
    assert list(find_videos(tmp_path / "list.txt")) == ["b", "with spaces 🎉 #1 50%"]
    (tmp_path / "list.txt").write_text("https://example.com/x.mp4")
    for given in ("https://example.com/x.mp4", tmp_path / "list.txt", ["a.mp4", "rtsp://x/y"]):
        with pytest.raises(VideoError, match=r"//.*: an address; .* fetch it first"):
            find_videos(given)


def test_a_folder_in_which_nothing_was_made_takes_another_kind(
    films: dict[str, Path], tmp_path: Path
) -> None:
    extract_videos({"gone": tmp_path / "gone.mp4"}, tmp_path, extractor())
    made = extract_videos({"v0": films["v0"]}, tmp_path, extractor(Brightness(32))).made
    assert made == ["v0"]
    assert read_extraction(tmp_path).encoders["{id}_v0.npy"]["size"] == 32  # type: ignore[union-attr]


def test_an_extractor_has_an_encoder_for_each_pattern() -> None:
    layout = FeatureLayout(["{id}_v.npy"], ["{id}_a.npy"], 25, 24, 8)
    with pytest.raises(ValueError, match="1 visual patterns"):
        Extractor(layout, [Brightness(), Brightness()], [LogMel()])
    with pytest.raises(ValueError, match="every must divide"):
        Extractor(layout, [Brightness(every=3)], [LogMel()])
    with pytest.raises(ValueError, match="on_no_audio"):
        Extractor(layout, [Brightness()], [LogMel()], on_no_audio="skip")  # type: ignore[arg-type]


def test_a_real_film(tmp_path: Path) -> None:
    summary = extract_videos({"bunny": real_film()}, tmp_path, extractor())
    assert summary.made == ["bunny"]
    visual, audio = FeatureStore(tmp_path, extractor().layout).load("bunny")
    assert len(visual) == len(audio) == 14
    assert audio[:, :4].std() > 0.1  # AAC 5.1 is heard
    assert json.loads((tmp_path / "extraction.json").read_text())["videos"]["bunny"]["steps"] == 14
