"""UniAV's parts against what its public code answers on given inputs with given weights."""

from __future__ import annotations

import pytest
import torch

from loco.detectors.uniav.experts import Choice, ExpertBlockFactory
from loco.detectors.uniav.heads import LanguageClassifier
from unav_weights import BLOCK, agree, load, original, read

CLASSIFIER = (
    (r"^head\.(\d)\.conv", r"head.convs.\1"),
    (r"^norm\.", "head.norms."),
    (r"^vis_proj\.conv", "head.last"),
    (r"^clip_proj", "project"),
    (r"^logit_scale", "log_scale"),
)
TASKS = ("tal", "avel", "sed")


def test_the_experts_of_each_task() -> None:
    arrays = read("uniav_parts")
    choice = Choice("avel")
    factory = ExpertBlockFactory(16, 4, asks="context", tasks=TASKS, choice=choice)
    block = factory(stride=2, context=True).eval()
    load(block, original(arrays, "block.w.", padded=False), BLOCK)
    mask = torch.ones(2, 24, dtype=torch.bool)
    for task in TASKS:
        choice.task = task
        found = block(arrays["block.x1"], mask, arrays["block.x2"])
        agree(found, arrays[f"block.y_{task.upper()}"], mask[:, ::2])


@pytest.mark.parametrize("case", ["full", "padded"])
def test_the_language_aware_classifier(case: str) -> None:
    arrays = read("uniav_parts")
    head = LanguageClassifier(20, 24, hidden=16).eval()
    load(head, original(arrays, "head.w.", padded=case == "padded"), CLASSIFIER)
    x, mask, expected = (arrays[f"head.{case}.{name}"] for name in ("x", "mask", "logits"))
    agree(head(x, mask, head.names(arrays["head.text"])), expected, mask)
