"""The run report: one HTML file that shows what a run did, without a network or a library.

The page is `templates/run.html`. Charts are inline SVG from `loco.reporting.figures`, the videos
and the confusion matrix are JSON that the page's own script draws.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
from omegaconf import OmegaConf

from loco.data.annotations import Video
from loco.data.datamodule import AVDataModule
from loco.errors import LocoError, check_number
from loco.evaluation.baselines import baseline_metrics
from loco.evaluation.confusion import confusion
from loco.files import write_text
from loco.reporting import charts
from loco.reporting.comparison import compare, scores_of
from loco.reporting.headline import headline
from loco.reporting.inspection import (
    Space,
    TargetWindows,
    VideoSimilarity,
    has_windows,
    left_out,
    similarities,
    spaces,
    target_windows,
)
from loco.reporting.page import chart_svgs, or_else
from loco.reporting.videos import choose, page_data, video_scores
from loco.runs.pages import render, script_json
from loco.runs.provenance import provenance_rows
from loco.runs.results import TABLE_COLUMNS, evaluation_columns
from loco.runs.run_folder import RunFolder
from loco.training.module import LocalizationModule

log = logging.getLogger(__name__)

MAX_VIDEOS = 100  # that can be looked at in the page
MOST = 8  # confusions that are listed
HERE = "this run"


def write_report(
    run_folder: str | Path,
    *,
    videos: int = MAX_VIDEOS,
    module: LocalizationModule | None = None,
    data: AVDataModule | None = None,
    trust: Sequence[str] = (),
    against: str | Path | None = None,
    video_root: str | Path | None = None,
) -> Path:
    """Write `report.html` into a finished run's folder.

    What cannot be shown (annotations or features that are gone, another logger) is left out, and
    the page says why.

    Args:
        run_folder: what `loco train` left.
        videos: test videos that can be looked at: the best, the worst, others evenly spread.
        module: the trained module, if it is at hand; else the best checkpoint is read.
        data: its data, likewise; else what the folder's configuration names.
        trust: packages besides this suite whose classes the folder may name.
        against: another finished run's folder that it is compared with, which stays as it is.
        video_root: a folder with the films of the videos, `{id}.mp4` and the like.

    Raises:
        LocoError: the folder is not that of a finished run; the two runs cannot be compared.
    """
    run = RunFolder(run_folder, trust)
    if data is not None:
        run.data = data
    films = _film_folder(video_root)
    other = None if against is None else RunFolder(against, trust)
    report = _Report(run, videos, module, other, films)
    path = run.path / "report.html"
    write_text(path, render("run.html", ["loco.reporting"], **report.values(path)))
    return path


def _film_folder(video_root: str | Path | None) -> Path | None:
    if video_root is not None and not Path(video_root).is_dir():
        raise LocoError(f"video_root={video_root}: expected a folder with films, there is none")
    return None if video_root is None else Path(video_root)


class RunReport(lightning.Callback):
    """Writes the report at the end of a run.

    Args:
        enabled: whether it does; `report` of the configuration.
        videos: test videos that can be looked at.
        video_root: a folder with the films of the videos.

    Raises:
        LocoError: there is no such folder.
    """

    def __init__(
        self, enabled: bool = True, videos: int = MAX_VIDEOS, video_root: str | None = None
    ) -> None:
        check_number("videos", videos, 0, whole=True)
        self.enabled = enabled
        self.videos = videos
        self.video_root = _film_folder(video_root)

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        """Write it into the run's folder."""
        if self.enabled:
            path = write_report(
                folder, videos=self.videos, module=module, data=data, video_root=self.video_root
            )
            log.info("%s: open it in a browser", path)


class _Report:
    """Gathers what the template names."""

    def __init__(
        self,
        run: RunFolder,
        videos: int,
        module: LocalizationModule | None,
        other: RunFolder | None,
        films: Path | None,
    ) -> None:
        self.run = run
        self.max_videos = videos
        self.module = module
        self.other = other
        self.films = films
        self.missing: list[str] = []

    def values(self, page: Path) -> dict[str, Any]:
        """What stands for each name."""
        run = self.run
        comparison = None if self.other is None else compare(run, self.other)
        truth: list[Video] = (
            self._or_else("ground truth", lambda: run.test_videos, [])
            if comparison is None
            else comparison.videos
        )
        names = run.annotations.class_names if truth else []
        found = {HERE: run.predictions}
        metrics = {HERE: run.metrics}
        details = {HERE: self._or_else("details by class", lambda: run.details, None)}
        if self.other is not None and comparison is not None:
            found[comparison.name] = self.other.predictions
            for name, of_run in found.items():
                metrics[name], details[name] = scores_of(of_run, truth, names)
        details = {name: of_run for name, of_run in details.items() if of_run}
        by_video = {name: video_scores(of_run, truth, len(names)) for name, of_run in found.items()}
        shown = choose(truth, by_video[HERE], max(self.max_videos, 0))
        seen = self._or_else("similarity matrices", lambda: self._similarities(shown), {})
        windows = self._or_else("target windows", lambda: self._windows(shown), [])
        told = self._confusion(truth, names)
        drawn = page_data(shown, names, found, by_video, seen, self.films, page)
        return {
            "head": headline(run),
            "folder": run.path.resolve().name,
            "command": run.command,
            "provenance": provenance_rows(run.path),
            "comparison": comparison,
            "scores": self._baselines(truth, names) | dict(reversed(metrics.items())),
            "columns": TABLE_COLUMNS,
            "tested": len(truth or run.predictions),
            "sections": self._sections(metrics, details, found, truth, names, seen, windows),
            "classes": _classes(details, truth, names),
            "confusion": told,
            "data": script_json(drawn | ({"confusion": told["data"]} if told else {})),
            "config": OmegaConf.to_yaml(run.config),
            "missing": self.missing,
        }

    def _or_else(self, what: str, make: Callable[[], Any], otherwise: Any) -> Any:
        return or_else(what, make, otherwise, self.missing)

    def _baselines(self, truth: list[Video], names: Sequence[str]) -> dict[str, dict[str, float]]:
        if not truth:
            return {}
        train = [v for v in self.run.annotations.values() if v.subset == "train"]
        return baseline_metrics(train, truth, len(names))

    # -- charts -----------------------------------------------------------------------------------

    def _sections(
        self,
        metrics: Mapping[str, Mapping[str, float]],
        details: Mapping[str, Mapping[str, Any]],
        found: Mapping[str, Any],
        truth: list[Video],
        names: Sequence[str],
        seen: Mapping[Space, list[VideoSimilarity]],
        windows: tuple[str, list[TargetWindows]],
    ) -> dict[str, Any]:
        """Charts by section; `windows` has the name of its video in front."""
        curves = {} if self.run.evaluated else self._or_else(
            "training curves", lambda: self.run.log, {}
        )  # fmt: skip
        logs = {HERE: curves}
        for name in [name for name in metrics if name != HERE]:
            assert self.other is not None
            logs[name] = self.other.curves
        diagnoses = {
            name if len(details) > 1 else "": of_run["diagnosis"]
            for name, of_run in details.items()
        }
        video, of_video = windows or ("", [])
        groups = {
            "scores": charts.score_charts(metrics, found, truth, len(names)),
            "training": charts.training_charts(logs),
            "mistakes": charts.mistake_charts(diagnoses, seen),
        }
        drawn = {name: chart_svgs(group, self.missing) for name, group in groups.items()}
        drawn["windows"] = chart_svgs(charts.window_charts(of_video), self.missing, height=4.6)
        return drawn | {"windows_of": video}

    def _confusion(self, truth: list[Video], names: Sequence[str]) -> dict[str, Any] | None:
        """The matrix as [row, column, count], and the most frequent confusions in words."""
        if not sum(len(video.events) for video in truth):
            return None
        columns = evaluation_columns(self.run.predictions, truth)
        counts, least = confusion(columns, len(names))
        cells = np.argwhere(counts)
        pairs = [(i, j) for i, j in cells.tolist() if i != j and max(i, j) < len(names)]
        pairs.sort(key=lambda pair: (-counts[pair], pair))
        return {
            "least": least,
            "data": [[i, j, int(counts[i, j])] for i, j in cells.tolist()],
            "most": [
                (names[i], names[j], int(counts[i, j]), counts[i, j] / counts[i].sum())
                for i, j in pairs[:MOST]
            ],
        }

    # -- videos -----------------------------------------------------------------------------------

    def _similarities(self, shown: list[Video]) -> dict[Space, list[VideoSimilarity]]:
        """The cross-similarities of the videos that are shown, by space."""
        if not shown:
            return {}
        module = self.run.module() if self.module is None else self.module.eval()
        self.module = module
        if not spaces(module):
            self.missing.append(f"No {left_out(module)[0]}.")
            return {}
        dataset, keys = self._samples(shown)
        if not keys:
            return {}  # their features are gone
        batches = [dataset[keys[i : i + 8]] for i in range(0, len(keys), 8)]
        seen = {space: similarities(module, batches, space) for space in spaces(module)}
        if not all(np.isfinite(v.matrix).all() for of_space in seen.values() for v in of_space):
            raise ValueError("the model's features are not finite")
        return seen

    def _windows(self, shown: list[Video]) -> tuple[str, list[TargetWindows]] | None:
        """Those of the shown video with the most events, and its name."""
        if not shown or self.module is None or not has_windows(self.module):
            return None
        video = max(shown, key=lambda video: len(video.events))
        dataset, keys = self._samples([video])
        return video.id, target_windows(self.module, dataset[keys])[0]

    def _samples(self, videos: list[Video]) -> tuple[Any, list[tuple[int, int]]]:
        """The test set, and the keys of videos in it."""
        data = self.run.data
        data.setup("test")
        dataset = data.dataset("test")
        places = {video_id: i for i, video_id in enumerate(dataset.video_ids)}
        return dataset, [(0, places[video.id]) for video in videos if video.id in places]


def _classes(
    details: Mapping[str, Mapping[str, Any]], truth: list[Video], names: Sequence[str]
) -> list[dict[str, Any]]:
    """Rows of the table of classes, the best one first."""
    if HERE not in details:
        return []
    mine = details[HERE]["per_class"]
    other = next((of_run["per_class"] for name, of_run in details.items() if name != HERE), None)
    counts = Counter(names[label] for video in truth for label in video.events.labels.tolist())
    rated = [name for name, precision in mine.items() if precision["mAP"] is not None]
    return [
        {
            "name": name,
            "events": counts[name],
            "half": mine[name]["mAP@0.5"],
            "average": mine[name]["mAP"],
            "other": None if other is None else other[name]["mAP"],
        }
        for name in sorted(rated, key=lambda name: -mine[name]["mAP"])
    ]
