"""The LightningModule's own checks."""

from __future__ import annotations

import numpy as np
import pytest

from loco.data.dataset import checked_features


def test_features_become_float32_of_one_length() -> None:
    visual, audio = checked_features([[1, 2], [3, 4], [5, 6]], np.ones((2, 1), np.float16))
    assert visual.dtype == audio.dtype == np.float32
    assert visual.tolist() == [[1, 2], [3, 4]]
    assert audio.shape == (2, 1)


@pytest.mark.parametrize(
    ("visual", "audio", "message"),
    [
        (np.ones(3), np.ones((3, 1)), r"visual must be of shape \(T, 2\), got \(3,\)"),
        (np.ones((3, 3)), np.ones((3, 1)), r"visual must be of shape \(T, 2\)"),
        (np.ones((3, 2)), np.ones((0, 1)), r"audio must be of shape \(T, C\), got \(0, 1\)"),
        (np.ones((3, 2)), np.full((3, 1), np.inf), "audio holds NaN, infinity or"),
        (np.ones((3, 2)), np.full((3, 1), -2e8), "audio holds NaN, infinity or values beyond"),
        (np.ones((9, 2)), np.ones((3, 1)), "visual has 9 steps and audio 3; .* at most 4"),
    ],
)
def test_features_that_are_none(visual: np.ndarray, audio: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        checked_features(visual, audio, (2, None), max_length_difference=4)
