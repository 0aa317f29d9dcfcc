"""What is looked at inside a trained model, and the numbers made of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from loco.detectors.loco.correspondence import NoCorrespondence
from loco.detectors.loco.detector import LoCo
from loco.evaluation.similarity import cosine_similarity, mean_of_std, similarity_by_distance
from loco.nn.attention import FixedWindowAttention
from loco.nn.pyramid import JointPyramid
from loco.reporting.inspection import (
    TargetWindows,
    cross_similarity,
    encoded_features,
    similarities,
    target_windows,
)
from loco.runs.run_folder import RunFolder
from loco.structures import Batch, TimeGrid
from loco.training.module import LocalizationModule


@pytest.fixture(scope="module")
def run(finished_run: Path) -> RunFolder:
    return RunFolder(finished_run)


@pytest.fixture(scope="module")
def module(run: RunFolder) -> LocalizationModule:
    return run.module()


@pytest.fixture(scope="module")
def batch(run: RunFolder) -> Batch:
    """All test videos, padded to the longest."""
    dataset = run.data.dataset("test")
    return dataset[[(0, i) for i in range(len(dataset))]]


def untrained(**settings: object) -> LocalizationModule:
    torch.manual_seed(0)
    return LocalizationModule(LoCo(7, 5, 3, dim=16, heads=2, **settings), ["a", "b", "c"]).eval()


# ---- numbers


def test_cosine_similarity_by_loops() -> None:
    generator = np.random.default_rng(0)
    visual, audio = generator.normal(size=(2, 6, 4)).astype(np.float32)
    visual[2] = 0
    matrix = cosine_similarity(visual, audio)
    for i in range(6):
        for j in range(6):
            norms = np.linalg.norm(visual[i]) * np.linalg.norm(audio[j])
            expected = visual[i] @ audio[j] / norms if norms else 0.0
            assert matrix[i, j] == pytest.approx(expected, abs=1e-6)


def test_mean_of_std() -> None:
    matrices = [np.array([[0.0, 1.0], [1.0, 0.0]]), np.zeros((3, 3))]
    assert mean_of_std(matrices) == pytest.approx(0.25)
    assert np.isnan(mean_of_std([]))


def test_similarity_by_distance_by_loops() -> None:
    grid = TimeGrid(fps=10, window=2, stride=5)  # steps at 0.1, 0.6, 1.1, …
    generator = np.random.default_rng(1)
    matrices = [generator.normal(size=(steps, steps)) for steps in (7, 4)]
    segments = [np.array([[0.5, 1.7], [1.0, 3.0]]), np.array([[0.0, 0.7]])]
    inside, across = similarity_by_distance(matrices, segments, grid, 5)
    sums: dict[tuple[str, int], list[float]] = {}
    for matrix, of_video in zip(matrices, segments, strict=True):
        times = [0.1 + 0.5 * i for i in range(len(matrix))]
        for start, end in of_video:
            for i, ti in enumerate(times):
                for j, tj in enumerate(times):
                    held = sum(bool(start <= t <= end) for t in (ti, tj))
                    if held:
                        kind = "inside" if held == 2 else "across"
                        sums.setdefault((kind, abs(i - j)), []).append(matrix[i, j])
    for kind, curve in (("inside", inside), ("across", across)):
        expected = [np.mean(sums.get((kind, distance), [np.nan])) for distance in range(5)]
        np.testing.assert_allclose(curve, expected)


# ---- features


def test_features_are_the_encoders_outputs(module: LocalizationModule, batch: Batch) -> None:
    seen, heard = module.detector.encode(batch.visual, batch.audio, batch.mask)
    for i, (visual, audio) in enumerate(encoded_features(module, batch)):
        steps = int(batch.mask[i].sum())
        assert visual.shape == audio.shape == (steps, 16)
        np.testing.assert_allclose(visual, seen[i, :steps].detach(), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(audio, heard[i, :steps].detach(), rtol=1e-5, atol=1e-6)


def test_the_common_space_is_lccs(module: LocalizationModule, batch: Batch) -> None:
    lcc = module.detector.correspondence
    pairs = zip(
        encoded_features(module, batch), cross_similarity(module, batch, "common"), strict=True
    )
    for (visual, audio), matrix in pairs:
        with torch.no_grad():
            seen = functional.normalize(lcc.project_visual(torch.tensor(visual)), dim=-1)
            heard = functional.normalize(lcc.project_audio(torch.tensor(audio)), dim=-1)
        np.testing.assert_allclose(matrix, seen @ heard.T, atol=1e-5)


def test_a_video_alone_has_the_same_matrix(
    module: LocalizationModule, batch: Batch, run: RunFolder
) -> None:
    dataset = run.data.dataset("test")
    singles = similarities(module, (dataset[[(0, i)]] for i in range(len(dataset))))
    for single, matrix, events in zip(
        singles, cross_similarity(module, batch), batch.events, strict=True
    ):
        np.testing.assert_allclose(single.matrix, matrix, atol=1e-5)
        assert torch.equal(single.events.segments, events.segments)
    assert [single.video_id for single in singles] == batch.video_ids


def test_without_lcc_there_is_no_common_space(batch: Batch) -> None:
    module = untrained(correspondence=NoCorrespondence)
    assert len(cross_similarity(module, batch)) == len(batch)
    with pytest.raises(ValueError, match="without LCC"):
        cross_similarity(module, batch, "common")
    with pytest.raises(ValueError, match="Linear has no encoders"):
        cross_similarity(LocalizationModule(torch.nn.Linear(1, 1), ["a"]), batch)


# ---- windows


def test_windows_that_are_not_adapted_are_the_base_windows(batch: Batch) -> None:
    of_videos = target_windows(untrained(), batch)
    assert len(of_videos) == len(batch)
    for i, windows in enumerate(of_videos):
        assert len(windows) == 12  # 6 levels, 2 directions
        for window in windows:
            steps = -(-int(batch.mask[i].sum()) // 2**window.level)
            assert window.base.shape == (-(-steps // 8), 2)
            assert window.target.shape == (2, len(window.base), 2)
            full = window.base[: steps // 8]
            np.testing.assert_allclose(
                window.target[:, : len(full)], np.broadcast_to(full, (2, *full.shape)), atol=1e-4
            )
            last = batch.grid.to_seconds(float((steps - 1) * 2**window.level))
            assert window.base[-1, 1] == pytest.approx(last)


def test_windows_follow_size_and_offset(batch: Batch) -> None:
    """s = 1 and o = 0.5 of head 1 at one level: twice as wide, half a window later (Eq. 7)."""
    module = untrained()
    attention = module.detector.pyramid.visual_blocks[1].attention
    with torch.no_grad():
        attention.adaptation.bias[:] = torch.tensor([0.0, 1.0, 0.0, 0.5])  # sizes, then offsets
    window = next(
        w for w in target_windows(module, batch)[0] if (w.queries, w.level) == ("visual", 1)
    )
    assert isinstance(window, TargetWindows)
    assert window.step == pytest.approx(2 * 8 / 25)
    base = window.base[0]
    np.testing.assert_allclose(window.target[0, 0], base, atol=1e-5)
    centre, half = base.mean() + 4 * window.step, base[1] - base[0]
    np.testing.assert_allclose(window.target[1, 0], [centre - half, centre + half], rtol=1e-5)


def test_windows_lie_on_what_the_asking_stream_reads(batch: Batch) -> None:
    """Where the context asks, a stream's own block is the other one's questions."""
    module = untrained(asks="context", pyramid=JointPyramid)
    with torch.no_grad():
        bias = module.detector.pyramid.visual_blocks[0].attention.adaptation.bias
        bias[:] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    found = {w.queries: w for w in target_windows(module, batch)[0]}
    assert [*found] == ["audio", "visual"]  # one level: the streams meet once
    wide, base = (np.ptp(found[name].target[1], axis=-1).max() for name in ("audio", "visual"))
    assert wide > 1.5 * base


def test_only_cdp_has_target_windows(batch: Batch) -> None:
    with pytest.raises(ValueError, match="LoCo has no attention with target windows"):
        target_windows(untrained(attention=FixedWindowAttention), batch)
