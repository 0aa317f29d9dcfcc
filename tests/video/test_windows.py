"""Windows of pictures and of sound against plain slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loco.structures import TimeGrid
from loco.video.windows import FrameWindows, num_steps, sound_windows

grids = st.builds(
    TimeGrid, st.sampled_from([16, 25, 29.97, 30]), st.integers(1, 30), st.integers(1, 20)
)


@given(grid=grids, moments=st.integers(0, 200), block=st.integers(1, 40))
def test_windows_of_pictures(grid: TimeGrid, moments: int, block: int) -> None:
    divisors = [every for every in range(1, grid.stride + 1) if grid.stride % every == 0]
    for every in divisors:
        seen = np.arange(moments)[::every]
        windows = FrameWindows(grid, every)
        found = [w for i in range(0, len(seen), block) for w in windows.push(seen[i : i + block])]
        for step, window in enumerate(found):
            start = step * grid.stride
            assert list(window) == list(range(start, start + grid.window, every))
        # one that sees fewer may be done with a window before its last moments are there
        assert len(found) >= num_steps(moments, grid)
        if every == 1:
            assert len(found) == num_steps(moments, grid)


@given(
    grid=grids, steps=st.integers(1, 20), samples=st.integers(0, 3000), piece=st.integers(1, 700)
)
def test_windows_of_sound(grid: TimeGrid, steps: int, samples: int, piece: int) -> None:
    rate = 400
    wave = np.random.default_rng(samples).normal(size=samples).astype(np.float32)
    pieces = [wave[i : i + piece] for i in range(0, samples, piece)]
    found = list(sound_windows(pieces, rate, grid, steps))
    length = round(grid.window * rate / grid.fps)
    padded = np.concatenate([wave, np.zeros(100_000, np.float32)])
    assert len(found) == steps
    for step, window in enumerate(found):
        start = round(step * grid.stride * rate / grid.fps)
        np.testing.assert_array_equal(window, padded[start : start + length])


def test_a_minute_of_unav() -> None:
    assert num_steps(1500, TimeGrid(25, 24, 8)) == 185
    assert num_steps(20, TimeGrid(16, 16, 4)) == 2
    assert num_steps(23, TimeGrid(25, 24, 8)) == 0


@pytest.mark.parametrize("every", [0, 3, 16])
def test_every_divides_the_stride(every: int) -> None:
    with pytest.raises(ValueError, match="every must divide the stride of 8"):
        FrameWindows(TimeGrid(25, 24, 8), every)
