"""UnAV against what its public code answers on given inputs with given weights."""

from __future__ import annotations

import pytest
import torch

from loco.detection.assignment import RangeAssigner
from loco.detectors.unav.dependency import DependencyBlock
from loco.detectors.unav.detector import UnAV
from loco.nn.blocks import BlockFactory
from unav_weights import BLOCK, DEPENDENCY, NET, agree, load, original, read

CASES = ["full", "padded"]


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("stride", [1, 2])
def test_the_cross_block(stride: int, case: str) -> None:
    arrays = read("unav_cross_block")
    block = BlockFactory(16, 4, asks="context")(stride=stride).eval()
    prefix = f"stride{stride}"
    load(block, original(arrays, f"{prefix}.w.", padded=case == "padded"), BLOCK)
    x, context, mask, expected, coarse = (
        arrays[f"{prefix}.{case}.{name}"] for name in ("x1", "x2", "mask", "y", "y_mask")
    )
    agree(block(x, mask, context), expected, coarse)


@pytest.mark.parametrize("case", CASES)
def test_the_dependency_block(case: str) -> None:
    arrays = read("unav_dependency")
    block = DependencyBlock(24, 5, class_dim=8).eval()
    load(block, original(arrays, "w.", padded=case == "padded"), DEPENDENCY)
    x, expected = arrays[f"{case}.x"], arrays[f"{case}.y"]
    mask = arrays.get(f"{case}.mask", torch.ones(x.shape[:2], dtype=torch.bool))
    agree(block(x, mask), expected, mask)


def test_masks_stay_with_their_videos() -> None:
    """The original mixes them up in a batch; here each video is what it is alone."""
    arrays = read("unav_dependency")
    block = DependencyBlock(24, 5, class_dim=8).eval()
    load(block, original(arrays, "w.", padded=True), DEPENDENCY)
    x, mask = arrays["original_batched_bug.x"], arrays["original_batched_bug.mask"]
    together = block(x, mask)
    assert not torch.allclose(together[0], arrays["original_batched_bug.y"][0], atol=0.1)
    for b, length in enumerate(mask.sum(1).tolist()):
        alone = block(x[b : b + 1, :length], mask[b : b + 1, :length])
        torch.testing.assert_close(together[b, :length], alone[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("case", CASES)
def test_the_whole_net(case: str) -> None:
    arrays = read("unav_model")
    model = UnAV(
        12, 6, 4, dim=10, heads=2, num_levels=4, head_dim=12, dependency=False, drop_path=0.0,
        assigner=RangeAssigner(),
    ).eval()  # fmt: skip
    load(model, original(arrays, "w.", padded=case == "padded"), NET)
    visual, audio, mask = (arrays[f"{case}.{name}"] for name in ("visual", "audio", "mask"))
    outputs = model(visual, audio, mask)
    levels = model.pyramid(*model.encode(visual, audio, mask), mask)
    first = 0
    for i, (features, level_mask) in enumerate(levels):
        theirs = {name: arrays[f"{case}.{name}{i}"] for name in
                  ("visual", "audio", "logits", "offsets", "mask")}  # fmt: skip
        assert torch.equal(level_mask, theirs["mask"])
        agree(features, torch.cat([theirs["visual"], theirs["audio"]], 2), level_mask)
        here = slice(first, first + level_mask.shape[1])
        agree(outputs.logits[:, here], theirs["logits"], level_mask)
        agree(outputs.offsets[:, here], theirs["offsets"], level_mask)
        first = here.stop
    assert first == outputs.logits.shape[1]
