"""The pictures of README and docs, drawn from finished runs: make docs-figures RUN="FOLDER FOLDER".

Without RUN they show the newest run of `make demo`. That one has no LCC: the picture of LCC's space
is of the second run, one of `loco train`, and stays as it is without one. The features and pages of
runs must be where they were left; the page is photographed by headless Chromium, and kept as it is
where there is none. The same runs give the same pictures.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from PIL import Image

from loco.data.annotations import Video
from loco.data.synthetic.datamodule import SyntheticDataModule
from loco.errors import LocoError
from loco.evaluation.baselines import baseline_metrics
from loco.evaluation.metrics import DetectionMAP
from loco.files import replacing
from loco.reporting.figures import plot_map, plot_similarity, plot_timeline, plot_validation
from loco.reporting.figures.style import INK, TextFigure, legend
from loco.reporting.figures.synthetic import plot_properties
from loco.reporting.inspection import similarities
from loco.runs.checkpoints import build_module
from loco.runs.run_folder import RunFolder

ROOT = Path(__file__).resolve().parents[1]
PICTURES = ROOT / "docs" / "figures"
WIDTH = 1400  # pixels, twice what a page shows
PAGE = (1000, 1140)  # pixels of the page that are photographed
TIOU = 0.5


def draw(run: RunFolder, folder: Path = PICTURES, with_lcc: RunFolder | None = None) -> list[Path]:
    """Draw all pictures of a run, and of one with LCC what LCC learns; returns their files.

    Raises:
        LocoError: a part of the run, or its data, is gone.
    """
    video = typical_video(run)
    figures = {"timeline": timeline(run, video), "map": curves(run)}
    if with_lcc is not None:
        figures["similarity"] = before_and_after(with_lcc, typical_video(with_lcc))
    if isinstance(run.data, SyntheticDataModule):
        figures["data"] = plot_properties(run.data.folder, run.data.layout)
    folder.mkdir(parents=True, exist_ok=True)
    made = [save(rendered(figure), folder / f"{name}.png") for name, figure in figures.items()]
    page = photograph(run.path / "report.html")
    return made if page is None else [*made, save(page, folder / "report.png")]


def typical_video(run: RunFolder) -> Video:
    """Of the test videos with 4 to 6 events of three classes or more, the median by its own mAP.

    Of a data set without such videos it is the one with the most classes.
    """
    several = [
        video
        for video in run.test_videos
        if 4 <= len(video.events) <= 6 and len(video.events.labels.unique()) >= 3
    ]
    if not several:
        return max(run.test_videos, key=lambda video: len(video.events.labels.unique()))
    scores = []
    for video in several:
        metric = DetectionMAP(len(run.annotations.class_names), (TIOU,))
        metric.update([run.predictions[video.id]], [video.events])
        scores.append(float(metric.compute()["mAP"]))
    return several[int(np.argsort(scores, kind="stable")[len(several) // 2])]


def timeline(run: RunFolder, video: Video) -> Figure:
    names = run.annotations.class_names
    figure = plot_timeline(
        video.events, {"": run.predictions[video.id]}, names, video.duration, title=video.id
    )
    figure.set_size_inches(7, max(2.4, 7 / 6 * figure.get_figheight()))
    return figure


def before_and_after(run: RunFolder, video: Video) -> Figure:
    """The similarities of a video in LCC's space, with the run's first weights and its best."""
    module = run.module()
    run.data.setup("test")
    dataset = run.data.dataset("test")
    batch = dataset[[(0, dataset.video_ids.index(video.id))]]
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(int(run.config.seed))
        untrained = build_module(dict(module.hparams)).eval()
    seen = {
        name: similarities(of, [batch], "common")[0]
        for name, of in (("before training", untrained), ("after", module))
    }
    figure = plot_similarity(
        {name: of_video.matrix for name, of_video in seen.items()}, batch.grid, video.events,
        run.annotations.class_names, title=video.id, share_scale=False,
    )  # fmt: skip
    figure.set_size_inches(7.6, 4.1)
    return figure


def curves(run: RunFolder) -> Figure:
    figure = TextFigure(figsize=(7.6, 3.2), layout="constrained")
    left, right = figure.subplots(1, 2)
    classes = len(run.annotations.class_names)
    train = run.annotations.split("train")
    plot_map(baseline_metrics(train, run.test_videos, classes) | {"this run": run.metrics}, left)
    left.set_ylim(0, 1.35 * left.get_ylim()[1])  # room for the legend
    legend(left, loc="upper right")
    left.set_title("Test mAP", fontsize=10, color=INK, loc="left", fontweight="bold")
    plot_validation(run.log, right)
    return figure


def rendered(figure: Figure) -> Image.Image:
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=WIDTH / figure.get_figwidth())
    return Image.open(stream).convert("RGB")


def photograph(page: Path) -> Image.Image | None:
    """The top of a page as a browser shows it; None without Chromium."""
    browsers = map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))
    browser = next(filter(None, browsers), None)
    if browser is None or not page.is_file():
        return None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.png"
        subprocess.run(
            [
                browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                f"--user-data-dir={folder}/profile", "--virtual-time-budget=5000",
                f"--window-size={PAGE[0]},{PAGE[1]}",
                f"--force-device-scale-factor={WIDTH / PAGE[0]}",
                f"--screenshot={file}", page.resolve().as_uri(),
            ],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
        with Image.open(file) as image:
            return image.convert("RGB").quantize(256, dither=Image.Dither.NONE)


def save(image: Image.Image, file: Path) -> Path:
    with replacing(file) as unfinished:
        image.save(unfinished, format="png", optimize=True)
    return file


def newest_demo() -> Path:
    """The newest finished run of `make demo`."""
    for folder in sorted((ROOT / "outputs" / "train").glob("*"), reverse=True):
        notes = folder / ".hydra" / "overrides.yaml"
        finished = (folder / "metrics.json").is_file() and notes.is_file()
        if finished and "experiment=demo" in OmegaConf.load(notes):
            return folder
    raise LocoError("no finished run of the demo below outputs/train; run: make demo")


if __name__ == "__main__":
    try:
        if len(sys.argv) > 3:
            raise LocoError(f"expected a run, and one with LCC at most; got {len(sys.argv) - 1}")
        runs = [RunFolder(path) for path in sys.argv[1:] or [newest_demo()]]
        for drawn in draw(runs[0], with_lcc=runs[1] if runs[1:] else None):
            print(drawn, f"{drawn.stat().st_size / 1e3:.0f} kB")
    except (LocoError, ValueError) as error:  # ValueError: a second run without LCC
        sys.exit(f"error: {error}")
