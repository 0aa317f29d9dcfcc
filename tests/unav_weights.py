"""Weights of the public UnAV and UniAV code under the names that they have here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

FIXTURES = Path(__file__).parent / "fixtures"

BLOCK = (
    (r"\bln11\b", "attention_norm"),
    (r"\bln12\b", "context_norm"),
    (r"\bln2_(\w+)", lambda m: f"feed_forward_norm.of_task.{m[1].lower()}"),
    (r"\bln2\b", "feed_forward_norm"),
    (r"\battn\.(query|key|value)_conv\.conv", r"attention.\1.conv"),
    (r"\battn\.(query|key|value)_norm", r"attention.\1.norm"),
    (r"\battn\.(query|key|value)\b", r"attention.\1.linear"),
    (r"\battn\.proj", "attention.out"),
    (r"\bmlp_(\w+?)\.(0|3)", lambda m: f"feed_forward.of_task.{m[1].lower()}.{FEED[m[2]]}"),
    (r"\bmlp\.(0|3)", lambda m: f"feed_forward.{FEED[m[1]]}"),
    (r"\bdrop_path_attn\.", "attention_scale."),
    (r"\bdrop_path_mlp\.", "feed_forward_scale."),
)  # fmt: skip
FEED = {"0": "expand", "3": "contract"}
STREAM = {"V": "visual", "A": "audio"}
CROSSES = {"Va": "visual", "Av": "audio"}
NET = (
    (r"backbone\.embd_([VA])\.(\d)\.conv", lambda m: f"{STREAM[m[1]]}_encoder.convs.{m[2]}"),
    (r"backbone\.embd_norm_([VA])\.", lambda m: f"{STREAM[m[1]]}_encoder.norms."),
    (r"backbone\.self_att_([VA])\.", lambda m: f"{STREAM[m[1]]}_encoder.blocks."),
    (r"backbone\.ori_cross_att_(Va|Av)\.", lambda m: f"pyramid.{CROSSES[m[1]]}_blocks.0."),
    (r"backbone\.cross_att_(Va|Av)\.(\d)\.",
     lambda m: f"pyramid.{CROSSES[m[1]]}_blocks.{int(m[2]) + 1}."),
    (r"cls_head\.head\.(\d)\.conv", r"classify.convs.\1"),
    (r"cls_head\.norm", "classify.norms"),
    (r"cls_head\.cls_head\.conv", "classify.last"),
    (r"reg_head\.head\.(\d)\.conv", r"regress.convs.\1"),
    (r"reg_head\.norm", "regress.norms"),
    (r"reg_head\.offset_head\.conv", "regress.last"),
    *BLOCK,
)  # fmt: skip
DEPENDENCY = (
    (r"feature_expand\.conv", "expand"),
    (r"feature_squeeze\.conv", "squeeze"),
    (r"temporal_branch", "temporal"),
    (r"cooccur_branch", "co_occurrence"),
    *BLOCK,
)


def read(name: str) -> dict[str, Tensor]:
    """The arrays of a parity file."""
    with np.load(FIXTURES / f"{name}.npz") as arrays:
        return {key: torch.from_numpy(arrays[key]) for key in arrays.files}


def original(arrays: Mapping[str, Tensor], prefix: str, *, padded: bool) -> dict[str, Tensor]:
    """The weights below a prefix; for a `padded` case with every norm's bias at 0."""
    weights = {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
    if padded:
        for name in weights:
            if re.search("ln|norm", name) and name.endswith(".bias"):
                weights[name] = torch.zeros_like(weights[name])
    return weights


def load(module: nn.Module, weights: Mapping[str, Tensor], names: tuple) -> None:
    """Load original weights, all of them, into the module that has every one of their shapes."""
    renamed = {}
    for name, value in weights.items():
        for pattern, replacement in names:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    scales = sorted(name for name in renamed if name.startswith("reg_head.scale."))
    if scales:
        renamed["scales"] = torch.stack([renamed.pop(name) for name in scales])
    own = module.state_dict()
    assert {name: value.numel() for name, value in renamed.items()} == {
        name: own[name].numel() for name in own if not name.endswith("normalizer")
    }
    fitted = {name: value.reshape(own[name].shape) for name, value in renamed.items()}
    module.load_state_dict(fitted, strict=False)


def agree(ours: Tensor, theirs: Tensor, mask: Tensor) -> None:
    """Equal to float precision at the real steps; what stands in padding has no meaning here."""
    assert ours.shape == theirs.shape
    torch.testing.assert_close(ours[mask], theirs[mask], rtol=0, atol=1e-5)
