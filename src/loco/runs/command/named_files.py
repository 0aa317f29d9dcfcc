"""What a command's words name on disk, looked for before anything slow is imported."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from loco.errors import (
    AnnotationError,
    CheckpointError,
    FeatureError,
    OutputError,
    SettingError,
    VideoError,
)
from loco.runs.folders import holds_run, refuse_training, requeued


def find_checkpoint(path: str | Path, best: bool = False, setting: str = "ckpt_path") -> Path:
    """A checkpoint file, or a run's folder: its `last.ckpt`.

    Args:
        path: of either.
        best: in a folder, rather its `best.ckpt`, which is what a run tests.
        setting: what errors call the path.

    Raises:
        CheckpointError: there is none, or the folder holds several runs.
    """
    if not str(path).strip():
        raise CheckpointError(f"{setting}=: expected a checkpoint or a run's folder, got nothing")
    path = Path(path)
    if path.is_file():
        return path
    if not path.is_dir():
        raise CheckpointError(f"{setting}={path}: expected a checkpoint or a run's folder")
    tasks = sorted(file.parent.name for file in path.glob("checkpoints/*/best.ckpt"))
    if best and tasks:
        raise CheckpointError(
            f"{setting}={path}: a training of several tasks; give the folder of one of them in it: "
            + ", ".join(tasks)
        )
    for name in ("best.ckpt", "last.ckpt") if best else ("last.ckpt",):
        # rglob goes into no linked folder, which a job taken from another sweep has
        linked = (path.glob(f"{job}checkpoints/{name}") for job in ("", "*/"))
        found = sorted({*path.rglob(name), *chain(*linked)}, key=lambda file: file.stat().st_mtime)
        own = [file for file in found if file.parent in (path, path / "checkpoints")]
        runs = {file.parent for file in found}
        if not own and len(runs) > 1:
            raise CheckpointError(
                f"{setting}={path}: {len(runs)} runs are in this folder; give the folder of one of "
                f"them, such as {_run_of(found[-1])}, the newest"
            )
        if found:
            return (own or found)[-1]
    raise CheckpointError(
        f"{setting}={path}: no {'best.ckpt and no ' if best else ''}last.ckpt in this folder"
    )


def _run_of(checkpoint: Path) -> Path:
    """The folder of the run that wrote a checkpoint."""
    folder = checkpoint.parent
    return folder.parent if folder.name == "checkpoints" else folder


def check_named_files(config: DictConfig) -> None:
    """Refuse a composed configuration that lacks a value or names a file that is not there.

    What reads the files checks more, and says more.

    Raises:
        LocoError: names the setting.
    """
    reading = "resume_sweep" not in config  # all commands but the training
    wanted = ("ckpt_path",) if "data" in config else ("videos", "root")
    for key in wanted if reading else ():
        if OmegaConf.is_missing(config, key):
            raise SettingError(f"{key}=… is needed; --help says more")
    files = [
        find_checkpoint(path, best=reading)
        for path in checkpoint_paths(_value(config, "ckpt_path"))
    ]
    _check_run_folder(config, reading, files)
    init_from = _value(config, "init_from")
    # who goes on has begun with it already
    if init_from is not None and not _value(config, "ckpt_path"):
        find_checkpoint(str(init_from), True, "init_from")
    data, films = config.get("data") or {}, _value(config, "videos")
    if "videos" in config and data and films is None and OmegaConf.is_missing(data, "root"):
        raise SettingError("videos=…, or data.root=… of feature files, is needed; --help says more")
    if not (reading or str(config.task).startswith("loco.runs.train.")):
        return  # what measures, or a task of the user's own, may read none
    annotations, root = _value(config, "data.annotations"), _value(config, "data.root")
    makes = not reading and not {"generator", "sets"}.isdisjoint(data)
    if root is not None and not makes and not Path(str(root)).is_dir():
        raise FeatureError(f"data.root={root}: expected a folder of feature files, there is none")
    if annotations is not None and not Path(str(annotations)).is_file():
        raise AnnotationError(f"{annotations}: expected an annotation file, there is none")
    if isinstance(films, str) and not Path(films).exists():
        raise VideoError(f"videos={films}: expected a video, a folder or a list, there is none")


def _check_run_folder(config: DictConfig, reading: bool, files: list[Path]) -> None:
    """Refuse a `hydra.run.dir` that holds another run: Hydra writes its notes there at once.

    Raises:
        OutputError: it does.
    """
    if "hydra" not in config:  # composed by a program, not for a command
        return
    given = str(OmegaConf.to_container(config.hydra.run, resolve=False)["dir"])  # type: ignore[index, call-overload]
    if "${" in given or requeued():  # a new one, or its own
        return
    folder = Path(given)
    if reading:
        refuse_training(folder, "hydra.run.dir")
    elif holds_run(folder) and not any(
        folder.resolve() in file.resolve().parents for file in files
    ):
        raise OutputError(
            f"hydra.run.dir={folder}: another run is there; give a new folder, or "
            f"output_dir={folder}, which moves it aside"
        )


def checkpoint_paths(given: Any) -> list[str]:
    """The checkpoints or folders that `ckpt_path` names: none, one, or a list of them."""
    if given is None:
        return []
    return [str(path) for path in given] if OmegaConf.is_list(given) else [str(given)]


def _value(config: DictConfig, key: str) -> Any:
    """A value; None where it is missing, or known only in the job itself."""
    try:
        return OmegaConf.select(config, key, throw_on_missing=False)
    except OmegaConfBaseException:
        return None
