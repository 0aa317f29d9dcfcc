"""What was run, in a few words: the head of a run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from loco.reporting.figures.training import best_epoch
from loco.runs.folders import UNNAMED, split_override
from loco.runs.job_status import starts
from loco.runs.results import percent
from loco.runs.run_folder import RunFolder

UNSAID = (*(key for key in UNNAMED if key != "experiment"), "model", "data", "trust", "video_root")
"""Overrides that say nothing of what was run, or that its title says already."""
PARTS_UNSAID = ("callbacks", "hydra", "csv_log", "logger")
"""The same, with all that is below them."""
SHOWN = 12


class Headline(NamedTuple):
    """The head of a page.

    Attributes:
        title: model and data.
        changed: the overrides that matter.
        facts: name and text of each.
    """

    title: str
    changed: list[str]
    facts: list[tuple[str, str]]

    @property
    def name(self) -> str:
        """Title and overrides in a line."""
        return ", ".join([self.title, *self.changed])


def headline(run: RunFolder) -> Headline:
    """What a run's folder says of it; what it does not note is left out."""
    model = run.choices.get("model") or _class_of(run.config.get("model"))
    data = run.choices.get("data") or _data_name(run)
    title = f"{model} on {data}"
    if run.evaluated:
        split = run.config.data.get("test_split") or "test"
        title = f"{title}, tested again" if split == "test" else f"{title}, tested on {split}"
    words = [word for word in run.overrides if not _unsaid(split_override(word)[0])]
    more = len(words) - SHOWN
    return Headline(title, words[:SHOWN] + ([f"and {more} more"] if more > 0 else []), _facts(run))


def _unsaid(key: str) -> bool:
    group = key.partition(".")[0]
    return key in UNSAID or group in PARTS_UNSAID or key.startswith("trainer.enable_")


def _class_of(settings: Any) -> str:
    target = str((settings or {}).get("_target_") or "a model")
    return target.rpartition(".")[2]


def _data_name(run: RunFolder) -> str:
    """The folder of the data set; `features` stand in one that has its name."""
    root = Path(str(run.config.get("data", {}).get("root") or "data"))
    return (root.parent if root.name == "features" else root).name or "data"


def _facts(run: RunFolder) -> list[tuple[str, str]]:
    noted = starts(run.path)
    last = noted[-1] if noted else {}
    facts: dict[str, str] = {"mAP (%)": percent(run.metrics.get("mAP"), 2)}
    if not run.evaluated and (best := best_epoch(run.curves)) is not None:
        facts["best epoch"] = f"{best} of {_epochs(run)}"
    facts["checkpoint"] = str(last.get("checkpoint") or "")
    facts["began"] = str(last.get("began") or "").replace("T", " ")[:16]
    seconds = [s["seconds"] for s in noted if isinstance(s.get("seconds"), int | float)]
    facts["took"] = duration(sum(seconds)) if seconds else ""
    if last and last.get("ended") != "finished":
        facts["ended"] = str(last.get("ended"))
    facts["device"] = str(last.get("device") or "")
    if (processes := last.get("processes")) not in (None, 1):
        facts["device"] += f" × {processes}"
    commit, _, changed = str(last.get("git") or "").partition(" ")
    facts["commit"] = f"{commit[:10]} {changed}".strip()
    facts["seed"] = str(last.get("seed", ""))
    cost = last.get("cost")
    if isinstance(cost, dict) and isinstance(count := cost.get("parameters"), int | float):
        facts["parameters (M)"] = f"{count / 1e6:.2f}"
    return [(name, text) for name, text in facts.items() if text]


def _epochs(run: RunFolder) -> int:
    """How many epochs were trained, not all of which need have been validated.

    The test is left out: it is logged as of the epoch that would come next.
    """
    epochs = [c.epochs for name, c in run.curves.items() if not name.startswith("test/")]
    return round(np.nanmax(np.concatenate(epochs))) + 1


def duration(seconds: float) -> str:
    """4.2 s, 3 min 20 s, 5 h 12 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, of_hour = divmod(minutes, 60)
    return f"{hours} h {of_hour} min" if hours else f"{minutes} min {rest} s"
