"""Audio-visual mismatch augmentation: makes sounds off screen, silent actions, and new events."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from loco.data.augmentation import Donors, alone, events_from, steps_inside
from loco.errors import check_number
from loco.structures import Sample, TimeGrid


class Mismatch:
    """Breaks an event by taking its sound, or its sight, from another video; pastes whole ones.

    A broken event loses its label: its sound is off screen now, or its action silent. As every cut
    leaves edges in time, an event of another video is pasted with both modalities, and its label,
    where nothing happens: edges alone tell neither. Only events that meet no other one are broken
    or pasted, the former by videos that show nothing of their class.

    Args:
        broken: probability that a sample has an event broken.
        pasted: probability that a sample gets an event, where there is room.

    Raises:
        ValueError: a probability out of its range.
    """

    needs_both = True

    def __init__(self, broken: float = 0.3, pasted: float = 0.3) -> None:
        for name, value in {"broken": broken, "pasted": pasted}.items():
            check_number(name, value, 0, 1)
        self.broken = broken
        self.pasted = pasted

    def __call__(
        self, sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
    ) -> Sample:
        if random.random() < self.broken:
            sample = break_event(sample, donors, random, grid)
        if random.random() < self.pasted:
            sample = paste_event(sample, donors, random, grid)
        return sample


def break_event(
    sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
) -> Sample:
    """The sample with one modality of one event from another video, and without its label."""
    segments, labels = sample.events.segments.numpy(), sample.events.labels.numpy()
    inside = steps_inside(segments, grid, len(sample))
    chosen = _choose(random, alone(segments) & (inside[:, 1] > inside[:, 0]))
    if chosen is None:
        return sample
    first, end = inside[chosen]
    donor = donors(without={int(labels[chosen])}, least=int(end - first))
    if donor is None:
        return sample
    at = int(random.integers(len(donor) - (end - first) + 1))
    name = ("visual", "audio")[int(random.integers(2))]
    features = getattr(sample, name).copy()
    features[first:end] = getattr(donor, name)[at : at + end - first]
    events = events_from(np.delete(segments, chosen, 0), np.delete(labels, chosen))
    return replace(sample, events=events, **{name: features})


def paste_event(
    sample: Sample, donors: Donors, random: np.random.Generator, grid: TimeGrid
) -> Sample:
    """The sample with an event of another video, of a class it has not, where it has none."""
    segments, labels = sample.events.segments.numpy(), sample.events.labels.numpy()
    donor = donors(without=set(labels.tolist()))
    if donor is None or not len(donor.events):
        return sample
    given = donor.events.segments.numpy()
    inside = steps_inside(given, grid, len(donor))
    length = inside[:, 1] - inside[:, 0]
    free = _free_places(segments, grid, len(sample))
    usable = alone(given) & (length > 0) & (length <= len(sample))
    chosen = _choose(random, usable)
    if chosen is None:
        return sample
    count, first = int(length[chosen]), int(inside[chosen, 0])
    room = np.convolve(free, np.ones(count), "valid") == count  # (T − count + 1,)
    place = _choose(random, room)
    if place is None:
        return sample
    visual, audio = sample.visual.copy(), sample.audio.copy()
    visual[place : place + count] = donor.visual[first : first + count]
    audio[place : place + count] = donor.audio[first : first + count]
    moved = given[chosen] + (place - first) * grid.stride / grid.fps
    moved = np.clip(moved, 0.0, sample.duration)
    events = events_from(
        np.vstack([segments, moved[None]]), np.append(labels, donor.events.labels[chosen].item())
    )
    return replace(sample, visual=visual, audio=audio, events=events)


def _free_places(segments: np.ndarray, grid: TimeGrid, num_steps: int) -> np.ndarray:
    """(T,) bool: the steps whose windows, and those of their neighbours, see no event."""
    margin = (grid.window / 2 + grid.stride) / grid.fps
    times = grid.to_seconds(np.arange(num_steps, dtype=np.float64))[:, None]
    near = (segments[:, 0] - margin < times) & (times < segments[:, 1] + margin)
    return np.logical_not(near.any(axis=1))


def _choose(random: np.random.Generator, allowed: np.ndarray) -> int | None:
    """One of the places (N,) that are allowed, each as likely."""
    places = np.flatnonzero(allowed)
    return int(places[random.integers(len(places))]) if len(places) else None
