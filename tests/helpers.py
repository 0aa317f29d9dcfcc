"""What tests share besides fixtures: composing configs, and a way to stop a run early."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import lightning
import numpy as np
import torch
import yaml
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig

from loco.cli import main
from loco.data.datamodule import AVDataModule
from loco.runs.run_folder import RunFolder
from loco.training.module import LocalizationModule

ROOT = Path(__file__).parents[1]

TINY_DATA = [
    "data.generator.num_videos=[12,4,5]",
    "data.generator.num_classes=3",
    "data.generator.visual_channels=[4,3]",
    "data.generator.audio_channels=[5]",
    "data.batch_size=4",
]
TINY_MODEL = ["model.dim=16", "model.heads=2"]
QUIET = [
    "report=false",
    "callbacks.progress=null",
    "callbacks.summary=null",
    "+trainer.enable_progress_bar=false",
    "+trainer.enable_model_summary=false",
    "trainer.accelerator=cpu",
]

NASTY = (
    "cash $$", "price $5 or $6", r"\frac{$x^{$} & % # _ ~ ^ [1]", "狗叫 🐕", "Gespräch «é»",
    "[red]x[/red]", "[/]", ":boom: @user", "<b>&amp;</b> <!-- -->",
    "</script><script>x(1)</script>",
    "]]> <![CDATA[", "${x}", "???", "{0} {x!r} %s @@TITLE@@", "a=1, b; 'c' \"d\" `e`", "a|b\\|c\\",
    "=1+1", "+SUM(A1)", "-2+3|' /C calc'!A0", "@x", "'=x", "_a_ *b* ~~c~~ [t](javascript:x)",
    "00:01 --> 00:02", "NOTE", "{\\an8}<i>", "two\nlines\r\nthree", "\ttab  blanks ", "a b", "a  b",
    "bell\x07 red\x1b[31m nul\x00", "del\x7f c1\x85 line\u2028 end\ufffe", "null", "1e3",
    "#262626 url(#x", "\u202eright to left", "x" * 300,
)  # fmt: skip
"""Names of classes that some renderer or other would take for something else."""

NASTY_IDS = (
    "-0nqfRcnAYE", "a $5 & <b> [x]", "狗 🐕", "é=1,b;'c' \"d\" `e`", "${x}", "x.y%s{0}", "=1+1",
    "#hash @at", " blank ", "_id_|pipe|*",
)  # fmt: skip
"""Names of videos that can stand in the names of files."""

Composer = Callable[..., DictConfig]


def compose_config(name: str, overrides: list[str]) -> DictConfig:
    """A config as `loco {name} {overrides}` would compose it."""
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        return compose(name, overrides=overrides)


def tiny_config(
    root: Path, output: Path, *overrides: str, model: Sequence[str] = TINY_MODEL
) -> DictConfig:
    """A training run of seconds, two epochs on the data below `root`; `model` makes it narrow."""
    settings = [f"data.root={root}", f"output_dir={output}", "trainer.max_epochs=2"]
    return compose_config("train", [*settings, *TINY_DATA, *model, *QUIET, *overrides])


def rescore(folder: Path) -> None:
    """Let metrics.json say the mAP that predictions.json, which a test changed, has now."""
    run, path = RunFolder(folder), folder / "metrics.json"
    content = json.loads(path.read_text("utf-8"))
    content["mAP"] = run.weighted(np.ones(len(run.predictions)))
    path.write_text(json.dumps(content), "utf-8")


def last_checkpoint(folder: Path) -> dict[str, Any]:
    return torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)


def assert_same(first: Any, second: Any, path: str = "") -> None:
    """Equal to the bit, through dicts and lists; names the first place that differs."""
    assert type(first) is type(second), path
    if isinstance(first, dict):
        assert first.keys() == second.keys(), path
        for key in first:
            assert_same(first[key], second[key], f"{path}/{key}")
    elif isinstance(first, list | tuple):
        assert len(first) == len(second), path
        for i, (a, b) in enumerate(zip(first, second, strict=True)):
            assert_same(a, b, f"{path}/{i}")
    elif isinstance(first, torch.Tensor):
        assert torch.equal(first, second), path
    else:
        assert first == second, path


class Stopped(Exception):
    """Stands for whatever ends a run early."""


class StopAfter(lightning.Callback):
    """Ends a run at the start of an epoch, once everything of the one before is done."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise Stopped


class InterruptAfter(StopAfter):
    """Ctrl-C at the start of an epoch."""

    def on_train_epoch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        if trainer.current_epoch == self.epoch:
            raise KeyboardInterrupt


class Noted(lightning.Callback):
    """A step of a user's own at the end of a run: says what it was given."""

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        files = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_file()))
        note = f"{len(module.class_names)} classes, {type(data).__name__}: {files}"
        (folder / "noted.txt").write_text(note, encoding="utf-8")


class Seen(lightning.Callback):
    """Writes down which videos each training step sees."""

    def on_train_batch_start(self, trainer: lightning.Trainer, *args: Any) -> None:
        folder = Path(str(trainer.checkpoint_callback.dirpath)).parent  # type: ignore[union-attr]
        with (folder / "seen.txt").open("a", encoding="utf-8") as file:
            file.write(" ".join(args[1].video_ids) + "\n")


class Failing(lightning.Callback):
    """One that has a fault."""

    def on_results(self, folder: Path, module: LocalizationModule, data: AVDataModule) -> None:
        raise KeyError("no such thing")


MAP_NAMES = [f"mAP@0.{i}" for i in range(1, 10)] + ["mAP"]


def make_job(
    sweep: Path,
    number: int,
    overrides: dict[str, Any],
    mean: float | None = None,
    error: str | None = None,
    config: dict[str, Any] | None = None,
    choices: dict[str, str] | None = None,
) -> Path:
    """A job's folder as a sweep leaves it: finished if it has a mean, failed if an error."""
    folder = sweep / f"job{number}"
    notes = folder / ".hydra"
    notes.mkdir(parents=True)
    (notes / "overrides.yaml").write_text(
        yaml.safe_dump([f"{k}={v}" for k, v in overrides.items()], allow_unicode=True), "utf-8"
    )
    plain = {"seed": 0, "attention": {"window_size": 8}} | (config or {})
    (notes / "config.yaml").write_text(json.dumps(plain | {"seed": overrides.get("seed", 0)}))
    chosen = {"attention": "cdp", "correspondence": "learnable_gaussian"} | (choices or {})
    groups = {key: str(value) for key, value in overrides.items() if key in chosen}
    hydra = {"job": {"num": number}, "runtime": {"choices": chosen | groups}}
    (notes / "hydra.yaml").write_text(json.dumps({"hydra": hydra}))
    if mean is not None:
        metrics: dict[str, Any] = {name: mean + 0.01 * i for i, name in enumerate(MAP_NAMES)}
        (folder / "metrics.json").write_text(json.dumps(metrics | {"per_class": {}}))
    if error is not None:
        (folder / "failed.txt").write_text(f"{error}\n\nTraceback …")
    return folder


def open_page(browser: Any, page: Path, width: int = 1280, height: int = 800) -> None:
    """Show a page in a window of this size; below 600 it is a phone's."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(page.as_uri())


def inside(browser: Any, selector: str) -> str:
    """HTML within the first element that a CSS selector finds."""
    return browser.execute_script("return document.querySelector(arguments[0]).innerHTML", selector)


def count(browser: Any, selector: str) -> int:
    """How many elements a CSS selector finds."""
    return browser.execute_script("return document.querySelectorAll(arguments[0]).length", selector)


class SignalAt(lightning.Callback):
    """Sends the process a signal in a batch of an epoch, in training or in validation.

    Args:
        name: of the signal, `SIGTERM`.
        epoch, batch: from 0.
        validation: in a batch of the validation.
        group: all processes of this one's group get it, as from a terminal.
    """

    def __init__(
        self, name: str, epoch: int, batch: int, validation: bool = False, group: bool = False
    ) -> None:
        self.number = signal.Signals[name]
        self.place = (epoch, batch)
        self.validation = validation
        self.group = group

    def on_train_batch_start(
        self, trainer: lightning.Trainer, module: Any, batch: Any, batch_idx: int
    ) -> None:
        if not self.validation and (trainer.current_epoch, batch_idx) == self.place:
            self._send()

    def on_validation_batch_start(
        self, trainer: lightning.Trainer, module: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        if self.validation and (trainer.current_epoch, batch_idx) == self.place:
            self._send()

    def _send(self) -> None:
        (os.killpg if self.group else os.kill)(os.getpid(), self.number)


class Ended(NamedTuple):
    """How a command ended.

    Attributes:
        code: the exit status; negative is a signal that killed it.
        out: what it printed, errors too.
    """

    code: int
    out: str


def run_loco(
    *words: str | Path, cwd: Path, kill: tuple[Path, float] | None = None, **env: str
) -> Ended:
    """The command `loco …` in a process of its own, without the seconds that its imports take.

    Args:
        *words: after `loco`.
        cwd: its working directory.
        kill: it gets SIGKILL so many seconds after it wrote this file.
        **env: variables of its environment.
    """
    printed = cwd / "printed.txt"
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setpgid(0, 0)
            os.chdir(cwd)
            os.environ.update(env)
            with printed.open("w") as file:
                os.dup2(file.fileno(), 1)
                os.dup2(file.fileno(), 2)
            sys.stdout, sys.stderr = (os.fdopen(n, "w", encoding="utf-8") for n in (1, 2))
            logging.getLogger().handlers.clear()
            code = main([str(word) for word in words])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    status = None
    if kill is not None:
        file, seconds = kill
        while not file.exists() and status is None:
            time.sleep(0.005)
            status = _status(pid, os.WNOHANG)
        time.sleep(seconds)
        if status is None:
            os.kill(pid, signal.SIGKILL)
    status = _status(pid) if status is None else status
    return Ended(os.waitstatus_to_exitcode(status), printed.read_text(encoding="utf-8"))


def _status(pid: int, options: int = 0) -> int | None:
    """How a process ended; None while it runs."""
    ended, status = os.waitpid(pid, options)
    return status if ended else None
