"""Crops, batches and their order: right, and functions of (seed, epoch, index) alone."""

import pickle
from itertools import combinations, pairwise
from multiprocessing.reduction import ForkingPickler
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from loco.data.annotations import Video
from loco.data.dataset import RandomCrop, VideoDataset, collate
from loco.data.features import FeatureLayout, FeatureStore
from loco.data.sampler import LengthBatchSampler
from loco.structures import Events, Sample, TimeGrid

GRID = TimeGrid(25, 24, 8)
LAYOUT = FeatureLayout(("{id}_rgb.npy",), ("{id}_vggish.npy",), 25, 24, 8)


def events_of(*segments):
    return Events(
        torch.tensor(segments, dtype=torch.float64).reshape(-1, 2),
        torch.arange(len(segments)),
    )


def make_dataset(root: Path, videos: dict[str, tuple[int, list]], crop=None):
    """Videos by id: steps and segments; each feature is its own step."""
    known = []
    for video_id, (steps, segments) in videos.items():
        ramp = np.arange(steps, dtype=np.float32)[:, None]
        np.save(root / f"{video_id}_rgb.npy", ramp.repeat(3, 1))
        np.save(root / f"{video_id}_vggish.npy", ramp.repeat(2, 1).astype(np.float16))
        known.append(Video(video_id, GRID.end_seconds(steps), "train", events_of(*segments)))
    lengths = {video_id: steps for video_id, (steps, _) in videos.items()}
    return VideoDataset(known, FeatureStore(root, LAYOUT), lengths, crop)


# -- crops -------------------------------------------------------------------------------------

seeds = st.integers(0, 2**40)
places = st.integers(0, 10_000)


@st.composite
def videos(draw):
    """Steps of a video, and events in steps that lie within it (and a little before)."""
    num_steps = draw(st.integers(1, 400))
    count = draw(st.integers(0, 5))
    bounds = st.floats(-1.5, num_steps + 1.5, allow_nan=False)
    pairs = [sorted((draw(bounds), draw(bounds))) for _ in range(count)]
    pairs = [(start, max(end, start + 0.5)) for start, end in pairs]
    return num_steps, np.array(pairs, dtype=np.float64).reshape(-1, 2)


@given(videos(), seeds, places, places, st.integers(1, 300) | st.none())
@settings(max_examples=200, deadline=None)
def test_crop_keeps_the_rules(video, seed, epoch, index, max_length):
    num_steps, segments = video
    crop = RandomCrop(max_length, (0.9, 1.0), seed)
    start, length, keep = crop.draw(num_steps, segments, epoch, index)
    assert length == crop.length(num_steps, epoch, index)
    assert 0 <= start <= start + length <= num_steps
    if max_length is not None and num_steps > max_length:
        assert length == max_length
    else:
        assert max(round(0.9 * num_steps), 1) <= length <= num_steps
    if length == num_steps:
        assert keep.all()
        return
    for (begin, end), kept in zip(segments, keep, strict=True):
        inside = max(0.0, min(end, start + length) - max(begin, start))
        assert kept == (inside >= 0.5 * (end - begin))
    # none stays only where a search over all positions finds none either, or hardly any
    if len(segments) and not keep.any():
        positions = np.arange(num_steps - length + 1)[:, None]
        inside = np.minimum(segments[:, 1], positions + length)
        inside = inside - np.maximum(segments[:, 0], positions)
        possible = (inside >= 0.5 * (segments[:, 1] - segments[:, 0])).any(1)
        assert possible.mean() < 0.2


@given(seeds, places, places)
@settings(max_examples=50, deadline=None)
def test_crop_is_a_function_of_seed_epoch_and_index(seed, epoch, index):
    segments = np.array([[30.0, 50.0]])

    def draw(seed, epoch, index):
        return RandomCrop(100, (0.9, 1.0), seed).draw(3000, segments, epoch, index)[0]

    first = draw(seed, epoch, index)
    np.random.seed(0)  # noqa: NPY002 (what others draw has no influence)
    assert draw(seed, epoch, index) == first
    others = [draw(seed + 1, epoch, index), draw(seed, epoch + 1, index)]
    others += [draw(seed, epoch, index + 1), draw(seed, index + 10_001, epoch)]
    assert any(other != first for other in others)


def test_crop_finds_a_short_event():
    segments = np.array([[500.0, 501.0]])
    for epoch in range(50):
        _, _, keep = RandomCrop(100, None, 0).draw(2000, segments, epoch, 0)
        assert keep.all()  # 1 position in 20 will do


def test_positions_are_uniform_and_lengths_too():
    crop, none = RandomCrop(10, (0.9, 1.0), 0), np.zeros((0, 2))
    starts = [crop.draw(14, none, 0, i)[0] for i in range(5000)]
    assert np.allclose(np.bincount(starts) / 5000, 0.2, atol=0.025)
    lengths = [RandomCrop(None, (0.9, 1.0), 0).length(40, 0, i) for i in range(5000)]
    assert np.allclose(np.bincount(lengths)[36:] / 5000, 0.2, atol=0.025)


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        ((0, None, 0), "max_length must be at least 1"),
        ((9, (0.0, 1.0), 0), "crop_ratio must be"),
        ((9, (0.9, 0.8), 0), "crop_ratio must be"),
        ((9, (0.9, 1.1), 0), "crop_ratio must be"),
        ((9, None, -1), "seed must be"),
    ],
)
def test_bad_crop_settings_are_refused(settings_, message):
    with pytest.raises(ValueError, match=message):
        RandomCrop(*settings_)


# -- items -------------------------------------------------------------------------------------


def test_whole_item(tmp_path):
    dataset = make_dataset(tmp_path, {"a": (30, [(0.0, 2.0), (1.0, 9.5)])})
    sample = dataset.sample(0)
    assert (sample.video_id, sample.index, len(sample)) == ("a", 0, 30)
    assert sample.visual[:, 0].tolist() == list(range(30))
    assert sample.duration == GRID.end_seconds(30)
    assert sample.events.segments.tolist() == [[0.0, 2.0], [1.0, 9.5]]
    assert dataset.crop_lengths(3).tolist() == [30]


@pytest.mark.parametrize("epoch", range(20))
def test_cropped_item_moves_time_zero(tmp_path, epoch):
    segments = [(10.0, 12.0), (20.0, 40.0), (30.0, 31.0)]
    dataset = make_dataset(tmp_path, {"a": (150, segments)}, RandomCrop(50, None, 7))
    sample = dataset.sample(0, epoch)
    start = int(sample.visual[0, 0])
    assert sample.visual[:, 0].tolist() == list(range(start, start + 50))
    assert sample.audio[:, 0].tolist() == list(range(start, start + 50))
    assert sample.duration == GRID.end_seconds(50)
    assert len(sample.events) > 0
    moved = start * 8 / 25
    window = moved, moved + GRID.end_seconds(50)
    for (begin, end), label in zip(
        sample.events.segments.tolist(), sample.events.labels.tolist(), strict=True
    ):
        assert 0 <= begin < end <= sample.duration
        original = segments[label]
        assert begin + moved == pytest.approx(max(original[0], window[0]))
        assert end + moved == pytest.approx(min(original[1], window[1]))


def test_an_event_that_goes_on_before_the_crop_begins_at_time_zero(tmp_path):
    """Clipped in seconds, not at the first step's centre: that would teach a start 0.48 s late."""
    whole = [(0.0, GRID.end_seconds(150))]
    dataset = make_dataset(tmp_path, {"a": (150, whole)}, RandomCrop(100, None, 7))
    for epoch in range(10):
        sample = dataset.sample(0, epoch)
        assert sample.events.segments.tolist() == [[0.0, sample.duration]]
        first_step = GRID.to_steps(sample.events.segments)[0, 0]
        assert first_step < 0  # so the point at step 0 lies strictly inside the event


@pytest.mark.parametrize("grid", [(25, 24, 8), (16, 16, 4), (16, 16, 16), (8, 2, 8)])
def test_cropped_events_lie_within_the_duration_on_any_grid(tmp_path, grid):
    layout = FeatureLayout(("{id}_rgb.npy",), ("{id}_vggish.npy",), *grid)
    make_dataset(tmp_path, {"a": (60, [])})
    end = layout.grid.end_seconds(60)
    edges = np.linspace(0, end, 60)
    video = Video("a", end, "train", events_of(*pairwise(edges)))
    dataset = VideoDataset(
        [video], FeatureStore(tmp_path, layout), {"a": 60}, RandomCrop(20, None, 0)
    )
    for epoch in range(30):
        sample = dataset.sample(0, epoch)
        start, end = sample.events.segments.T
        assert ((start >= 0) & (start < end) & (end <= sample.duration)).all()


def test_no_event_and_features_that_outlast_the_video(tmp_path):
    make_dataset(tmp_path, {"a": (100, [])})
    video = Video("a", 3.0, "train", Events.empty())
    store = FeatureStore(tmp_path, LAYOUT)
    dataset = VideoDataset([video], store, {"a": 100}, RandomCrop(10, None, 0))
    for epoch in range(10):
        sample = dataset.sample(0, epoch)
        assert len(sample.events) == 0
        assert 0 <= sample.duration <= 3


def test_crop_lengths_are_the_lengths_of_the_items(tmp_path):
    videos = {f"v{i}": (steps, [(1.0, 2.0)]) for i, steps in enumerate((1, 5, 37, 60, 90))}
    dataset = make_dataset(tmp_path, videos, RandomCrop(50, (0.5, 1.0), 3))
    for epoch in range(5):
        found = [len(dataset.sample(i, epoch)) for i in range(5)]
        assert dataset.crop_lengths(epoch).tolist() == found
    assert dataset.crop_lengths(0).tolist() != dataset.crop_lengths(1).tolist()


def test_collate_pads_to_the_longest_of_the_batch(tmp_path):
    dataset = make_dataset(tmp_path, {"a": (3, [(0.0, 1.0)]), "b": (5, []), "c": (9, [])})
    batch = dataset[[(0, 1), (0, 0)]]
    assert batch.visual.shape == (2, 5, 3)
    assert batch.audio.shape == (2, 5, 2)
    assert batch.visual.dtype == batch.audio.dtype == torch.float32
    assert batch.mask.tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch.visual[1, :, 0].tolist() == [0, 1, 2, 0, 0]
    assert batch.durations.dtype == torch.float64
    assert batch.durations.tolist() == [GRID.end_seconds(5), GRID.end_seconds(3)]
    assert batch.indices.tolist() == [1, 0]
    assert batch.video_ids == ["b", "a"]
    assert [len(events) for events in batch.events] == [0, 1]
    assert batch.grid == GRID


def test_collate_makes_segments_float64():
    events = Events(torch.tensor([[0.0, 1.0]]), torch.tensor([0]))
    sample = Sample("a", 0, np.ones((2, 1), np.float16), np.ones((2, 1)), 1.0, events)
    assert collate([sample], GRID).events[0].segments.dtype == torch.float64


@pytest.mark.parametrize("scored", [True, False])
def test_events_come_from_workers_without_shared_memory(scored):
    scores = torch.tensor([0.5, 0.25]) if scored else None
    events = Events(torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.tensor([4, 5]), scores)
    data = bytes(ForkingPickler.dumps(events))
    assert b"shared" not in data
    assert b"rebuild_storage" not in data
    back = pickle.loads(data)
    assert torch.equal(back.segments, events.segments)
    assert torch.equal(back.labels, events.labels)
    assert (back.scores is None) if scores is None else torch.equal(back.scores, scores)


def test_a_dataset_goes_to_a_spawned_worker(tmp_path):
    dataset = make_dataset(tmp_path, {"a": (9, [(0.0, 1.0)])}, RandomCrop(5, None, 0))
    back = pickle.loads(pickle.dumps(dataset))
    assert back[[(0, 0)]].visual.tolist() == dataset[[(0, 0)]].visual.tolist()


# -- the order ---------------------------------------------------------------------------------


def unav_lengths(count, seed=0):
    """Steps of videos of 10 to 60 s at 25/8 a second, many of them a full minute."""
    random = np.random.default_rng(seed)
    seconds = np.where(random.random(count) < 0.4, 60, random.uniform(10, 60, count))
    return ((seconds * 25 - 24) / 8).astype(int) + 1


def sampler(count, batch_size, training=True, **kwargs):
    lengths = unav_lengths(count)
    return LengthBatchSampler(lambda epoch: lengths, batch_size, training=training, **kwargs)


def indices(batches):
    return [index for batch in batches for _, index in batch]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("num_replicas", [1, 4])
def test_little_is_wasted_on_padding(training, num_replicas):
    lengths = unav_lengths(6489)
    real = padded = 0
    for rank in range(num_replicas):
        for batch in sampler(6489, 16, training, num_replicas=num_replicas, rank=rank):
            steps = lengths[[index for _, index in batch]]
            real += steps.sum()
            padded += steps.max() * len(steps)
    assert 1 - real / padded < 0.05


@pytest.mark.parametrize("training", [True, False])
def test_order_is_a_function_of_seed_and_epoch(training):
    first, second = sampler(200, 16, training), sampler(200, 16, training)
    orders = []
    for epoch in (0, 1):
        first.set_epoch(epoch)
        second.set_epoch(epoch)
        orders.append(indices(first))
        assert list(first) == list(second)
    assert (orders[0] == orders[1]) == (not training)
    assert orders[0] != sorted(orders[0])
    assert orders[0] != indices(sampler(200, 16, training, seed=1))


@pytest.mark.parametrize(("count", "batch_size"), [(400, 16), (6489, 16), (64, 8)])
def test_batch_partners_change_from_epoch_to_epoch(count, batch_size):
    """A pool of a quarter of the split can repeat four times what chance would, hardly more."""

    def partners(epoch):
        batches = sampler(count, batch_size)
        batches.set_epoch(epoch)
        return {
            frozenset(pair)
            for batch in batches
            for pair in combinations([index for _, index in batch], 2)
        }

    first, *later = (partners(epoch) for epoch in range(4))
    repeated = np.mean([len(first & others) / len(first) for others in later])
    assert repeated < max(4.5 * (batch_size - 1) / (count - 1), 0.05)


def test_training_gives_epoch_keys_of_the_lengths_of_that_epoch():
    asked = []

    def lengths(epoch):
        asked.append(epoch)
        return unav_lengths(40, seed=epoch)

    batches = LengthBatchSampler(lengths, 4, training=True)
    batches.set_epoch(5)
    assert {epoch for batch in batches for epoch, _ in batch} == {5}
    assert asked[-1] == 5


@given(st.integers(1, 300), st.integers(1, 20), st.integers(1, 5), st.integers(1, 4), st.booleans())
@settings(max_examples=100, deadline=None)
def test_ranks_hold_equal_counts(count, batch_size, num_replicas, pool_batches, training):
    parts = [
        sampler(
            count, batch_size, training,
            num_replicas=num_replicas, rank=rank, pool_batches=pool_batches,
        )
        for rank in range(num_replicas)
    ]  # fmt: skip
    ranks = [list(part) for part in parts]
    assert {len(part) for part in parts} == {len(batches) for batches in ranks}
    for step in zip(*ranks, strict=True):
        assert len({len(batch) for batch in step}) == 1
        assert 1 <= len(step[0]) <= batch_size
    seen = [index for batches in ranks for index in indices(batches)]
    if training:
        assert len(seen) == len(set(seen)) or count < num_replicas
        assert len({len(batch) for batches in ranks for batch in batches}) == 1
        assert count - len(seen) < batch_size * num_replicas
    else:
        assert set(seen) == set(range(count))
        assert len(seen) - count < num_replicas


def test_every_video_is_trained_on_sooner_or_later():
    batches = sampler(20, 16)
    seen = set()
    for epoch in range(20):
        batches.set_epoch(epoch)
        seen.update(indices(batches))
    assert seen == set(range(20))


@pytest.mark.parametrize(
    ("count", "settings_", "message"),
    [
        (0, {}, "no video"),
        (5, {"batch_size": 0}, "batch_size"),
        (5, {"pool_batches": 0}, "pool_batches"),
        (5, {"rank": 1}, "rank must be in"),
        (5, {"seed": -1}, "seed"),
    ],
)
def test_bad_sampler_settings_are_refused(count, settings_, message):
    with pytest.raises(ValueError, match=message):
        sampler(count, **{"batch_size": 2, **settings_})


def test_one_modality_alone(tmp_path):
    dataset = make_dataset(tmp_path, {"v": (5, [(0.1, 0.3)])})
    whole = dataset.sample(0)
    for kept, gone in (("visual", "audio"), ("audio", "visual")):
        dataset.modality = kept
        sample = dataset.sample(0)
        np.testing.assert_array_equal(getattr(sample, kept), getattr(whole, kept))
        assert getattr(sample, gone).shape == getattr(whole, gone).shape
        assert not getattr(sample, gone).any()
