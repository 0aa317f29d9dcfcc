"""LoCo: dense audio-visual event localization (DAVE) as an experiment suite.

What a program that uses a trained model needs stands here, and is imported when it is first used:

    module = loco.load_module("outputs/train/…/checkpoints/best.ckpt")
    grid = loco.TimeGrid(fps=25, window=24, stride=8)
    events = module.detect_arrays(visual, audio, grid)  # loco.Events: segments, labels, scores

Beside these `read_annotations` reads an annotation file, `DetectionMAP` (a torchmetrics metric) and
`average_precision` (on arrays) evaluate, and `RunFolder` reads back what a run left. All else is
imported from its own module.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from loco.data.annotations import read_annotations
    from loco.evaluation.metrics import DetectionMAP, average_precision
    from loco.runs.checkpoints import load_module
    from loco.runs.run_folder import RunFolder
    from loco.structures import Events, TimeGrid

__all__ = [
    "DetectionMAP",
    "Events",
    "RunFolder",
    "TimeGrid",
    "average_precision",
    "load_module",
    "read_annotations",
]

_HOMES = {
    "DetectionMAP": "evaluation.metrics",
    "Events": "structures",
    "RunFolder": "runs.run_folder",
    "TimeGrid": "structures",
    "average_precision": "evaluation.metrics",
    "load_module": "runs.checkpoints",
    "read_annotations": "data.annotations",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'loco' has no attribute {name!r}")
    return getattr(importlib.import_module(f"loco.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
