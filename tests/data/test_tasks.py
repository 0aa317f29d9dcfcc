"""Several data sets at once: whose turn it is, what batches hold, and that it resumes."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from loco.data.annotations import read_annotations
from loco.data.features import FeatureLayout
from loco.data.sampler import LengthBatchSampler
from loco.data.synthetic.config import SyntheticConfig
from loco.data.synthetic.datamodule import SyntheticDataModule
from loco.data.synthetic.tasks import write_task
from loco.data.tasks import MultiTaskDataModule, TaskSampler
from loco.data.turns import Turns
from loco.errors import FeatureError, LocoError

LAYOUT = FeatureLayout(["{id}_v.npy"], ["{id}_a.npy"], 25, 24, 8)
CONFIG = SyntheticConfig(
    num_videos=(10, 4, 4), num_classes=3, visual_channels=(4,), audio_channels=(3,), latent_dim=8
)
KINDS = {"avel": "both", "tal": "visual", "sed": "audio"}


def make(root: Path, num_workers: int = 0) -> MultiTaskDataModule:
    """The three tasks on the same synthetic videos, ready to load."""
    data = MultiTaskDataModule(
        {
            task: SyntheticDataModule(
                root, None, LAYOUT, generator=CONFIG, events=kind, batch_size=2 + len(kind) // 6,
            )
            for task, kind in KINDS.items()
        },
        num_workers=num_workers,
    )  # fmt: skip
    data.prepare_data()
    return data.prepare()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks") / "data"
    make(folder)
    return folder


# -- turns -----------------------------------------------------------------------------------------


def test_a_batch_each_in_turn() -> None:
    turns = Turns(["a", "b"])
    assert turns.order(5) == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2)]
    turns.end_epoch(5, {})
    assert turns.order(2) == [("a", 3), ("b", 2)]


def test_a_stopped_task_has_every_fourth_round() -> None:
    turns = Turns(["a", "b", "c"])
    turns.progress["b"].stopped = True
    order = [task for task, _ in turns.order(18)]
    assert "".join(order) == "abcacacac" * 2
    for of in turns.progress.values():
        of.stopped = True
    assert [task for task, _ in turns.order(6)] == list("abcabc")  # nobody is left to go on


def test_stop_and_go() -> None:
    """Two evaluations without 0.1 % more stop a task, 0.5 % below its best lets it go on."""
    turns = Turns(["a"])
    scores = [0.5, 0.6, 0.6003, 0.59, 0.6, 0.5969, 0.7, 0.6, 0.6]
    stopped = []
    for score in scores:
        turns.end_epoch(1, {"a": score})
        stopped.append(turns.stopped == ["a"])
    # 0.6003 and 0.59 are not better than 0.6; 0.5969 is 0.5 % below it; then two below 0.7
    assert stopped == [False, False, False, True, True, False, False, False, True]
    again = Turns(["a"])
    again.load_state_dict(json.loads(json.dumps(turns.state_dict())))
    assert again.progress == turns.progress

    never = Turns(["a"], stop_and_go=False)
    for _ in range(5):
        never.end_epoch(1, {"a": 0.0})
    assert never.stopped == []


def test_a_score_of_nothing_says_nothing() -> None:
    """Where no event was validated on, mAP is NaN: the task is neither stopped nor started."""
    turns = Turns(["a", "b"])
    for score in (0.5, 0.6, 0.7, 0.8):
        turns.end_epoch(2, {"a": float("nan"), "b": score})
    assert turns.stopped == []
    assert turns.progress["a"].best == 0


def test_turns_out_of_range() -> None:
    with pytest.raises(ValueError, match="patience must be at least 1"):
        Turns(["a"], patience=0)


# -- batches ---------------------------------------------------------------------------------------


def samplers() -> dict[str, LengthBatchSampler]:
    lengths = {"long": np.arange(1, 21), "short": np.arange(1, 7)}
    return {
        task: LengthBatchSampler(lambda epoch, of=of: of, 2, training=True, seed=3)
        for task, of in lengths.items()
    }


def test_each_task_goes_through_its_own_epochs() -> None:
    turns = Turns(["long", "short"])
    sampler = TaskSampler(samplers(), turns)
    assert len(sampler) == 20  # 10 rounds
    seen: dict[str, list] = {"long": [], "short": []}
    for epoch in range(3):
        sampler.set_epoch(epoch)
        for task, keys in sampler:
            seen[task].append(keys)
        turns.end_epoch(len(sampler), {})
    for task, alone in samplers().items():
        expected = []
        for epoch in range(10):
            alone.set_epoch(epoch)
            expected += list(alone)
        assert seen[task] == expected[:30], task
    sampler.first_batch = 13
    middle = list(sampler)
    sampler.first_batch = 0
    assert middle == list(islice(sampler, 13, None))


def test_batches_name_their_task(root: Path) -> None:
    data = make(root)
    loader = data.train_dataloader()
    batches = list(loader)
    assert [batch.task for batch in batches] == ["avel", "tal", "sed"] * (len(batches) // 3)
    assert data.num_classes == dict.fromkeys(KINDS, 3)
    assert data.visual_channels == 4
    for task, validation in zip(KINDS, data.val_dataloader(), strict=True):
        assert {batch.task for batch in validation} == {task}

    given = iter(loader)
    first = [next(given) for _ in range(4)]
    state = loader.state_dict()  # type: ignore[attr-defined]
    resumed = make(root).train_dataloader()
    resumed.load_state_dict(state)  # type: ignore[attr-defined]
    rest = list(resumed)
    assert len(first) + len(rest) == len(batches)
    for ours, whole in zip([*first, *rest], batches, strict=True):
        assert ours.video_ids == whole.video_ids
        assert torch.equal(ours.visual, whole.visual)


def test_the_batches_are_the_same_with_workers(root: Path) -> None:
    plain, parallel = (make(root, num_workers=n).train_dataloader() for n in (0, 1))
    for ours, theirs in zip(plain, parallel, strict=True):
        assert ours.task == theirs.task
        assert torch.equal(ours.audio, theirs.audio)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_all_processes_leaves_the_loader_reading(
    root: Path, number: signal.Signals
) -> None:
    """The training ends its batch and saves; its loader's processes wait for that."""
    batches = iter(make(root, num_workers=1).train_dataloader())
    count = 1 + bool(next(batches))
    for child in multiprocessing.active_children():
        assert child.pid is not None
        os.kill(child.pid, number)
    assert count + len(list(batches)) - 1 == len(make(root).train_dataloader())


def test_channels_must_agree(root: Path, tmp_path: Path) -> None:
    other = SyntheticConfig(
        num_videos=(10, 4, 4), num_classes=3, visual_channels=(5,), audio_channels=(3,)
    )
    data = MultiTaskDataModule(
        {
            "avel": SyntheticDataModule(root, None, LAYOUT, generator=CONFIG),
            "sed": SyntheticDataModule(tmp_path / "x", None, LAYOUT, generator=other),
        }
    )
    data.prepare_data()
    with pytest.raises(FeatureError, match=r"same .* channels, got avel 4 \+ 3, sed 5 \+ 3"):
        data.prepare()


# -- the synthetic tasks ---------------------------------------------------------------------------


def test_what_is_seen_and_what_is_heard(root: Path) -> None:
    """A task's events are the sources that its modality has, and hold those of both."""
    sources = json.loads((root / "sources.json").read_text())
    both, seen, heard = (read_annotations(write_task(root, kind)) for kind in KINDS.values())
    assert both.class_names == seen.class_names == heard.class_names
    for modality, of_task in (("visual", seen), ("audio", heard)):
        for video_id, of_video in sources.items():
            late = [s["lag"] if modality == "audio" else 0.0 for s in of_video]
            end_of_video = both[video_id].duration
            expected = sorted(
                (*(min(max(time + lag, 0.0), end_of_video) for time in s[modality]), s["label_id"])
                for s, lag in zip(of_video, late, strict=True)
                if s[modality]
            )
            found = of_task[video_id].events
            rows = zip(*found.segments.T.tolist(), found.labels.tolist(), strict=True)
            assert [*rows] == [pytest.approx(row) for row in expected]
            for (start, end), label in zip(
                both[video_id].events.segments, both[video_id].events.labels, strict=True
            ):
                spread = 3 * CONFIG.lag_seconds if modality == "audio" else 0.0
                inside = (found.segments[:, 0] <= start + spread) & (
                    found.segments[:, 1] >= end - spread
                )
                assert (inside & (found.labels == label)).any()
    counts = [sum(len(v.events) for v in task.values()) for task in (both, seen, heard)]
    assert counts[0] < min(counts[1:])  # silent actions, off-screen sounds


def test_sounds_are_annotated_where_they_are_heard(tmp_path: Path) -> None:
    """Early or late as they are: a clean recording says when its sources begin."""
    config = replace(CONFIG, difficulty=0.0, lag_seconds=0.3, num_classes=4, overhang=0.0)
    data = SyntheticDataModule(tmp_path, None, LAYOUT, generator=config, events="audio")
    data.prepare_data()
    stale = tmp_path / "annotations_audio.json"
    stale.write_text("{}")  # as an earlier version wrote it
    heard = read_annotations(write_task(tmp_path, "audio"))
    off = []
    for video in heard.values():
        loud = np.abs(np.load(tmp_path / "features" / f"{video.id}_a.npy")).sum(1) > 0
        times = LAYOUT.grid.to_seconds(np.arange(len(loud)))
        first = float(video.events.segments[:, 0].min()) if len(video.events) else None
        if first is not None and first > 1 and loud.any():
            off.append(times[loud.argmax()] - first)
    half_a_window = LAYOUT.window / LAYOUT.fps / 2
    assert len(off) > 3
    # the first window that sees the sound is centred up to half its length before it
    assert all(-half_a_window - 0.05 <= gap <= 0.35 for gap in off)


def test_an_unknown_kind_of_events(root: Path) -> None:
    with pytest.raises(LocoError, match=r"expected both \| visual \| audio, got 'smell'"):
        SyntheticDataModule(root, None, LAYOUT, events="smell")  # type: ignore[arg-type]
