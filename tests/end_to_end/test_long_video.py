"""Three hours of video go through `loco predict`, in memory that does not grow with T²."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from benchmarks.long_video import STEPS_AN_HOUR, predict

STEPS = 3 * STEPS_AN_HOUR


@pytest.mark.slow
@pytest.mark.parametrize(
    ("model", "attention"),
    [("loco", "cdp"), *(("loco_small", name) for name in ("none", "global", "fixed", "cdp"))],
)
def test_three_hours_in_bounded_memory(tmp_path: Path, model: str, attention: str) -> None:
    """One table of T × T would be 7.5 GB of scores, or 1.9 GB of a mask."""
    words = [f"model={model}", f"attention={attention}", "model.dim=16", "model.heads=1"]
    cost = predict(tmp_path / "run", STEPS, channels=64, classes=5, words=words)
    assert cost.peak_mb < 1500
    database = json.loads((cost.output / "predictions.json").read_text("utf-8"))["database"]
    (detections,) = database.values()
    assert 0 < len(detections) <= 100
    starts = [start for found in detections for start in found["segment"]]
    assert 0 <= min(starts) <= max(starts) <= 3 * 3600 + 1
    for name in ("srt", "vtt", "audacity", "elan"):
        assert list((cost.output / name).iterdir())
