"""Augmentations: where every step and every event of what they make comes from."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate

from batches import GRID, events_of
from helpers import Composer
from loco.data.augmentation import Donors, alone, steps_inside
from loco.data.feature_mixup import FeatureMixup
from loco.data.mismatch import Mismatch, break_event, paste_event
from loco.data.modality_dropout import ModalityDropout
from loco.data.temporal_resize import TemporalResize
from loco.structures import Sample


def video(name: int, steps: int, *events: tuple[float, float, int]) -> Sample:
    """Each feature says of which video and step it is, 1000·name + step; audio is negative."""
    ramp = (1000.0 * name + np.arange(steps, dtype=np.float32))[:, None]
    end = GRID.end_seconds(steps)
    return Sample(str(name), name, ramp.repeat(3, 1), -ramp.repeat(2, 1), end, events_of(*events))


def giving(*videos: Sample) -> Donors:
    """The first video that fits."""

    def donors(*, without: Collection[int] = (), least: int = 1) -> Sample | None:
        for one in videos:
            if len(one) >= least and not set(one.events.labels.tolist()) & set(without):
                return one
        return None

    return donors


def rows(sample: Sample) -> list[tuple[float, float, int]]:
    pairs = zip(sample.events.segments.tolist(), sample.events.labels.tolist(), strict=True)
    return [(round(a, 3), round(b, 3), label) for (a, b), label in pairs]


def test_steps_inside_and_events_alone_against_loops() -> None:
    segments = np.array([[0.0, 0.4], [0.5, 3.0], [2.9, 3.4], [3.4, 9.0]])
    found = steps_inside(segments, GRID, 20)
    for (start, end), (first, last) in zip(segments, found, strict=True):
        times = [t for t in range(20) if start <= GRID.to_seconds(float(t)) <= end]
        assert list(range(first, last)) == times
    assert alone(segments).tolist() == [True, False, False, True]
    assert alone(np.zeros((0, 2))).tolist() == []


def test_a_broken_event_has_one_modality_of_a_video_without_its_class() -> None:
    sample = video(1, 40, (1.0, 4.0, 0), (6.0, 9.0, 1), (8.0, 11.0, 2))
    before = sample.visual.copy(), sample.audio.copy()
    donors = giving(video(2, 40, (0.0, 1.0, 0)), video(3, 5), video(4, 30, (1.0, 2.0, 1)))
    seen = set()
    for seed in range(20):
        made = break_event(sample, donors, np.random.default_rng(seed), GRID)
        assert rows(made) == [(6.0, 9.0, 1), (8.0, 11.0, 2)]  # only the first one meets no other
        inside = [t for t in range(40) if 1.0 <= GRID.to_seconds(float(t)) <= 4.0]
        for name, sign, plain in (("visual", 1, before[0]), ("audio", -1, before[1])):
            features = getattr(made, name)
            changed = [t for t in range(40) if (features[t] != plain[t]).any()]
            if changed:
                assert changed == inside
                steps = sign * features[inside, 0] - 4000
                assert (np.diff(steps) == 1).all()
                assert 0 <= steps[0] <= steps[-1] < 30
                seen.add(name)
        assert np.array_equal(sample.visual, before[0])
    assert seen == {"visual", "audio"}
    assert break_event(sample, giving(), np.random.default_rng(0), GRID) is sample
    empty = video(1, 10)
    assert break_event(empty, donors, np.random.default_rng(0), GRID) is empty


def test_a_pasted_event_has_both_modalities_and_its_own_length_where_nothing_is() -> None:
    sample = video(1, 60, (1.0, 4.0, 0))
    donors = giving(video(2, 9, (0.0, 1.0, 0)), video(3, 30, (2.13, 4.2, 1)))
    places = set()
    for seed in range(20):
        made = paste_event(sample, donors, np.random.default_rng(seed), GRID)
        first, pasted = rows(made)
        assert first == (1.0, 4.0, 0)
        start, end, label = pasted
        assert (label, round(end - start, 3)) == (1, 2.07)
        assert start > 4.0
        assert end <= sample.duration
        changed = np.flatnonzero((made.visual != sample.visual).any(1))
        assert np.array_equal(changed, np.flatnonzero((made.audio != sample.audio).any(1)))
        assert np.array_equal(made.visual[changed, 0], -made.audio[changed, 0])
        # as far from the event's start as it was there
        at = GRID.to_seconds(changed.astype(float)) - start
        there = GRID.to_seconds(made.visual[changed, 0].astype(float) - 3000) - 2.13
        assert np.allclose(at, there, atol=2e-3)
        places.add(start)
    assert len(places) > 5
    full = video(1, 60, (0.0, 19.0, 0))
    assert paste_event(full, donors, np.random.default_rng(0), GRID) is full


def test_resizing_moves_events_and_steps_alike() -> None:
    sample = video(1, 41, (1.0, 4.0, 0), (0.0, 2.0, 1))
    for factor in (0.5, 1.0, 1.75):
        resize = TemporalResize(1.0, factor, factor)
        made = resize(sample, giving(), np.random.default_rng(0), GRID)
        assert len(made) == len(made.audio) == round(factor * 41)
        for t in (3, 10, 17):  # what was seen at a time is seen where the time has gone
            moved = made.visual[:, 0] - 1000
            new = np.interp(t, moved, np.arange(len(made)))
            events = np.array([1.0, 4.0, GRID.to_seconds(float(t))])
            stretched = GRID.to_seconds(GRID.to_steps(events) * (len(made) - 1) / 40)
            assert GRID.to_seconds(new) == pytest.approx(stretched[2], abs=1e-3)
            assert made.events.segments[0].tolist() == pytest.approx(stretched[:2].tolist())
        assert made.events.segments.min() >= 0
    assert TemporalResize(0.0)(sample, giving(), np.random.default_rng(0), GRID) is sample


def test_mixing_adds_features_and_events_of_other_classes() -> None:
    sample = video(1, 20, (1.0, 4.0, 0))
    donors = giving(video(2, 30, (0.0, 1.0, 0)), video(3, 30, (0.5, 2.0, 1), (6.0, 9.0, 2)))
    made = FeatureMixup(1.0, 0.5)(sample, donors, np.random.default_rng(0), GRID)
    assert np.allclose(made.visual[:, 0], 2000 + np.arange(20))
    assert np.allclose(made.audio[:, 0], -2000 - np.arange(20))
    assert rows(made) == [(1.0, 4.0, 0), (0.5, 2.0, 1)]  # the other ends far behind the sample


def test_a_dropped_modality_is_zeros_and_the_events_stay() -> None:
    sample = video(1, 5, (0.5, 1.0, 0))
    seen = set()
    for seed in range(20):
        made = ModalityDropout(1.0)(sample, giving(), np.random.default_rng(seed), GRID)
        dropped = [name for name in ("visual", "audio") if not getattr(made, name).any()]
        assert len(dropped) == 1
        assert rows(made) == rows(sample)
        seen.update(dropped)
    assert seen == {"visual", "audio"}


def test_a_training_split_is_augmented_the_same_way_again_and_others_never(
    tiny: Composer, tmp_path: Path
) -> None:
    words = [
        "part=[mismatch,modality_dropout,temporal_resize,feature_mixup]",
        "data.augment.mismatch.broken=1", "data.augment.mismatch.pasted=1",
    ]  # fmt: skip
    plain, data, again = (instantiate(tiny(*given).data) for given in ([], words, words))
    plain.prepare_data()
    for one in (plain, data, again):
        one.prepare()
    changed = 0
    for epoch in (0, 1):
        for index in range(12):
            old, new, same = (d.dataset("train").sample(index, epoch) for d in (plain, data, again))
            assert np.array_equal(new.visual, same.visual)
            assert np.array_equal(new.audio, same.audio)
            assert rows(new) == rows(same)
            changed += rows(old) != rows(new)
            assert (new.events.segments[:, 1] <= new.duration + 1e-9).all()
    assert changed > 6
    for stage in ("validation", "test"):
        old, new = (d.dataset(stage).sample(1) for d in (plain, data))
        assert np.array_equal(new.visual, old.visual)


@pytest.mark.parametrize("part", ["mismatch", "modality_dropout"])
def test_what_changes_one_of_two_modalities_needs_both(tiny: Composer, part: str) -> None:
    instantiate(tiny(f"part={part}").data)
    with pytest.raises(InstantiationException, match=rf"augment\.{part} changes one modality"):
        instantiate(tiny(f"part={part}", "data.modality=audio").data)


def test_mismatch_alone_may_do_nothing() -> None:
    sample = video(1, 20, (1.0, 4.0, 0))
    assert Mismatch(0, 0)(sample, giving(), np.random.default_rng(0), GRID) is sample
