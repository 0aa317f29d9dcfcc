"""The run report: one HTML file that shows what a run did, without a network or a library.

The page is `report_template.html`; its tokens @@NAME@@ are filled here, charts as inline SVG from
`loco.reporting.figures`, the videos as JSON that the page's own script draws.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import lightning
import matplotlib
import numpy as np
from matplotlib.figure import Figure
from omegaconf import OmegaConf

from loco.data.annotations import Video
from loco.data.datamodule import AVDataModule
from loco.errors import check_number
from loco.evaluation.baselines import baseline_metrics
from loco.evaluation.similarity import mean_of_std, similarity_by_distance
from loco.files import write_text
from loco.reporting.figures import (
    plot_characteristics,
    plot_coherence,
    plot_correspondence,
    plot_errors,
    plot_losses,
    plot_map,
    plot_validation,
)
from loco.reporting.figures.style import SEQUENTIAL
from loco.reporting.inspection import (
    SPACE_NAMES,
    Space,
    VideoSimilarity,
    left_out,
    similarities,
    spaces,
)
from loco.reporting.page import escaped, inline_svg, or_else, png_uri, script_json
from loco.reporting.provenance import provenance_html
from loco.runs.results import TABLE_COLUMNS
from loco.runs.run_folder import RunFolder
from loco.structures import Events
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

MAX_VIDEOS = 100  # that can be looked at in the page


def write_report(
    run_folder: str | Path,
    *,
    videos: int = MAX_VIDEOS,
    module: LocalizationModule | None = None,
    data: AVDataModule | None = None,
    trust: Sequence[str] = (),
) -> Path:
    """Write `report.html` into a finished run's folder.

    What cannot be shown (annotations or features that are gone, another logger) is left out, and
    the page says why.

    Args:
        run_folder: what `loco train` left.
        videos: test videos that can be looked at, evenly spread over all of them.
        module: the trained module, if it is at hand; else the best checkpoint is read.
        data: its data, likewise; else what the folder's configuration names.
        trust: packages besides this suite whose classes the folder may name.

    Raises:
        LocoError: the folder is not that of a finished run.
    """
    run = RunFolder(run_folder, trust)
    if data is not None:
        run.data = data
    report = _Report(run, videos, module)
    template = resources.files("loco.reporting").joinpath("report_template.html").read_text("utf-8")
    values = report.values()
    page = re.sub(r"@@([A-Z_]+)@@", lambda match: values[match[1]], template)
    path = report.run.path / "report.html"
    write_text(path, page)
    return path


class RunReport(lightning.Callback):
    """Writes the report at the end of a run.

    Args:
        enabled: whether it does; `report` of the configuration.
        videos: test videos that can be looked at.
    """

    def __init__(self, enabled: bool = True, videos: int = MAX_VIDEOS) -> None:
        check_number("videos", videos, 0, whole=True)
        self.enabled = enabled
        self.videos = videos

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        """Write it into the run's folder."""
        if self.enabled:
            path = write_report(folder, videos=self.videos, module=module, data=data)
            log.info("%s: open it in a browser", path)


class _Report:
    """Gathers what the template's tokens stand for."""

    def __init__(self, run: RunFolder, videos: int, module: LocalizationModule | None) -> None:
        self.run = run
        self.max_videos = videos
        self.module = module
        self.missing: list[str] = []

    def values(self) -> dict[str, str]:
        """The text of each token."""
        run = self.run
        truth = self._or_else("ground truth", lambda: run.test_videos, [])
        details = self._or_else("details by class", lambda: run.details, None)
        names = run.annotations.class_names if truth else []
        rows = {"this run": run.metrics}
        if truth:
            train = [video for video in run.annotations.values() if video.subset == "train"]
            rows = baseline_metrics(train, truth, len(names)) | rows
        count = min(max(self.max_videos, 0), len(truth))
        shown = [truth[i * len(truth) // count] for i in range(count)]
        seen = self._or_else("similarity matrices", lambda: self._similarities(shown), {})
        charts = self._charts(details, seen)
        return {
            "TITLE": escaped(run.path.resolve().name),
            "COMMAND": (f"<pre>{escaped(run.command)}</pre>" if run.command else "")
            + provenance_html(run.path),
            "NUMBERS": _numbers(rows),
            "CAPTION": f"Test mAP in percent, {len(run.predictions)} videos.",
            "CHARTS": "\n".join(charts),
            "CLASSES": _classes(details["per_class"], truth, names) if details else "",
            "DATA": script_json(self._data(shown, names, seen)),
            "CONFIG": escaped(OmegaConf.to_yaml(run.config)),
            "MISSING": "".join(f"<li>{escaped(line)}</li>" for line in self.missing),
        }

    def _or_else(self, what: str, make: Callable[[], Any], otherwise: Any) -> Any:
        return or_else(what, make, otherwise, self.missing)

    # -- charts -----------------------------------------------------------------------------------

    def _charts(
        self, details: dict[str, Any] | None, seen: Mapping[Space, list[VideoSimilarity]]
    ) -> list[str]:
        run = self.run
        figures: dict[str, Callable[[], Figure]] = {
            "mAP": lambda: plot_map({"this run": run.metrics})
        }
        trained = not str(run.config.get("task", "")).startswith("loco.runs.evaluate.")
        curves = self._or_else("training curves", lambda: run.log, {}) if trained else {}
        if "train/loss" in curves:
            figures["losses"] = lambda: plot_losses(curves)
        if "val/mAP" in curves:
            figures["validation"] = lambda: plot_validation(curves)
        if "lcc/temperature" in curves:
            figures["correspondence"] = lambda: plot_correspondence(curves)
        if details:
            diagnosis = details["diagnosis"]
            figures["mistakes"] = lambda: plot_errors({"": diagnosis})
            figures["kinds of events"] = lambda: plot_characteristics({"": diagnosis})
        if seen:
            figures["coherence"] = lambda: _coherence(seen)
        drawn = (
            self._or_else(f"chart of {what}", lambda: inline_svg(make(), f"f{i}"), "")  # noqa: B023
            for i, (what, make) in enumerate(figures.items())
        )
        return [f"<figure>{chart}</figure>" for chart in drawn if chart]

    # -- videos -----------------------------------------------------------------------------------

    def _similarities(self, shown: list[Video]) -> dict[Space, list[VideoSimilarity]]:
        """The cross-similarities of the videos that are shown, by space."""
        if not shown:
            return {}
        module = self.run.module() if self.module is None else self.module.eval()
        if not spaces(module):
            self.missing.append(f"No {left_out(module)[0]}.")
            return {}
        data = self.run.data
        data.setup("test")
        dataset = data.dataset("test")
        places = {video_id: i for i, video_id in enumerate(dataset.video_ids)}
        keys = [(0, places[video.id]) for video in shown if video.id in places]
        batches = [dataset[keys[i : i + 8]] for i in range(0, len(keys), 8)]
        seen = {space: similarities(module, batches, space) for space in spaces(module)}
        if not all(np.isfinite(v.matrix).all() for of_space in seen.values() for v in of_space):
            raise ValueError("the model's features are not finite")
        return seen

    def _data(
        self, shown: list[Video], names: list[str], seen: Mapping[Space, list[VideoSimilarity]]
    ) -> dict[str, Any]:
        """What the page's script draws; see `_compact` for the events."""
        matrices: dict[str, list[dict[str, Any]]] = {}
        scales = []
        for place, (space, of_space) in enumerate(seen.items()):
            low, high = np.percentile(np.concatenate([v.matrix.ravel() for v in of_space]), [1, 99])
            spread = mean_of_std(video.matrix for video in of_space)
            name = SPACE_NAMES[space]
            scales.append({"name": name, "low": low, "high": high, "meanOfStd": spread})
            for video in of_space:
                end = video.grid.to_seconds(len(video.matrix) - 0.5)
                entry = {
                    "scale": place,
                    "image": png_uri(video.matrix, float(low), float(high)),
                    "start": video.grid.to_seconds(-0.5),
                    "end": end,
                    "std": float(video.matrix.std()),
                }
                matrices.setdefault(video.video_id, []).append(entry)
        colors = matplotlib.colormaps[SEQUENTIAL](np.linspace(0, 1, 9))
        return {
            "classes": names,
            "palette": [matplotlib.colors.to_hex(color) for color in colors],
            "scales": scales,
            "videos": [
                {
                    "id": video.id,
                    "duration": video.duration,
                    "truth": _compact(video.events),
                    "found": _compact(self.run.predictions[video.id]),
                    "matrices": matrices.get(video.id, []),
                }
                for video in shown
            ],
        }


def _coherence(seen: Mapping[Space, list[VideoSimilarity]]) -> Figure:
    grid = next(iter(seen.values()))[0].grid
    reach = round(20 * grid.fps / grid.stride)
    coherence = {
        SPACE_NAMES[space]: similarity_by_distance(
            [video.matrix for video in of_space],
            [video.events.segments.numpy() for video in of_space],
            grid,
            reach,
        )
        for space, of_space in seen.items()
    }
    return plot_coherence(coherence, grid)


def _numbers(rows: Mapping[str, Mapping[str, float]]) -> str:
    """The table of mAP, a row for each system, in percent."""
    heads = "".join(
        f'<th scope="col">{"Avg." if c == "mAP" else c.removeprefix("mAP@")}</th>'
        for c in TABLE_COLUMNS
    )
    body = "".join(
        f'<tr><th scope="row">{escaped(name)}</th>'
        + "".join(f"<td>{100 * metrics[c]:.1f}</td>" for c in TABLE_COLUMNS)
        + "</tr>"
        for name, metrics in rows.items()
    )
    return f'<thead><tr><th scope="col">tIoU</th>{heads}</tr></thead><tbody>{body}</tbody>'


def _classes(
    per_class: Mapping[str, Mapping[str, float | None]], truth: list[Video], names: list[str]
) -> str:
    """Rows of the table of classes, the best one first."""
    counts = Counter(names[label] for video in truth for label in video.events.labels.tolist())
    rated = {name: ap for name, ap in per_class.items() if ap["mAP"] is not None}
    rows = []
    for name in sorted(rated, key=lambda name: -(rated[name]["mAP"] or 0.0)):
        half, average = (100 * (rated[name][key] or 0.0) for key in ("mAP@0.5", "mAP"))
        rows.append(
            f'<tr><th scope="row">{escaped(name)}</th><td>{counts[name] or ""}</td>'
            f"<td>{half:.1f}</td><td>{average:.1f}</td>"
            f'<td class="bar"><span style="width:{average:.1f}%"></span></td></tr>'
        )
    return "".join(rows)


def _compact(events: Events) -> list[list[int]]:
    """[start, end, label, score] of each event: hundredths of a second, thousandths of a score."""
    scores = np.ones(len(events)) if events.scores is None else events.scores.numpy()
    table = np.column_stack([100 * events.segments.numpy(), events.labels.numpy(), 1000 * scores])
    return np.round(table).astype(int).tolist()
