"""The public code's parameter names, as ours: to load its weights into our classes."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

FIXTURES = Path(__file__).parent / "fixtures"

RENAMED = [
    (r"^input_proj\.0\.0\.", "project.linear."),
    (r"^input_proj\.0\.1\.", "project.norm."),
    (r"^query_embed\.weight", "decoder.queries.weight"),
    (r"^class_embed\.", "decoder.classify."),
    (r"^segment_embed\.(\d+)\.layers\.0", r"decoder.locate.\1.0"),
    (r"^segment_embed\.(\d+)\.layers\.1", r"decoder.locate.\1.2"),
    (r"^segment_embed\.(\d+)\.layers\.2", r"decoder.locate.\1.4"),
    (r"^transformer\.level_embed", "encoder.level"),
    (r"^transformer\.reference_points", "decoder.reference_points"),
    (r"^transformer\.", ""),
    (r"(encoder\.layers\.\d+\.)self_attn\.", r"\1attention."),
    (r"(encoder\.layers\.\d+\.)norm1", r"\1norm"),
    (r"(encoder\.layers\.\d+\.)norm2", r"\1feed_forward.norm"),
    (r"(decoder\.layers\.\d+\.)cross_attn\.", r"\1attention."),
    (r"(decoder\.layers\.\d+\.)self_attn\.", r"\1self_attention."),
    (r"(decoder\.layers\.\d+\.)norm1", r"\1norm"),
    (r"(decoder\.layers\.\d+\.)norm2", r"\1self_norm"),
    (r"(decoder\.layers\.\d+\.)norm3", r"\1feed_forward.norm"),
    (r"linear1", "feed_forward.expand"),
    (r"linear2", "feed_forward.contract"),
    (r"value_proj", "value"),
    (r"output_proj", "out"),
]


def figures(name: str) -> dict[str, Tensor]:
    """All arrays of a fixture."""
    with np.load(FIXTURES / f"tadtr_{name}.npz") as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def weights(arrays: dict[str, Tensor]) -> dict[str, Tensor]:
    """What stands behind `w.`, under our names; kernels of length 1 are matrices."""
    renamed = {}
    for name, value in arrays.items():
        if not name.startswith("w."):
            continue
        name = name[2:]
        for pattern, ours in RENAMED:
            name = re.sub(pattern, ours, name)
        renamed[name] = value.squeeze(2) if value.ndim == 3 else value
    return renamed


def same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> bool:
    """Equal to 1e-5 of the largest value."""
    assert ours.shape == theirs.shape, (ours.shape, theirs.shape)
    return bool((ours - theirs).abs().max() <= tolerance * theirs.abs().max())
