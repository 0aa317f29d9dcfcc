"""A training that begins with another one's weights, and the classes that these were trained on."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from helpers import Composer, last_checkpoint
from loco.errors import CheckpointError
from loco.runs.checkpoints import load_module
from loco.runs.train import train


@pytest.fixture
def relabelled(synthetic_root: Path, finished_run: Path, tmp_path: Path) -> Any:
    """Annotations of the same videos with other classes, by what a class's name and id become."""

    def make(name: str, change: Any) -> str:
        content = json.loads((synthetic_root / "annotations.json").read_text(encoding="utf-8"))
        for video in content["database"].values():
            events = [change(event["label"], event["label_id"]) for event in video["annotations"]]
            video["annotations"] = [
                event | {"label": now[0], "label_id": now[1]}
                for event, now in zip(video["annotations"], events, strict=True)
                if now is not None
            ]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(content), encoding="utf-8")
        return f"data.annotations={path}"

    return make


def test_classes_in_another_order_are_told(
    relabelled: Any, finished_run: Path, tiny: Composer, caplog: pytest.LogCaptureFixture
) -> None:
    names = load_module(finished_run).class_names
    moved = relabelled("moved", lambda label, number: (label, (number + 1) % len(names)))
    told = rf"other classes \(id 0: '{names[0]}' → '{names[-1]}'\)"
    with pytest.raises(CheckpointError, match=rf"last.ckpt: was trained on {told}; .*init_from="):
        train(tiny(moved, "+data.generate=false", f"ckpt_path={finished_run}"))
    with caplog.at_level(logging.INFO):
        train(tiny(moved, "+data.generate=false", f"init_from={finished_run}"))
    assert f"starting from {finished_run}/checkpoints/best.ckpt: the weights of" in caplog.text
    assert "id 0: " in caplog.text
    assert "its head is of those" in caplog.text


def test_other_classes_get_a_head_of_their_own(
    relabelled: Any, finished_run: Path, tiny: Composer, tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    count = len(load_module(finished_run).class_names)
    fewer = relabelled("fewer", lambda label, number: (label, number - 1) if number else None)
    words = [fewer, "+data.generate=false", f"init_from={finished_run}", "optimizer.lr=0"]
    train(tiny(*words, "callbacks.ema=null"))
    assert f"was trained on other classes ({count} → {count - 1} classes); these begin anew: " in (
        caplog.text
    )
    before = torch.load(finished_run / "checkpoints" / "best.ckpt", weights_only=True)["state_dict"]
    after = last_checkpoint(tmp_path / "run")["state_dict"]
    anew = [name for name in after if after[name].shape != before[name].shape]
    assert anew
    assert all("head" in name for name in anew)
    assert all(torch.equal(after[name], before[name]) for name in after
               if name not in anew and "normalizer" not in name)  # fmt: skip
