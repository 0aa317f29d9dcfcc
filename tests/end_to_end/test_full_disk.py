"""A disk that is full: an error of a line, and no half of a file under its own name.

A limit on the size of files stands for it: writing beyond fails in the same call. Each command runs
in a process of its own, as the limit stays with it.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import lightning
import pytest
import torch
from lightning.pytorch.loggers import CSVLogger

from clips import tone, write_clip
from helpers import tiny_config
from loco.cli import main
from loco.data.extraction import ExtractedVideo, Extraction, write_extraction
from loco.data.synthetic.tasks import write_task
from loco.errors import LocoError, OutputError
from loco.files import write_text
from loco.reporting.figures import plot_map, save_figure
from loco.reporting.report import write_report
from loco.runs.export import FORMATS, write_predictions
from loco.runs.logs import continue_log
from loco.runs.results import write_json
from loco.runs.train import train
from loco.structures import Events
from loco.training.callbacks import BestCheckpoint
from loco.video.playable import remux


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Sets a limit in bytes on what is written, until the end of the test."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(size: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))

    yield limit
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


EVENTS = Events(torch.tensor([[0.0, 1.0]]).double().repeat(500, 1), torch.zeros(500).long(),
                torch.ones(500).double())  # fmt: skip


def take_best_along(run: Path, folder: Path) -> None:
    """As a resumed run does that writes elsewhere."""
    callback = BestCheckpoint(str(folder))
    callback.best_model_score = torch.tensor(0.5)
    trainer = lightning.Trainer(logger=False, enable_progress_bar=False)
    trainer._checkpoint_connector._ckpt_path = run / "checkpoints" / "last.ckpt"
    callback.on_fit_start(trainer, None)


WRITERS: dict[str, Callable[[Path, Path], object]] = {
    **{
        name: lambda folder, run, name=name: write_predictions(
            folder, {"a": EVENTS}, ["x" * 9], [name]
        )
        for name in FORMATS
    },
    "text": lambda folder, run: write_text(folder / "a.txt", "é" * 9000),
    "json": lambda folder, run: write_json(folder / "a.json", ["é"] * 9000),
    "task": lambda folder, run: write_task(run, "audio"),
    "record": lambda folder, run: write_extraction(
        folder, Extraction({}, {}, {}, {}, {"a": ExtractedVideo("é" * 9000, 1, 1.0, 1)})
    ),
    "log": lambda folder, run: continue_log([CSVLogger(folder, "", "")], run / "long", 10**6),
    "best": lambda folder, run: take_best_along(run, folder),
    "film": lambda folder, run: remux(run / "a.mkv", folder / "a.mp4"),
    "figure": lambda folder, run: save_figure(plot_map({"a": {"mAP@0.5": 0.1}}), folder / "a"),
    "report": lambda folder, run: write_report(run),
    "table": lambda folder, run: main(["tabulate", str(run), "--html", str(folder / "a.html")]),
    "plot": lambda folder, run: main(
        ["describe", str(run / "annotations.json"), "--plot", str(folder / "a.png")]
    ),
}


@pytest.fixture(scope="module")
def run(finished_run: Path, synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    for name in ("config.yaml", "metrics.json", "predictions.json", "logs/metrics.csv"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes((finished_run / name).read_bytes())
    (folder / "report.html").write_text("the one before")
    (folder / ".hydra").mkdir()
    (folder / ".hydra" / "overrides.yaml").write_text("[]")
    (folder / ".hydra" / "config.yaml").write_text("seed: 0")
    (folder / ".hydra" / "hydra.yaml").write_text("hydra: {runtime: {choices: {}}}")
    source = (synthetic_root / "annotations.json").read_bytes()
    (folder / "annotations.json").write_bytes(source)
    (folder / "sources.json").write_bytes((synthetic_root / "sources.json").read_bytes())
    best = folder / "checkpoints" / "best.ckpt"
    best.parent.mkdir()
    best.write_bytes(bytes(9000))
    long = folder / "long" / "logs" / "metrics.csv"
    long.parent.mkdir(parents=True)
    long.write_text("step,loss\n" + "".join(f"{step},0.5\n" for step in range(900)))
    write_clip(folder / "a.mkv", sound=tone(0, 1))
    return folder


@pytest.mark.parametrize("writer", WRITERS)
def test_nothing_is_left_half_written(
    writer: str, run: Path, tmp_path: Path, full: Callable[[int], None],
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    full(3000)
    try:
        status = WRITERS[writer](tmp_path / "out", run)
        told = capsys.readouterr().err if status == 1 else None
    except OutputError as error:
        told = str(error)
    assert told is not None
    assert "cannot be written: File too large" in told
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == []
    assert (run / "report.html").read_text() == "the one before"
    assert not list(run.rglob("*.part"))


PROGRAM = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
from loco.cli import main
sys.exit(main(sys.argv[2:]))
"""


def command(limit: int, *words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    # without what has it write its coverage, which would be too large as well
    environment = {k: v for k, v in os.environ.items() if not k.startswith("COVERAGE_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(limit), *words],
        cwd=cwd, capture_output=True, text=True, env=environment,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("limit", [100, 1500, 20_000])
def test_a_training_says_so(synthetic_root: Path, tmp_path: Path, limit: int) -> None:
    """Whatever is the first to be too large: the configuration, the log, a checkpoint, results."""
    train(tiny_config(synthetic_root, tmp_path / "made", "trainer.max_epochs=0"))  # the data
    overrides = [
        "train", f"data.root={synthetic_root}", f"hydra.run.dir={tmp_path / 'run'}",
        "data.generator.num_videos=[12,4,5]", "data.generator.num_classes=3",
        "data.generator.visual_channels=[4,3]", "data.generator.audio_channels=[5]",
        "data.batch_size=4", "model.dim=16", "model.heads=2", "trainer.max_epochs=2",
        "trainer.accelerator=cpu", "callbacks.progress=null", "hydra.output_subdir=null",
        "trainer.log_every_n_steps=1", "hydra/job_logging=none",
    ]  # fmt: skip
    done = command(limit, *overrides, cwd=tmp_path)
    assert done.returncode == 1, done.stderr[-3000:]
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "File too large" in line
    for path in (tmp_path / "run").rglob("*"):
        assert not path.name.endswith(".part"), path
        if path.suffix == ".json":
            json.loads(path.read_text("utf-8"))
        if path.suffix == ".ckpt":
            torch.load(path, weights_only=True)


def test_an_error_of_the_system_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LocoError, match=r"a\.txt: cannot be written: \w+"):
        write_text(tmp_path / "file" / "a.txt", "")
