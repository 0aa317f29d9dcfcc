"""Figures, tested for what they hold: labels, artists and data."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.patches import Rectangle

from helpers import NASTY
from loco.errors import LocoError
from loco.evaluation.diagnosis import diagnose
from loco.evaluation.matching import Columns
from loco.reporting.figures import (
    plot_characteristics,
    plot_coherence,
    plot_correspondence,
    plot_curve,
    plot_errors,
    plot_learning_rate,
    plot_losses,
    plot_map,
    plot_mean_of_std,
    plot_per_class,
    plot_similarity,
    plot_timeline,
    plot_validation,
    plot_windows,
    save_figure,
)
from loco.reporting.figures.training import best_epoch
from loco.reporting.inspection import TargetWindows
from loco.runs.logs import Curve, read_log
from loco.runs.run_folder import RunFolder
from loco.runs.text import shown
from loco.structures import Events, TimeGrid

GRID = TimeGrid(fps=25, window=24, stride=8)
NAMES = ["dog barking", "man speaking", "rain"]
TRUTH = Events(torch.tensor([[1.0, 4.0], [3.0, 9.0], [6.0, 8.0]]).double(), torch.tensor([0, 1, 0]))
FOUND = Events(
    torch.tensor([[1.2, 4.4], [0.9, 3.9], [2.0, 9.5], [6.0, 7.0]]).double(),
    torch.tensor([0, 0, 1, 2]),
    torch.tensor([0.9, 0.7, 0.5, 0.1]),
)


def texts(figure: Figure) -> list[str]:
    """Everything written in a figure."""
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(matplotlib.text.Text) if text.get_text()]


@pytest.fixture
def log() -> dict[str, Curve]:
    steps = np.arange(10.0, 60, 10)
    curve = Curve(steps, steps // 20, 2 / steps)
    names = ("train/loss", "train/loss_cls", "train/loss_reg", "train/lr", "lcc/sigma",
             "lcc/temperature")  # fmt: skip
    return dict.fromkeys((*names, "val/mAP", "val/mAP@0.5"), curve)


@pytest.fixture
def diagnosis() -> dict:
    zeros, labels = np.zeros(len(FOUND), dtype=int), FOUND.labels.numpy()
    columns = Columns(
        pred_video=zeros, pred_segments=FOUND.segments, pred_labels=labels,
        pred_scores=FOUND.scores, gt_video=np.zeros(3, dtype=int), gt_segments=TRUTH.segments,
        gt_labels=TRUTH.labels,
    )  # fmt: skip
    return diagnose(columns, num_classes=3)


def test_similarity_side_by_side() -> None:
    matrices = {"before": np.eye(40), "after": np.full((40, 40), -0.5)}
    figure = plot_similarity(matrices, GRID, TRUTH, NAMES, "video x")
    first, second = figure.axes[:2]
    assert first.get_xlabel() == "audio time (s)"
    assert first.get_ylabel() == "visual time (s)"
    np.testing.assert_array_equal(first.images[0].get_array(), matrices["before"])
    assert first.images[0].get_clim() == second.images[0].get_clim() == (-0.5, 1.0)
    start, end = GRID.to_seconds(-0.5), GRID.to_seconds(39.5)
    assert first.images[0].get_extent() == pytest.approx([start, end, start, end])
    # an event: a frame (twice, for its edge) and a bar along either axis
    spans = [
        (box.get_x(), box.get_width())
        for box in first.patches
        if isinstance(box, Rectangle) and box.get_x() == pytest.approx(3.0)
    ]
    assert [width for _, width in spans].count(pytest.approx(6.0)) == 3
    assert {"dog barking", "man speaking", "video x", "cosine similarity"} <= set(texts(figure))
    assert "rain" not in texts(figure)
    assert any("before (std" in text for text in texts(figure))


def test_events_after_the_last_feature_are_left_out() -> None:
    late = Events(torch.tensor([[30.0, 31.0]]).double(), torch.tensor([2]))
    figure = plot_similarity({"": np.eye(10)}, GRID, late, NAMES)
    assert not figure.axes[0].patches


def test_coherence_is_over_seconds() -> None:
    inside, across = np.linspace(1, 0, 5), np.linspace(0.5, 0, 5)
    figure = plot_coherence({"LoCo": (inside, across)}, GRID)
    (axes,) = figure.axes
    assert axes.get_xlabel() == "distance in time (s)"
    np.testing.assert_allclose(axes.lines[0].get_xdata(), np.arange(5) * 0.32)
    np.testing.assert_allclose(axes.lines[1].get_ydata(), across)
    assert "LoCo, inside one event" in texts(figure)


def test_mean_of_std_is_written() -> None:
    matrices = {"base": [np.array([[0.0, 1.0]]), np.array([[0.0, 0.0]])], "LCC": [np.eye(2)]}
    figure = plot_mean_of_std(matrices)
    assert {"mean 0.250", "mean 0.500", "base", "LCC"} <= set(texts(figure))


def test_timeline_of_two_models() -> None:
    other = FOUND[torch.tensor([2])]
    figure = plot_timeline(TRUTH, {"ours": FOUND, "theirs": other}, NAMES, 10.0, 0.2, "video x")
    ours, theirs = figure.axes
    assert ours.get_xlim() == theirs.get_xlim() == (0, 10)
    assert ours.get_xlabel() == "time (s)"
    bars = [len(axes.findobj(PolyCollection)) for axes in figure.axes]
    assert bars == [3 + 3, 3 + 1]  # ground truth, and what scores 0.2 or more
    written = texts(figure)
    assert {"dog barking", "man speaking", "0.90", "0.70", "0.50", "video x"} <= set(written)
    assert "rain" not in written
    assert "0.10" not in written


def test_overlapping_predictions_of_a_class_lie_in_lanes() -> None:
    figure = plot_timeline(Events.empty(), {"": FOUND[:2]}, NAMES, 10.0)
    tops = {
        round(bar.get_paths()[0].get_extents().y0, 3)
        for bar in figure.axes[0].findobj(PolyCollection)
    }
    assert len(tops) == 2


def test_a_timeline_without_anything() -> None:
    figure = plot_timeline(Events.empty(), {"": Events.empty(scored=True)}, NAMES, 10.0)
    assert "time (s)" in texts(figure)
    with pytest.raises(ValueError, match="scores"):
        plot_timeline(TRUTH, {"": TRUTH}, NAMES, 10.0)


def test_windows_by_level_head_and_direction() -> None:
    base = np.array([[0.0, 2.0], [2.5, 4.5], [5.0, 5.5]])
    target = np.stack([base + 1, base * 2])
    windows = [TargetWindows("visual", level, 0.5, base, target) for level in (0, 1)]
    figure = plot_windows([*windows, TargetWindows("audio", 0, 0.5, base, target)], levels=1)
    visual, audio = figure.axes
    assert visual.get_title(loc="left") == "level 1: visual looks at audio"
    assert audio.get_title(loc="left") == "level 1: audio looks at visual"
    assert [bar.get_height() for bar in visual.patches] == pytest.approx([2.0, 2.0, 0.5])
    lines = visual.collections[0].get_segments()  # head 1: a second later than the base window
    np.testing.assert_allclose([line[:, 1] for line in lines], [[0, 2], [0, 2], [0.75, 1.25]])
    assert {"base window", "head 1", "head 2"} <= set(texts(figure))


def test_training_curves(log: dict[str, Curve]) -> None:
    losses = plot_losses(log).axes[0]
    assert losses.get_yscale() == "log"
    assert [line.get_label() for line in losses.lines] == ["total", "classification", "regression"]
    validation = plot_validation(log).axes[0]
    np.testing.assert_allclose(validation.lines[0].get_ydata(), 100 * log["val/mAP"].values)
    np.testing.assert_allclose(validation.lines[0].get_xdata(), log["val/mAP"].epochs + 1)
    left, right = plot_correspondence(log).axes
    assert "σ (steps)" in left.get_ylabel()
    assert "τ" in right.get_ylabel()
    np.testing.assert_allclose(right.lines[0].get_ydata(), log["lcc/temperature"].values)
    both = plot_curve({"a": log, "b": {}}, "val/mAP", "mAP", "%", 100).axes[0]
    np.testing.assert_allclose(both.lines[0].get_ydata(), 100 * log["val/mAP"].values)
    assert [line.get_label() for line in both.lines] == ["a"]
    assert any("best epoch, 1)" in text for text in texts(plot_validation(log)))
    for figure in (plot_losses(log), plot_learning_rate(log), plot_correspondence(log)):
        assert any("best epoch, 1)" in text for text in texts(figure))
        assert all(axes.get_xlim()[0] >= 0 for axes in figure.axes)
        assert all(axes.get_ylim()[0] >= 0 for axes in figure.axes)
    without = plot_correspondence({"lcc/temperature": log["lcc/temperature"]})
    assert without.axes[0].get_ylabel() == ""


def test_seeds_are_a_mean_and_a_band() -> None:
    """Over the epochs that all have; what is never negative has no band below 0."""
    epochs = np.arange(3.0)
    seeds = [
        {"val/mAP": Curve(epochs, epochs, np.array(values))}
        for values in ([0.1, 0.2, 0.6], [0.3, 0.4, 0.6])
    ]
    seeds.append({"val/mAP": Curve(epochs[:2], epochs[:2], np.array([0.0, 0.9]))})
    axes = plot_curve({"a": seeds}, "val/mAP", "mAP", "%", 100).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [1, 2])
    np.testing.assert_allclose(axes.lines[0].get_ydata(), [40 / 3, 50])
    band = axes.collections[0].get_paths()[0].vertices[:, 1]
    spread = [100 * np.std([0.1, 0.3, 0.0], ddof=1), 100 * np.std([0.2, 0.4, 0.9], ddof=1)]
    assert band.max() == pytest.approx(50 + spread[1])
    assert band.min() == 0  # 13.3 − 15.3
    assert axes.get_ylim()[0] == 0


def test_map_and_classes() -> None:
    metrics = {"mAP": 0.4, "mAP@0.9": 0.1, "mAP@0.5": 0.7}
    axes = plot_map({"LoCo": metrics}).axes[0]
    np.testing.assert_allclose(axes.lines[0].get_xydata(), [[0.5, 70], [0.9, 10]])
    assert axes.lines[0].get_label() == "LoCo (avg. 40.00)"
    without = plot_map({"LoCo": {"mAP": np.nan, "mAP@0.5": np.nan}}).axes[0]
    assert without.lines[0].get_label() == "LoCo"
    figure = plot_per_class({"a": np.array([0.2, np.nan, 0.9]), "b": np.full(3, 0.5)}, NAMES)
    ticks = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert ticks == ["man speaking", "dog barking", "rain"]
    only = plot_per_class({"a": np.array([0.2, np.nan, 0.9])}, NAMES).axes[0]
    assert [tick.get_text() for tick in only.get_yticklabels()] == ["dog barking", "rain"]
    np.testing.assert_allclose(only.lines[0].get_xdata(), [20, 90])


@pytest.mark.parametrize("count", [2, 4, 5, 12])
@pytest.mark.parametrize("name", ["a system", "a system with a setting of its own"])
def test_many_runs_are_named_below_their_lines(name: str, count: int) -> None:
    curve = {"mAP": 0.4} | {f"mAP@0.{i}": 0.9 - i / 10 for i in range(1, 10)}
    figure = plot_map({f"{name} {i}": curve for i in range(count)})
    figure.draw_without_rendering()
    axes = figure.axes[0]
    made = figure.legends[0] if count > 4 else axes.get_legend()
    box = made.get_window_extent()
    assert (box.y1 <= axes.xaxis.label.get_window_extent().y0 + 1) == (count > 4)
    assert (figure.bbox.p0 <= box.p0 + 1).all()  # within the picture, to a pixel
    assert (box.p1 <= figure.bbox.p1 + 1).all()
    assert axes.get_window_extent().height > 150  # the lines keep their room


def test_errors_add_up(diagnosis: dict) -> None:
    figure = plot_errors({"LoCo": diagnosis})
    bars = figure.axes[0].patches
    assert sum(bar.get_width() for bar in bars) == pytest.approx(100)
    assert bars[0].get_width() == pytest.approx(100 * diagnosis["predictions"]["true_positive"])
    assert {"right", "background", "LoCo"} <= set(texts(figure))
    heights = [bar.get_height() for bar in plot_characteristics({"": diagnosis}).axes[0].patches]
    assert len(heights) == 8
    assert heights[6] == pytest.approx(100 * (diagnosis["by_overlap"]["alone"]["mAP"] or 0))


def test_a_panel_can_be_drawn_on_given_axes(log: dict[str, Curve], diagnosis: dict) -> None:
    draw: list[Callable] = [
        lambda axes: plot_losses(log, axes),
        lambda axes: plot_map({"x": {"mAP@0.5": 0.5}}, axes),
        lambda axes: plot_errors({"x": diagnosis}, axes),
    ]
    figure = Figure(layout="constrained")
    for function, axes in zip(draw, figure.subplots(1, 3), strict=True):
        assert function(axes) is figure
    assert [bool(axes.get_title(loc="left")) for axes in figure.axes] == [True] * 3


@pytest.mark.parametrize("vector", ["pdf", "svg"])
def test_saving_writes_png_and_vector(tmp_path: Path, vector: str) -> None:
    before = dict(matplotlib.rcParams)
    figure = plot_map({"LoCo v1.5": {"mAP@0.5": 0.5}})
    png, other = save_figure(figure, tmp_path / "new" / "map_v1.5", vector)  # type: ignore[arg-type]
    assert (png.name, other.name) == ("map_v1.5.png", f"map_v1.5.{vector}")
    assert imread(png).shape == (640, 960, 4)
    content = other.read_bytes()
    assert b"tIoU" in content if vector == "svg" else content.startswith(b"%PDF")
    again = plot_map({"LoCo v1.5": {"mAP@0.5": 0.5}})
    assert save_figure(again, tmp_path / "x.png", vector)[1].read_bytes() == content  # type: ignore[arg-type]
    assert dict(matplotlib.rcParams) == before


def test_numbers_on_axes_are_numbers(log: dict[str, Curve]) -> None:
    """No formula is left in the labels of a logarithmic axis, since none is set."""
    figure = plot_losses(log)
    assert figure.axes[0].get_yscale() == "log"
    written = texts(figure)
    assert not [text for text in written if "$" in text or "math" in text]
    assert {"0.1"} & set(written)


def test_a_log_without_epochs_has_no_best_one() -> None:
    steps = np.arange(1.0, 4)
    log = {"val/mAP": Curve(steps, np.full(3, np.nan), np.array([0.1, 0.3, 0.2]))}
    assert best_epoch(log) is None
    plot_curve({"a": log}, "val/mAP", "", "")


@pytest.mark.parametrize("own", [False, True])
def test_names_in_the_text_of_a_picture(diagnosis: dict, own: bool) -> None:
    """Also in axes of a figure of one's own, where a `$` would begin a formula."""
    values = np.linspace(0.1, 0.9, len(NASTY))
    log = {"val/mAP": Curve(np.arange(3.0), np.arange(3.0), np.ones(3))}

    def axes() -> Any:
        return Figure().subplots() if own else None

    drawn = {
        "ticks": plot_per_class({"a": values}, NASTY, axes=axes()),
        "rows": plot_errors(dict.fromkeys(NASTY, diagnosis), axes()),
        "means": plot_mean_of_std({name: [np.eye(3)] for name in NASTY}, axes()),
        "legend": plot_curve(dict.fromkeys(NASTY, log), "val/mAP", "", "", axes=axes()),
        "below": plot_characteristics(dict.fromkeys(NASTY, diagnosis), axes()),
        "lines": plot_map({name: {"mAP@0.5": 0.5} for name in NASTY}, axes()),
    }
    for what, figure in drawn.items():
        stream = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # letters that the font has not got
            figure.savefig(stream, format="svg")
        written = {" ".join(text.strip("\u200b").split()) for text in svg_texts(stream.getvalue())}
        for name in NASTY:
            expected = shown(name)
            if what in ("ticks", "rows", "means") and len(expected) > 24:
                expected = f"{expected[:23]}…"
            for line in expected.split("\n"):
                assert " ".join(line.split()) in written, (what, line)


def svg_texts(text: str) -> list[str]:
    elements = ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")
    return ["".join(element.itertext()) for element in elements]


@pytest.mark.slow
@pytest.mark.parametrize("vector", ["pdf", "svg"])
def test_names_are_drawn_as_they_are(
    tmp_path: Path, vector: str, diagnosis: dict, recwarn: pytest.WarningsRecorder
) -> None:
    values = np.linspace(0.1, 0.9, len(NASTY))
    log = {"val/mAP": Curve(np.arange(3.0), np.arange(3.0), np.ones(3))}
    first = NASTY[0]
    count = len(NASTY)
    truth = Events(torch.tensor([[1.0, 4.0]]).double().repeat(count, 1), torch.arange(count))
    figures = [
        plot_timeline(truth, {first: FOUND}, NASTY, 10.0, 0.0, first),
        plot_similarity({first: np.eye(40)}, GRID, truth, NASTY, first),
        plot_per_class({first: values}, NASTY),
        plot_errors(dict.fromkeys(NASTY, diagnosis)),
        plot_characteristics({first: diagnosis}),
        plot_map({name: {"mAP@0.5": 0.5} for name in NASTY}),
        plot_curve(dict.fromkeys(NASTY, log), "val/mAP", first, first),
        plot_characteristics(dict.fromkeys(NASTY, diagnosis)),
        plot_mean_of_std({name: [np.eye(3), np.zeros((2, 2))] for name in NASTY}),
    ]
    for number, figure in enumerate(figures):
        _, other = save_figure(figure, tmp_path / str(number), vector)  # type: ignore[arg-type]
        if vector == "svg":
            ElementTree.parse(other)
    assert not [w for w in recwarn if "Glyph" in str(w.message)]
    written = " ".join(texts(figures[0]))
    assert "cash $$" in written
    assert "price $5 or $6" in written


# ---- what is read from a run


def test_the_log_of_a_run(finished_run: Path, tmp_path: Path) -> None:
    log = read_log(finished_run / "logs" / "metrics.csv")
    assert len(log["train/loss"].steps) == 6  # 2 epochs of 3 batches
    assert list(log["val/mAP"].epochs) == [0, 1]
    assert log["lcc/sigma"].values[0] == pytest.approx(1.0)
    with pytest.raises(LocoError, match="cannot be read"):
        read_log(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    with pytest.raises(LocoError, match="no column 'step'"):
        read_log(tmp_path / "other.csv")


def test_a_run_is_read_back(finished_run: Path, tmp_path: Path) -> None:
    run = RunFolder(finished_run)
    assert set(run.predictions) == {video.id for video in run.test_videos}
    assert len(run.test_videos) == 5
    assert set(run.details["per_class"]) == set(run.annotations.class_names)
    assert 0 <= run.metrics["mAP"] <= 1
    with pytest.raises(LocoError, match=r"no config\.yaml"):
        RunFolder(tmp_path)
