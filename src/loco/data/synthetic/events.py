"""What happens in a synthetic video: its events, and the sources of sound and sight behind them.

The event statistics are UnAV-100's, as measured on its annotation file; the tables and shapes
below hold its quantiles. A `Source` is a thing that is seen for a while and heard for a while; an
event is where both meet. What is heard only, or seen only, is a distractor and gets no label.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from loco.data.synthetic.config import SyntheticConfig, random_stream

Interval = tuple[float, float]
NOWHERE: Interval = (0.0, 0.0)

# Quantiles (probability, value) of a video's duration in seconds, and of the part of a video that
# its only event fills.
DURATION = ((0, 0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.96, 1), (10, 20, 27, 38, 44, 49, 54, 59, 60))
LONE_FILL = ((0, 0.05, 0.10, 0.25, 0.50, 1), (0.01, 0.29, 0.51, 0.84, 0.995, 1))
# Part of a video that one class's events fill, as Beta distributions: several events of the only
# class; the one event of a class among others (often short, or nearly all); several among others.
ONLY_CLASS_FILL, ONE_AMONG_FILL, SEVERAL_AMONG_FILL = (1.3, 0.75), (0.32, 0.37), (1.1, 1.35)
ONE_EVENT = 0.412  # part of the videos with a single event
MORE_EVENTS = 0.67  # each further event after the second comes with this probability
MAX_EVENTS, MAX_CLASSES = 23, 8
NEW_CLASS = (0.54, 0.29, 0.23, 0.20, 0.18)  # the second, third, … event is of a class not yet seen
TEMPO_CORRELATION = 0.5  # some classes come in many short events, others in one long one
SAME_CLASS_GAP = 2.0  # seconds: nearer ones are annotated as one event
MIN_LENGTH, FEW_SECONDS = 0.21, 1.0  # seconds: of any event; least mean of a class in a video
TURNS = 0.8  # part of the classes in a video that, if they meet another, are placed once more


@dataclass(frozen=True, slots=True)
class Source:
    """One thing of class `label`: when it is seen and when it is heard, in seconds.

    An interval of no length means never. `lag` seconds is how late its sound comes.
    """

    label: int
    visual: Interval
    audio: Interval
    lag: float = 0.0

    @property
    def span(self) -> Interval:
        """From its first to its last moment, in whatever modality."""
        times = [i for i in (self.visual, self.audio) if i[1] > i[0]]
        return min(i[0] for i in times), max(i[1] for i in times)

    def to_json(self) -> dict[str, Any]:
        """Seconds, to the millisecond; null where it is never seen, or never heard."""
        times = {
            name: [round(t, 3) for t in interval] if interval[1] > interval[0] else None
            for name, interval in (("visual", self.visual), ("audio", self.audio))
        }
        return {"label_id": self.label, "lag": round(self.lag, 3), **times}


@dataclass(frozen=True, slots=True)
class Video:
    """Duration in seconds and events (start, end, label), ordered by start."""

    duration: float
    events: list[tuple[float, float, int]]


def class_weights(config: SyntheticConfig) -> np.ndarray:
    """(K,) part of the videos that each class leads: a long tail over shuffled class ids."""
    ranks = random_stream(config.seed, "frequency").permutation(config.num_classes) + 1.0
    weights = ranks**-config.frequency_exponent
    return weights / weights.sum()


def class_tempo(config: SyntheticConfig, weights: np.ndarray) -> np.ndarray:
    """(K,) tendency to come in many events, mean 0 and variance 1 over videos."""
    tempo = random_stream(config.seed, "tempo").standard_normal(config.num_classes)
    tempo -= weights @ tempo
    return tempo / np.sqrt(weights @ tempo**2)


def leading_classes(config: SyntheticConfig, subset: str, count: int) -> np.ndarray:
    """(count,) main class of each video of a subset: `class_weights` met as exactly as they can.

    Where there are as many videos as classes, each class leads one at least.
    """
    rng = random_stream(config.seed, "leading", subset)
    points = (rng.permutation(count) + rng.random()) / max(count, 1)
    edges = np.cumsum(class_weights(config))
    leading = np.minimum(np.searchsorted(edges, points, side="right"), config.num_classes - 1)
    if count >= config.num_classes:
        for missing in np.setdiff1d(np.arange(config.num_classes), leading):
            commonest = np.bincount(leading).argmax()
            leading[np.flatnonzero(leading == commonest)[0]] = missing
    return leading


def draw_video(config: SyntheticConfig, name: str, leading: int) -> Video:
    """Duration and events of one video whose main class is `leading`; times in milliseconds."""
    rng = random_stream(config.seed, "events", name)
    weights = class_weights(config)
    duration = round(float(np.interp(rng.random(), *DURATION)), 2)
    count = _event_count(rng, class_tempo(config, weights)[leading])
    tracks = _events_per_class(rng, leading, count, weights)
    events: list[tuple[float, float, int]] = []
    for label, number in tracks.items():
        track = _track(rng, duration, number, alone=len(tracks) == 1)
        meets = any(a < d and c < b for a, b in track for c, d, _ in events)
        if meets and rng.random() < TURNS:
            track = _track(rng, duration, number, alone=False)
        events += [(round(a, 3), min(round(b, 3), duration), label) for a, b in track]
    return Video(duration, sorted(events))


def _event_count(rng: np.random.Generator, tempo: float) -> int:
    """Events of a video: one, or two and a geometric number more; `tempo` raises it."""
    own = math.sqrt(1 - TEMPO_CORRELATION**2)
    normal = TEMPO_CORRELATION * tempo + own * rng.standard_normal()
    tail = math.erfc(normal / math.sqrt(2)) / 2  # 1 − Φ(normal), uniform in [0, 1]
    if tail >= 1 - ONE_EVENT:
        return 1
    return min(2 + int(math.log(tail / (1 - ONE_EVENT)) / math.log(MORE_EVENTS)), MAX_EVENTS)


def _events_per_class(
    rng: np.random.Generator, leading: int, count: int, weights: np.ndarray
) -> dict[int, int]:
    """Number of events of each class in a video; the rest join classes that have many already."""
    tracks = {leading: 1}
    limit = min(MAX_CLASSES, len(weights))
    for place in range(count - 1):
        if rng.random() < NEW_CLASS[min(place, len(NEW_CLASS) - 1)] and len(tracks) < limit:
            others = weights.copy()
            others[list(tracks)] = 0
            tracks[int(rng.choice(len(weights), p=others / others.sum()))] = 1
        else:
            sizes = np.array(list(tracks.values()))
            tracks[list(tracks)[rng.choice(len(sizes), p=sizes / sizes.sum())]] += 1
    return tracks


def _track(rng: np.random.Generator, duration: float, count: int, alone: bool) -> list[Interval]:
    """`count` disjoint intervals of one class, in seconds; `alone`: the video's only class."""
    if count == 1 and alone:
        fill = float(np.interp(rng.random(), *LONE_FILL))
    else:
        one_among = ONE_AMONG_FILL if count == 1 else SEVERAL_AMONG_FILL
        fill = rng.beta(*(ONLY_CLASS_FILL if alone else one_among))
    gap = min(SAME_CLASS_GAP, 0.4 * duration / count)
    free = duration - gap * (count - 1)
    filled = float(np.clip(fill * free, min(0.9 * free, FEW_SECONDS * count), free))
    lengths = MIN_LENGTH + (filled - MIN_LENGTH * count) * rng.dirichlet(np.full(count, 2.5))
    gaps = rng.dirichlet(np.ones(count + 1))
    at_start, at_end = rng.random(2) < 0.35
    if count == 1 and at_start and at_end:
        at_end = False  # a long event is there by its length already
    gaps[0] *= not at_start
    gaps[-1] *= not at_end
    gaps *= (free - filled) / gaps.sum()
    gaps[1:-1] += gap
    ends = np.cumsum(gaps[:-1] + lengths)
    return [(float(end - length), float(end)) for end, length in zip(ends, lengths, strict=True)]


def draw_sources(
    config: SyntheticConfig, name: str, video: Video, weights: np.ndarray
) -> list[Source]:
    """The sources behind a video's events, and the distractors that nobody labels.

    A distractor never comes near another source of its class: then it would be an event, or part
    of one. The events' sources come first, in the order of the events.
    """
    rng = random_stream(config.seed, "sources", name)
    sources = [Source(label, (a, b), (a, b)) for a, b, label in video.events]
    for i, source in enumerate(sources):
        if rng.random() < config.overhang:
            sources[i] = _overhanging(rng, source, sources[:i] + sources[i + 1 :], video.duration)
    for mean, heard in ((config.offscreen_per_video, True), (config.silent_per_video, False)):
        for _ in range(rng.poisson(mean)):
            label = int(rng.choice(len(weights), p=weights))
            length = max(rng.beta(*ONE_AMONG_FILL) * video.duration, FEW_SECONDS)
            for _try in range(8):
                start = rng.random() * max(video.duration - length, 0.0)
                interval = (start, min(start + length, video.duration))
                visual, audio = (NOWHERE, interval) if heard else (interval, NOWHERE)
                candidate = Source(label, visual, audio)
                if not any(_near(candidate, other) for other in sources):
                    sources.append(candidate)
                    break
                length = max(length / 2, FEW_SECONDS)
    lags = config.lag_seconds * np.clip(rng.standard_normal(len(sources)), -3, 3)
    return [replace(s, lag=float(lag)) for s, lag in zip(sources, lags, strict=True)]


def _near(one: Source, other: Source) -> bool:
    """Of one class, and less than `SAME_CLASS_GAP` apart."""
    (a, b), (c, d) = one.span, other.span
    return one.label == other.label and a < d + SAME_CLASS_GAP and c < b + SAME_CLASS_GAP


def _overhanging(
    rng: np.random.Generator, source: Source, others: list[Source], duration: float
) -> Source:
    """The source with its sound or its sight drawn out beyond the event, where there is room."""
    start, end = source.visual
    spans = [other.span for other in others if other.label == source.label]
    extra = 3.0 * math.exp(0.8 * rng.standard_normal())  # median 3 s
    before, heard = rng.random(2) < 0.5
    if before:
        room = max([0.0] + [b + SAME_CLASS_GAP for _, b in spans if b <= start])
        interval = (min(start, max(start - extra, room)), end)
    else:
        room = min([duration] + [a - SAME_CLASS_GAP for a, _ in spans if a >= end])
        interval = (start, max(end, min(end + extra, room)))
    return replace(source, audio=interval) if heard else replace(source, visual=interval)
