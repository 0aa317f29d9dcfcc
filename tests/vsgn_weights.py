"""The public code's parameter names, as ours: to load its weights into our classes."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"

RENAMED: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
    (r"^xGPN\.", "pyramid."),
    (r"conv0\.0\.", "stem."),
    (r"levels_enc\.(\d+)\.tconv1\.", r"encoder.\1.conv."),
    (r"levels_enc\.(\d+)\.nconv1\.mlp\.", r"encoder.\1.message."),
    (r"levels_enc\.(\d+)\.0\.", r"encoder.\1.conv."),
    (r"levels1\.0\.0\.", "top."),
    (r"levels1\.(\d+)\.0\.", lambda found: f"smooth.{int(found[1]) - 1}."),
    (r"levels2\.(\d+)\.0\.", r"lateral.\1."),
    (r"levels_dec\.(\d+)\.0\.", r"up.\1."),
    (r"^tconv1\.", "conv."),
    (r"^nconv1\.mlp\.", "message."),
    (r"^head_dec\.", "head."),
    (r"cls_tower\.", "classify."),
    (r"bbox_tower\.", "regress."),
    (r"^bd_adjust\.", "adjust."),
    (r"(start|end)_conv\.0\.", r"\1.hidden."),
    (r"(start|end)_conv\.2\.", r"\1.last."),
    (r"head_actionness\.", "action."),
    (r"head_startness\.", "start."),
    (r"head_endness\.", "end."),
    (r"^(action|start|end)\.0\.", r"\1.conv."),
    (r"^(action|start|end)\.2\.", r"\1.last."),
]


def figures(name: str) -> dict[str, Tensor]:
    """All arrays of a fixture."""
    with np.load(FIXTURES / f"vsgn_{name}.npz") as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def weights(arrays: dict[str, Tensor], prefix: str = "w.", convs: int = 1) -> dict[str, Tensor]:
    """What stands behind the prefix, under our names.

    Args:
        arrays: of a fixture.
        prefix: of the names.
        convs: convolutions of a tower before its last.
    """
    theirs = {name.removeprefix(prefix): v for name, v in arrays.items() if name.startswith(prefix)}
    renamed = {}
    for name, value in theirs.items():
        if name.endswith("_conv.0.weight"):  # a kernel over three places is a matrix
            value = value.transpose(1, 2).flatten(1)
        if name.endswith("_conv.2.weight"):
            value = value.squeeze(2)
        for pattern, ours in RENAMED:
            name = re.sub(pattern, ours, name)
        for pattern, ours in (("cls_logits", "classify"), ("bbox_pred", "regress")):
            name = re.sub(rf"{pattern}\.", f"{ours}.{3 * convs}.", name)
        renamed[name] = value
    return renamed


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    """Equal to 1e-5 of the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return bool((ours - theirs).abs().max() <= tolerance * theirs.abs().max())
