"""Weights of the public ActionFormer and TriDet code under the names that they have here."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unav_weights import BLOCK, load

SGP = (
    (r"\bln\b", "norm"),
    (r"\bgn\b", "feed_forward_norm"),
    (r"\bpsi\b", "gate"),
    (r"\bconvw\b", "window"),
    (r"\bconvkw\b", "wide_window"),
    (r"\bglobal_fc\b", "instant_gate"),
    (r"\bfc\b", "instant"),
    (r"\bdownsample\.1\b", "pool"),
    (r"\bmlp\.0\b", "feed_forward.expand"),
    (r"\bmlp\.2\b", "feed_forward.contract"),
    (r"\bdrop_path_out\.", "scale."),
    (r"\bdrop_path_mlp\.", "feed_forward_scale."),
)
STEM = (
    (r"backbone\.embd\.(\d)\.conv", r"embedding.convs.\1"),
    (r"backbone\.embd_norm", "embedding.norms"),
    (r"backbone\.stem", "stem"),
)
ATTENTION = (
    (r"\battn\.rel_pe", "attention.relative_bias"),
    (r"\bln1\b", "attention_norm"),
    *BLOCK,
)
HEADS = {"cls": "classify", "reg": "regress", "start": "start", "end": "end"}
NET = (
    (r"backbone\.embd\.(\d)\.conv", r"encoder.convs.\1"),
    (r"backbone\.embd_norm", "encoder.norms"),
    (r"backbone\.stem", "encoder.blocks"),
    (r"backbone\.branch", "pyramid.blocks"),
    (r"neck\.fpn_norms", "pyramid.norms"),
    (r"reg_head\.scales", "head.scales"),
    (r"(\w+)_head\.head\.(\d)\.conv", lambda m: f"head.{HEADS[m[1]]}.convs.{m[2]}"),
    (r"(\w+)_head\.norm", lambda m: f"head.{HEADS[m[1]]}.norms"),
    (r"(\w+)_head\.(cls|offset)_head\.conv", lambda m: f"head.{HEADS[m[1]]}.last"),
)


def load_net(net: nn.Module, weights: Mapping[str, Tensor], *names: tuple) -> None:
    """Load a whole net's original weights; `names` are those of its blocks, which come first."""
    scales = sorted(name for name in weights if name.startswith("reg_head.scale."))
    weights = {name: value for name, value in weights.items() if name not in scales} | {
        "reg_head.scales": torch.stack([weights[name] for name in scales])
    }
    load(net, weights, (*names, *NET))
