"""The small world: what its films hold, and that the same seed gives the same."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from loco.data.annotations import read_annotations
from loco.video.reader import VideoReader
from loco.video.world.films import make_world
from loco.video.world.pictures import SIDE, render_pictures
from loco.video.world.scenes import AT_ONCE, CLASSES, DURATION, LENGTH, draw_scene
from loco.video.world.sounds import RATE, render_sound

SCENES = [draw_scene((0, 0, number)) for number in range(200)]


def test_two_mislead_for_three_events() -> None:
    sources = [source for scene in SCENES for source in scene.sources]
    events = sum(source.is_event for source in sources)
    assert (len(sources) - events) / events == pytest.approx(2 / 3, abs=0.08)
    silent = sum(source.seen and not source.heard for source in sources)
    assert silent / (len(sources) - events) == pytest.approx(0.5, abs=0.1)
    assert all(source.seen or source.heard for source in sources)
    seen = Counter(source.label for source in sources if source.is_event)
    assert len(seen) == len(CLASSES)
    assert min(seen.values()) > 15


def test_sources_keep_the_rules() -> None:
    for scene in SCENES:
        assert DURATION[0] <= scene.duration <= DURATION[1]
        for i, source in enumerate(scene.sources):
            assert 0 <= source.start < source.end <= scene.duration
            assert LENGTH[0] - 0.02 <= source.end - source.start <= LENGTH[1] + 0.02
            beside = [o for o in scene.sources if o.start < source.end and source.start < o.end]
            now = [o for o in beside if o.start <= source.start < o.end]
            assert len(now) <= AT_ONCE
            for other in scene.sources[:i]:
                apart = other.end <= source.start or source.end <= other.start
                assert apart or other.label != source.label


def test_new_seeds_are_new_films() -> None:
    assert draw_scene((0, 0, 1)) == SCENES[1]
    assert len({(scene.duration, scene.sources) for scene in SCENES}) == len(SCENES)
    first, second = (next(render_pictures(scene)) for scene in SCENES[:2])
    assert np.abs(np.asarray(first, float) - np.asarray(second, float)).mean() > 10


def test_what_is_heard_is_where_it_is() -> None:
    for scene in SCENES[:10]:
        wave = render_sound(scene)
        assert len(wave) == round(scene.duration * RATE)
        loud = np.abs(wave)
        quiet = np.ones(len(wave), bool)
        for source in scene.sources:
            if source.heard:
                part = slice(round(source.start * RATE), round(source.end * RATE))
                quiet[part] = False
                assert loud[part].max() > 0.1
        assert loud[quiet].max() < 0.15


def test_films_and_annotations(tmp_path: Path) -> None:
    made = make_world(tmp_path, (2, 1, 1, 1))
    annotations = read_annotations(tmp_path / "annotations.json")
    assert Counter(v.subset for v in annotations.values()) == {
        "train": 2,
        "validation": 1,
        "test": 1,
    }
    assert sum(len(video.events) for video in annotations.values()) == made["events"]
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["new_0000.mp4"]
    film = tmp_path / "films" / "train_0000.mp4"
    reader = VideoReader(film)
    pictures = sum(1 for _ in reader.pictures(25))
    assert pictures == pytest.approx(25 * SCENES[0].duration, abs=2)
    assert reader.duration == pytest.approx(SCENES[0].duration, abs=0.1)
    shown = next(VideoReader(film).pictures(25)).rgb(SIDE, SIDE).astype(float)
    drawn = np.asarray(next(render_pictures(SCENES[0])), float)
    assert np.abs(shown - drawn).mean() < 6
    before = film.read_bytes()
    film.unlink()
    make_world(tmp_path, (2, 1, 1, 1))
    assert film.read_bytes() == before
    sources = json.loads((tmp_path / "sources.json").read_text())
    assert len(sources) == 5


def test_films_of_another_seed_are_not_described_anew(tmp_path: Path) -> None:
    make_world(tmp_path, (1, 0, 0, 0))
    noted = (tmp_path / "annotations.json").read_bytes()
    with pytest.raises(ValueError, match=r"train_0000\.mp4: there already, and shows"):
        make_world(tmp_path, (1, 0, 0, 0), seed=1)
    assert (tmp_path / "annotations.json").read_bytes() == noted


@pytest.mark.parametrize("noted", [True, False])
def test_a_world_that_was_not_finished_knows_its_films(tmp_path: Path, noted: bool) -> None:
    """Whoever goes on with another seed is told, also where nothing says what the films show."""

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_world(tmp_path, (2, 0, 0, 0), progress=stop)
    if not noted:
        (tmp_path / "sources.json").unlink()
    with pytest.raises(ValueError, match=r"train_0000\.mp4: there already, and"):
        make_world(tmp_path, (2, 0, 0, 0), seed=1)
    assert not (tmp_path / "annotations.json").exists()
    if noted:
        make_world(tmp_path, (2, 0, 0, 0))
        assert len(read_annotations(tmp_path / "annotations.json")) == 2


def test_numbers_are_checked(tmp_path: Path) -> None:
    for counts, seed in (((1, 1), 0), ((0, 0, 0, 0), 0), ((1, 1, 1, -1), 0), ((1, 1, 1, 1), -1)):
        with pytest.raises(ValueError, match="expected the films of"):
            make_world(tmp_path, counts, seed)
