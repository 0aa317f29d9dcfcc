"""What the notebooks start from: a finished run, or sweep, made in small where there is none.

Runs are looked for where the commands leave them, in `outputs/train` and `multirun/train` of the
repository, or of the working folder where loco is installed without one. Small ones go to
`outputs/notebooks`, are made once, and take tens of seconds.

    LOCO_RUN, LOCO_SWEEP   the folder to look at, instead of the newest
    LOCO_OUTPUTS           instead of that `outputs`
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from loco.errors import LocoError
from loco.files import read_yaml
from loco.runs.job_status import job_folders, status
from loco.runs.run_folder import RunFolder
from loco.runs.settings import flat

_REPOSITORY = Path(__file__).resolve().parents[3]
HOME = _REPOSITORY if (_REPOSITORY / "notebooks").is_dir() else Path.cwd()
SMALL = (
    "data.generator.num_videos=[64,12,24]", "data.generator.num_classes=3",
    "data.generator.difficulty=0.5",
    "data.generator.visual_channels=[24,24]", "data.generator.audio_channels=[24]",
    "data.batch_size=8", "model.dim=64", "model.heads=4", "trainer.max_epochs=8",
    "optimizer.lr=2e-3", "optimizer.warmup_epochs=1", "trainer.log_every_n_steps=1",
    "trainer.accelerator=cpu", "callbacks.progress=null", "callbacks.summary=null",
    "+trainer.enable_progress_bar=false", "+trainer.enable_model_summary=false", "report=false",
)  # fmt: skip
SWEEP = ("attention=none,cdp", "correspondence=none,learnable_gaussian", "trainer.max_epochs=3")


def finished_run(folder: str | Path | None = None, *, with_lcc: bool = False) -> RunFolder:
    """A finished run: the given one, or LOCO_RUN, or the newest, or a small one that is made now.

    Args:
        folder: of the run; None: not given.
        with_lcc: only one that was trained with LCC will do.

    Raises:
        LocoError: the folder is not that of such a finished run; the small run failed.
    """
    folder = folder or os.environ.get("LOCO_RUN")
    if folder:
        run = RunFolder(folder)
        if with_lcc and not _has_lcc(run):
            raise LocoError(f"{folder} was trained without LCC; take a run that has it")
        return run
    for path in _newest(_outputs() / "train"):
        if _has_model(path) and (not with_lcc or _has_lcc(RunFolder(path))):
            return RunFolder(path)
    return RunFolder(_small_run("run"))


def twin_of(run: RunFolder, *overrides: str) -> RunFolder | None:
    """A finished run that differs from `run` in nothing but these choices.

    Args:
        run: the run.
        overrides: of groups, such as "correspondence=none".

    Returns:
        the newest one beside it; of a small run one that is made now; None of another run, whose
        repetition could take days.

    Raises:
        LocoError: the small run failed.
    """
    groups = [text.partition("=")[0] for text in overrides]
    for path in _newest(run.path.parent):
        if _has_model(path) and _differ(run, RunFolder(path), groups, overrides):
            return RunFolder(path)
    if run.path.parent == _outputs() / "notebooks":
        return RunFolder(_small_run("+".join(overrides).replace("=", "-"), overrides))
    return None


def finished_sweep(folder: str | Path | None = None) -> Path:
    """The folder of a sweep: the given one, or LOCO_SWEEP, or the newest, or a small one made now.

    Raises:
        LocoError: the folder holds no finished job; the small sweep failed.
    """
    folder = folder or os.environ.get("LOCO_SWEEP")
    if folder:
        if not _finished_jobs(Path(folder)):
            raise LocoError(f"{folder}: expected the folder of a sweep with finished jobs")
        return Path(folder)
    for path in _newest(_outputs().parent / "multirun" / "train"):
        if _finished_jobs(path) > 1:
            return path
    path = _outputs() / "notebooks" / "sweep"
    if _finished_jobs(path) < 4:
        _train(path, "-m", *SMALL, *SWEEP, f"hydra.sweep.dir={path}", "resume_sweep=true")
    return path


def _small_run(name: str, overrides: Iterable[str] = ()) -> Path:
    folder = _outputs() / "notebooks" / name
    if not _has_model(folder):
        _train(folder, *SMALL, *overrides, f"hydra.run.dir={folder}")
    return folder


def _train(folder: Path, *words: str) -> None:
    print(f"training in small, once; it goes to {folder}")
    data = _outputs() / "notebooks" / "data"
    done = subprocess.run(
        [sys.executable, "-m", "loco.cli", "train", *words, f"data.root={data}"],
        cwd=HOME, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise LocoError(f"training in small failed:\n{done.stderr[-2000:]}")


def _outputs() -> Path:
    return Path(os.environ.get("LOCO_OUTPUTS", HOME / "outputs")).resolve()


def _newest(parent: Path) -> list[Path]:
    """The folders in a folder, the newest first."""
    found = [path for path in parent.glob("*") if path.is_dir()]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def _has_model(folder: Path) -> bool:
    names = ("config.yaml", "metrics.json", "predictions.json", "checkpoints/last.ckpt")
    return all((folder / name).is_file() for name in names)


def _has_lcc(run: RunFolder) -> bool:
    target = OmegaConf.select(run.config, "correspondence._target_") or ""
    return str(target).endswith("CorrespondenceLoss")


def _finished_jobs(folder: Path) -> int:
    """How many were tested; what was only measured has no scores."""
    found = (path for path in job_folders(folder) if status(path) == "finished")
    return sum((path / "metrics.json").is_file() for path in found)


def _differ(
    run: RunFolder, other: RunFolder, groups: Iterable[str], overrides: Iterable[str]
) -> bool:
    """Whether `other` was trained as `run` but for these groups, which it has as overridden."""

    def rest(config: Any) -> dict[str, Any]:
        plain: Any = OmegaConf.to_container(config)
        for group in groups:
            plain.pop(group, None)
            plain["model"].pop(group, None)
        return flat(OmegaConf.create(plain))

    notes = other.path / ".hydra" / "overrides.yaml"
    if not notes.is_file() or not set(overrides) <= set(read_yaml(notes)):
        return False
    return rest(run.config) == rest(other.config)
