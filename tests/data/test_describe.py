"""Describing a data set: statistics by hand, and advice against the assignment point by point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from helpers import ROOT
from loco.cli import main
from loco.data.annotations import Annotations, Video, read_annotations
from loco.data.describe import advise, describe, describe_splits, num_steps
from loco.data.describe_tables import advice_lines
from loco.data.layouts import read_layout
from loco.detection.assignment import assign, default_ranges, make_points
from loco.errors import AnnotationError, LocoError
from loco.reporting.figures import plot_data
from loco.structures import Events, TimeGrid

GRID = TimeGrid(fps=10, window=2, stride=1)  # a step is 0.1 s, step t at t / 10 + 0.1 s
UNAV100 = ROOT.parent / "shared" / "unav100" / "unav100_annotations.json"


def video(name: str, duration: float, subset: str, *events: tuple[float, float, int]) -> Video:
    segments = torch.tensor([event[:2] for event in events], dtype=torch.float64).reshape(-1, 2)
    labels = torch.tensor([event[2] for event in events], dtype=torch.long)
    return Video(name, duration, subset, Events(segments, labels))


def random_annotations(seed: int, videos: int = 12, longest: float = 40.0) -> Annotations:
    rng = np.random.default_rng(seed)
    made = []
    for i in range(videos):
        duration = float(rng.uniform(0.1, longest))
        times = np.sort(rng.uniform(0, duration, (rng.integers(0, 5), 2)), axis=1)
        made.append(video(f"v{i}", duration, "train", *((a, b, 0) for a, b in times)))
    return Annotations(made, ["a"])


def test_statistics_by_hand() -> None:
    videos = [
        video("a", 10, "train", (0, 4, 0), (3, 5, 1), (3.5, 6, 0)),
        video("b", 20, "train", (0, 4, 0), (4, 5, 0)),
        video("c", 30, "test"),
    ]
    found = describe(videos)
    assert (found.videos, found.empty, found.classes) == (3, 1, 2)
    assert found.durations.tolist() == [10, 20, 30]
    assert sorted(found.lengths) == [1, 2, 2.5, 4, 4]
    assert found.events_per_video.tolist() == [3, 2, 0]
    assert found.classes_per_video.tolist() == [2, 1, 0]
    assert (found.overlapping, found.overlapping_alike) == (1, 1)
    parts = describe_splits(Annotations(videos, ["x", "y"]))
    assert {name: part.videos for name, part in parts.items()} == {"all": 3, "train": 2, "test": 1}


@pytest.mark.parametrize("grid", [GRID, TimeGrid(25, 24, 8), TimeGrid(16, 16, 4)])
def test_num_steps_is_the_most_that_fit(grid: TimeGrid) -> None:
    for duration in (1e-3, 0.3, 1.1, 7.7, 60.0):
        steps = num_steps(duration, grid)
        assert steps == 1 or grid.end_seconds(steps) <= duration + 1e-9
        assert grid.end_seconds(steps + 1) > duration


@pytest.mark.parametrize("seed", range(4))
def test_levels_agree_with_the_assignment_of_each_event_alone(seed: int) -> None:
    annotations = random_annotations(seed)
    advice = advise(annotations, GRID, num_levels=4)
    events = np.zeros(4)
    positives = np.zeros(4)
    centred = np.zeros(4)
    pointless = 0
    for of_video in annotations.values():
        points = make_points(num_steps(of_video.duration, GRID), (1, 2, 4, 8), dtype=torch.float64)
        for segment in GRID.to_steps(of_video.events.segments):
            cls, _ = assign(points, segment[None], torch.zeros(1, dtype=torch.long), 1)
            counts = np.array([int(cls[points[:, 3] == 2**i].sum()) for i in range(4)])
            events += counts > 0
            positives += counts
            pointless += not counts.any()
            half = float(segment[1] - segment[0]) / 2
            (own, *_) = [i for i, (_, high) in enumerate(default_ranges(4)) if half <= high]
            centred[own] += 1
    assert [level.events for level in advice.levels] == events.tolist()
    assert [level.centred for level in advice.levels] == centred.tolist()
    expected = positives / np.maximum(events, 1)
    np.testing.assert_allclose([level.points for level in advice.levels], expected)
    assert advice.pointless == pointless


@pytest.mark.parametrize(("longest", "levels"), [(0.75, 1), (0.85, 2), (1.55, 2), (1.7, 3), (6, 4)])
def test_levels_reach_the_middle_of_every_event(longest: float, levels: int) -> None:
    """By four strides of the last level: 8 · 2^(L − 1) steps of 0.1 s are the longest event."""
    annotations = Annotations([video("a", longest, "train", (0, longest, 0))], ["x"])
    assert advise(annotations, GRID).num_levels == levels


def test_max_length_and_window() -> None:
    events = [(float(i), float(i) + 1.2, 0) for i in range(0, 10, 2)]  # 12 steps: 6 of level 2
    videos = [video(f"v{i}", 10 + 0.1 * i, "train", *events) for i in range(100)]
    advice = advise(Annotations([*videos, video("long", 500, "test", (0, 1, 0))], ["x"]), GRID)
    assert advice.num_levels == 2
    steps = sorted(num_steps(v.duration, GRID) for v in videos)
    assert steps[98] <= advice.max_length < steps[98] + 2
    assert advice.max_length % 2 == 0
    assert advice.longest == steps[-1]
    assert advice.own_length == pytest.approx(6)
    assert advice.window_size == 8


def test_warnings() -> None:
    annotations = Annotations(
        [
            video("a", 60, "train", (10, 10.05, 0), (20, 20.25, 1)),
            video("b", 60, "train", *((float(i), i + 0.5, 1) for i in range(12))),
            video("c", 60, "test", (0, 1, 0)),
        ],
        ["rare", "often"],
    )
    text = "\n".join(advise(annotations, GRID, num_levels=1).warnings)
    assert "there is no validation split" in text
    assert "1 class with fewer than 10 training events: rare (1)" in text
    assert "1 class without an event in the test split, which do not count in its mAP" in text
    assert "1 of 14 training events (7.1 %) have no point inside them" in text
    assert "1 of 14 training events (7.1 %) are shorter than a step (0.1 s)" in text
    long = Annotations([video("a", 60, "train", (0, 40, 0))], ["x"])
    text = "\n".join(advise(long, GRID, num_levels=2).warnings)
    assert "longer than 16 steps (1.6 s)" in text


def test_advice_without_events_or_a_training_split() -> None:
    with pytest.raises(AnnotationError, match="no event"):
        advise(Annotations([video("a", 60, "train")], []), GRID)
    only_test = Annotations([video("a", 60, "test", (0, 1, 0))], ["x"])
    advice = advise(only_test, GRID)
    assert advice.events == 1
    assert "there is no train split" in advice.warnings
    short = Annotations([video("a", 60, "test", (0, 0.05, 0), (1, 2, 0))], ["x"])
    text = "\n".join(advise(short, GRID).warnings)
    assert "1 of 2 events (50.0 %) are shorter than a step" in text


def test_what_is_said_of_the_levels_is_what_they_reach() -> None:
    """Also where their number was given, or is the most that is advised."""
    events = [(0.0, 0.5 + 0.1 * (i == 0) * 300, 0) for i in range(4)]
    advice = advise(Annotations([video("a", 60, "train", *events)], ["x"]), GRID, num_levels=1)
    assert advice.reached == 0.75
    assert "model.num_levels=1  (the middle of 75.0 % of the events" in advice_lines(advice)[1]
    day = Annotations([video("a", 90_000, "train", (0, 86_400, 0))], ["x"])
    assert advise(day, GRID).reached == 0
    assert advise(Annotations([video("a", 60, "train", *events)], ["x"]), GRID).reached == 1


def test_nearly_all_are_not_all() -> None:
    events = [(0.0, 0.05 + (i == 0), 0) for i in range(250)]
    text = "\n".join(advise(Annotations([video("a", 60, "train", *events)], ["x"]), GRID).warnings)
    assert "249 of 250 training events (99.6 %) are shorter than a step" in text


@pytest.mark.parametrize("name", ["synthetic", "unav100_i3d_vggish", "unav100_onepeace"])
def test_layouts(name: str) -> None:
    assert read_layout(ROOT / "conf" / "data", name).fps in (16, 25)


@pytest.mark.parametrize("name", ["base", "nothing"])
def test_what_is_no_layout(name: str) -> None:
    with pytest.raises(LocoError, match=r"there are: .*synthetic, .*unav100_i3d_vggish"):
        read_layout(ROOT / "conf" / "data", name)


@pytest.mark.skipif(not UNAV100.is_file(), reason="needs UnAV-100's annotation file")
@pytest.mark.parametrize(
    ("grid", "max_length"), [(TimeGrid(25, 24, 8), 192), (TimeGrid(16, 16, 4), 256)]
)
def test_unav100(grid: TimeGrid, max_length: int) -> None:
    """Six levels and a window of 8 are what the paper's models have."""
    annotations = read_annotations(UNAV100)
    parts = describe_splits(annotations)
    counts = {name: (part.videos, len(part.lengths)) for name, part in parts.items()}
    assert counts["all"] == (10790, 30059)
    assert parts["all"].overlapping_alike == 1
    advice = advise(annotations, grid)
    assert (advice.num_levels, advice.max_length, advice.window_size) == (6, max_length, 8)


def describe_data(*words: str | Path) -> int:
    """`loco describe …` in this process; its exit status."""
    return main(["describe", *map(str, words)])


def write(path: Path) -> Path:
    entry = {"segment": [1, 3.5], "label": "dog", "label_id": 0}
    videos = {
        f"{subset}{i}": {"duration": 20 + i, "subset": subset, "annotations": [entry]}
        for subset in ("train", "validation", "test")
        for i in range(12)
    }
    path.write_text(json.dumps({"database": videos}))
    return path


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "mine.json")
    grid = ("--fps", "16", "--window", "16", "--stride", "4")
    assert describe_data(file, *grid, "--plot", tmp_path / "plots" / "mine.png") == 0
    printed = capsys.readouterr().out
    for words in ("36", "a step is 0.25 s", "model.num_levels=2", "data.max_length=122",
                  "attention.window_size=8"):  # fmt: skip
        assert words in printed, words
    assert "warning" not in printed
    assert (tmp_path / "plots" / "mine.png").stat().st_size > 10_000


def test_errors_of_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = write(tmp_path / "mine.json")
    for words, message in (
        ((tmp_path / "no.json",), "expected an annotation file"),
        ((file, "--fps", "16"), "--fps, --window and --stride together"),
        ((file, "--fps", "0", "--window", "1", "--stride", "1"), "fps must be positive"),
        ((file, "--layout", "nothing"), "no layout 'nothing'"),
        (
            (file, "--fps", "50", "--window", "24", "--stride", "8", "--check", tmp_path),
            "--check: expected --layout NAME",
        ),
    ):
        assert describe_data(*words) == 1
        complaint = capsys.readouterr().err
        assert complaint.startswith("error: ")
        assert message in complaint
        assert len(complaint.splitlines()) == 1


def test_the_figure_of_a_small_data_set() -> None:
    annotations = random_annotations(0)
    figure = plot_data(annotations, advise(annotations, GRID))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["Duration of a video", "Length of an event", "Events and classes in a video",
                      "Events of a class"]  # fmt: skip


def test_the_figure_names_data_set_and_classes() -> None:
    videos = [video("v", 10, "train", (0, 4, 0), (3, 5, 1)), video("w", 10, "test", (1, 2, 1))]
    annotations = Annotations(videos, ["playing violin", "playing cello"])
    figure = plot_data(annotations, advise(annotations, GRID), "mine.json")
    assert figure.get_suptitle() == "mine.json"
    *_, axes = figure.axes
    assert [tick.get_text() for tick in axes.get_yticklabels()] == annotations.class_names
    widths = [[bar.get_width() for bar in bars] for bars in axes.containers]
    assert widths == [[1, 1], [0, 1]]
