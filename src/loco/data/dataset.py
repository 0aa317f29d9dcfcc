"""Videos as training and evaluation items: features and events, cropped and padded into batches.

Whatever is random here is a pure function of (seed, epoch, index). No worker holds any state, so
that the batches are the same with any number of workers, and in a resumed run.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing.reduction import ForkingPickler
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch.utils.data import Dataset

from loco.data.annotations import Video
from loco.data.augmentation import Augmentation
from loco.data.features import LARGEST, FeatureStore, usable
from loco.errors import FeatureError, check_number
from loco.structures import Batch, Events, Sample, TimeGrid

log = logging.getLogger(__name__)

Key = tuple[int, int]
"""(epoch, index): which item, and for which epoch its random crop is drawn."""


@dataclass(frozen=True, slots=True)
class RandomCrop:
    """Draws the part of a video that is trained on in an epoch.

    A video of more than `max_length` steps is cropped to `max_length`, another to a random part of
    its length; the position is uniform. An event with less than `min_inside` of its length inside
    goes, and positions are drawn until an event stays (UnAV's rule).

    Args:
        max_length: steps; None crops no video for its length.
        ratio: smallest and largest part that is kept of a video that is not too long; None keeps
            it whole.
        seed: start of all draws, ≥ 0.
        min_inside: part of an event that must be inside the crop for it to stay.
        trials: positions drawn at most; where no event stays in any, the first is taken.

    Raises:
        ValueError: a setting is out of its range.
    """

    max_length: int | None
    ratio: tuple[float, float] | None
    seed: int
    min_inside: float = 0.5
    trials: int = 200

    def __post_init__(self) -> None:
        if self.max_length is not None:
            check_number("max_length", self.max_length, 1, whole=True)
        for part in self.ratio or ():
            check_number("crop_ratio", part, 0, 1, without="low")
        check_number("min_inside", self.min_inside, 0, 1)
        check_number("trials", self.trials, 1, whole=True)
        check_number("seed", self.seed, 0, whole=True)
        if self.ratio is not None and not 0 < self.ratio[0] <= self.ratio[1] <= 1:
            raise ValueError(f"crop_ratio must be 0 < low ≤ high ≤ 1 or None, got {self.ratio}")

    def length(self, num_steps: int, epoch: int, index: int) -> int:
        """Steps that the video `index` of `num_steps` steps has in this epoch."""
        return self._length(num_steps, self._generator(epoch, index))

    def draw(
        self, num_steps: int, segment_steps: np.ndarray, epoch: int, index: int
    ) -> tuple[int, int, np.ndarray]:
        """The crop of a video in an epoch.

        Args:
            num_steps: T of the whole video.
            segment_steps: (N, 2) its events in steps of the feature grid.
            epoch: which epoch.
            index: the video's place in the split.

        Returns:
            First step, number of steps, and (N,) bool: which events stay.
        """
        random = self._generator(epoch, index)
        length = self._length(num_steps, random)
        if length == num_steps:
            return 0, length, np.ones(len(segment_steps), dtype=bool)
        starts = random.integers(0, num_steps - length + 1, size=self.trials)
        begin, end = segment_steps[:, 0], segment_steps[:, 1]
        inside = np.minimum(end, starts[:, None] + length) - np.maximum(begin, starts[:, None])
        keep = inside >= self.min_inside * (end - begin)  # (trials, N)
        trial = int(keep.any(axis=1).argmax())
        return int(starts[trial]), length, keep[trial]

    def _generator(self, epoch: int, index: int) -> np.random.Generator:
        return np.random.default_rng((self.seed, epoch, index))

    def _length(self, num_steps: int, random: np.random.Generator) -> int:
        if self.max_length is not None and num_steps > self.max_length:
            return self.max_length
        if self.ratio is None:
            return num_steps
        low, high = (max(round(part * num_steps), 1) for part in self.ratio)
        return int(random.integers(low, high + 1))


class VideoDataset(Dataset[Batch]):
    """The videos of a split; gives a batch for a list of keys, or one `sample`.

    Args:
        videos: the videos; each one's place is its index.
        store: where their features are.
        lengths: steps T of each video, by id.
        crop: how training items are drawn; None gives whole videos.
        skip_unusable: leave videos that cannot be read out of their batch, with a warning. The
            batch may be empty then; where the data set crops, that is in training, the next video
            that can be read stands in.
        task: what batches name as their task.
        modality: "audio" or "visual" puts zeros in place of the other one.
        augment: what changes training items after their crop, one after the other; nothing where
            there is no crop.
    """

    def __init__(
        self,
        videos: Sequence[Video],
        store: FeatureStore,
        lengths: Mapping[str, int],
        crop: RandomCrop | None = None,
        *,
        skip_unusable: bool = False,
        task: str = "avel",
        modality: str = "both",
        augment: Sequence[Augmentation] = (),
    ) -> None:
        self.augment = tuple(augment)
        self.store = store
        self.task = task
        self.skip_unusable = skip_unusable
        self.modality = modality
        self.grid = store.layout.grid
        self.crop = crop
        self.video_ids = [video.id for video in videos]
        self.lengths = np.array([lengths[video.id] for video in videos], dtype=np.int64)
        # arrays, not tensors: thousands of small tensors are slow to hand to a spawned worker
        self._skipped: set[int] = set()
        self._durations = [video.duration for video in videos]
        self._segments = [video.events.segments.double().numpy() for video in videos]
        self._labels = [video.events.labels.numpy() for video in videos]

    def __len__(self) -> int:
        return len(self.video_ids)

    def __getitem__(self, keys: Sequence[Key]) -> Batch:
        """The batch of these (epoch, index) keys."""
        samples = [sample for key in keys if (sample := self._tried(*key)) is not None]
        if not samples and self.crop is not None and keys:
            # an empty training step would leave other processes waiting
            (epoch, first), count = keys[0], len(self)
            others = (self._tried(epoch, (first + i) % count) for i in range(1, count))
            samples = list(islice((sample for sample in others if sample is not None), 1))
            if not samples:
                raise FeatureError(f"{self.store.root}: no video of the split can be read")
        return collate(samples, self.grid, self.task)

    def _tried(self, epoch: int, index: int) -> Sample | None:
        """A sample, or None where its files cannot be used and that is allowed."""
        try:
            return self.sample(index, epoch)
        except FeatureError as error:
            if not self.skip_unusable:
                raise
            if index not in self._skipped:
                self._skipped.add(index)
                log.warning("left out: %s", error)
            return None

    def crop_lengths(self, epoch: int) -> np.ndarray:
        """(videos,) steps that each video has in this epoch, as `sample` will give it."""
        if self.crop is None:
            return self.lengths
        return np.array(
            [self.crop.length(int(steps), epoch, i) for i, steps in enumerate(self.lengths)],
            dtype=np.int64,
        )

    def sample(self, index: int, epoch: int = 0) -> Sample:
        """One video: whole, or its crop in this epoch, augmented, where the data set crops.

        Raises:
            FeatureError: a feature file cannot be read, or holds NaN, infinity or values too large.
        """
        sample = self._cropped(index, epoch)
        if self.crop is not None:
            for number, augmentation in enumerate(self.augment, start=1):
                # a key that ends in 0 would be that of the crop
                random = np.random.default_rng((self.crop.seed, epoch, index, number))
                donors = _Donors(self, index, epoch, random)
                sample = augmentation(sample, donors, random, self.grid)
        return sample

    def _cropped(self, index: int, epoch: int) -> Sample:
        num_steps = int(self.lengths[index])
        segments, labels = self._segments[index], self._labels[index]
        start, length = 0, num_steps
        duration = self._durations[index]
        if self.crop is not None:
            segment_steps = self.grid.to_steps(segments)
            start, length, keep = self.crop.draw(num_steps, segment_steps, epoch, index)
            if length < num_steps:
                moved = start * self.grid.stride / self.grid.fps
                duration = self._crop_duration(duration - moved, length)
                # in seconds: the crop shows half a window before its first step's centre
                segments = np.clip(segments[keep] - moved, 0.0, duration)
                labels = labels[keep]
        visual, audio = self.store.load(self.video_ids[index], start, start + length)
        visual, audio = one_modality(self.modality, visual, audio)
        events = Events(torch.tensor(segments), torch.tensor(labels))
        return Sample(self.video_ids[index], index, visual, audio, duration, events)

    def _crop_duration(self, rest: float, length: int) -> float:
        """Seconds to the crop's end, or the rest of the video if that is less."""
        # a grid of windows shorter than two strides has its last window end before `length`
        end = max(self.grid.end_seconds(length), self.grid.to_seconds(float(length)))
        return max(min(end, rest), 0.0)


class _Donors:
    """The other videos of a data set, for the augmentation of one of its items."""

    trials = 16

    def __init__(
        self, dataset: VideoDataset, index: int, epoch: int, random: np.random.Generator
    ) -> None:
        self.dataset, self.index, self.epoch, self.random = dataset, index, epoch, random

    def __call__(self, *, without: Collection[int] = (), least: int = 1) -> Sample | None:
        """Another video, see `loco.data.augmentation.Donors`."""
        dataset, barred = self.dataset, list(without)
        assert dataset.crop is not None
        for index in self.random.integers(len(dataset), size=self.trials).tolist():
            steps = dataset.crop.length(int(dataset.lengths[index]), self.epoch, index)
            shows = np.isin(dataset._labels[index], barred).any()
            if index == self.index or shows or steps < least:
                continue
            try:
                return dataset._cropped(index, self.epoch)
            except FeatureError:  # whoever asks for this video itself tells of it
                if not dataset.skip_unusable:
                    raise
        return None


def one_modality(
    modality: str, visual: np.ndarray, audio: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Zeros in place of the one that is left out: of "both" neither, else the other one."""
    if modality == "audio":
        return np.zeros_like(visual), audio
    if modality == "visual":
        return visual, np.zeros_like(audio)
    return visual, audio


def collate(samples: Sequence[Sample], grid: TimeGrid, task: str = "avel") -> Batch:
    """Pads samples to the longest of them: (B, T, C) float32, zeros in the padding."""
    if not samples:
        empty = torch.zeros(0, 0, 0)
        return Batch(
            empty, empty, torch.zeros(0, 0, dtype=torch.bool), torch.zeros(0, dtype=torch.float64),
            torch.zeros(0, dtype=torch.long), [], [], grid, task,
        )  # fmt: skip
    lengths = torch.tensor([len(sample) for sample in samples])
    longest = int(lengths.max())
    visual = np.zeros((len(samples), longest, samples[0].visual.shape[1]), dtype=np.float32)
    audio = np.zeros((len(samples), longest, samples[0].audio.shape[1]), dtype=np.float32)
    for i, sample in enumerate(samples):
        visual[i, : len(sample)] = sample.visual
        audio[i, : len(sample)] = sample.audio
    return Batch(
        visual=torch.from_numpy(visual),
        audio=torch.from_numpy(audio),
        mask=torch.arange(longest) < lengths[:, None],
        durations=torch.tensor([sample.duration for sample in samples], dtype=torch.float64),
        indices=torch.tensor([sample.index for sample in samples]),
        video_ids=[sample.video_id for sample in samples],
        events=[
            Events(sample.events.segments.double(), sample.events.labels) for sample in samples
        ],
        grid=grid,
        task=task,
    )


def _pack(events: Events) -> tuple[Any, ...]:
    scores = None if events.scores is None else events.scores.numpy(force=True)
    return _unpack, (events.segments.numpy(force=True), events.labels.numpy(force=True), scores)


def _unpack(segments: np.ndarray, labels: np.ndarray, scores: np.ndarray | None) -> Events:
    return Events(
        torch.from_numpy(segments),
        torch.from_numpy(labels),
        None if scores is None else torch.from_numpy(scores),
    )


# From a worker each tensor comes through shared memory of its own: an open file and a fraction of
# a millisecond. For features that pays; dozens of tiny tensors in a batch come as bytes instead.
ForkingPickler.register(Events, _pack)


def checked_features(
    visual: ArrayLike,
    audio: ArrayLike,
    channels: Sequence[int | None] = (None, None),
    max_length_difference: int = 8,
) -> tuple[np.ndarray, np.ndarray]:
    """Features of one video as float32 arrays (T, C) of one length, the shorter one's.

    Args:
        visual, audio: (T, C) arrays.
        channels: C of each; None is any.
        max_length_difference: steps by which the lengths may differ.

    Raises:
        ValueError: what does not hold.
    """
    arrays = {"visual": np.asarray(visual, np.float32), "audio": np.asarray(audio, np.float32)}
    for (name, array), expected in zip(arrays.items(), channels, strict=True):
        if array.ndim != 2 or not len(array) or expected not in (None, array.shape[1]):
            shape = f"(T, {'C' if expected is None else expected})"
            raise ValueError(f"{name} must be of shape {shape}, got {array.shape}")
        if not usable(array):
            raise ValueError(f"{name} holds NaN, infinity or values beyond ±{LARGEST:g}")
    steps, longest = sorted(map(len, arrays.values()))
    if longest - steps > max_length_difference:
        raise ValueError(
            f"visual has {len(arrays['visual'])} steps and audio {len(arrays['audio'])}; they may "
            f"differ by at most {max_length_difference}"
        )
    return arrays["visual"][:steps], arrays["audio"][:steps]
