"""What happens in a film of the small world: who is seen and heard when, and where.

An event is a source that is seen and heard. For three of them there are two that are not both:
a sound off screen, or a silent action, of the same ten classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CLASSES = (
    "bouncing ball", "swinging bell", "ticking clock", "flashing siren", "passing car",
    "singing bird", "falling rain", "turning fan", "striking hammer", "jumping frog",
)  # fmt: skip
DURATION = 8.0, 20.0
"""Seconds of a film, drawn evenly."""
LENGTH = 1.5, 7.0
"""Seconds of a source, drawn evenly; at most half of the film."""
EVENTS = {1: 0.3, 2: 0.4, 3: 0.3}
"""Events of a film, and how likely each number is."""
MISLEADING = 2 / 3
"""Sources for each event that are not seen, or not heard."""
AT_ONCE = 2
"""Sources at a time; never two of a class."""
GAP = 0.6
"""Seconds between two sources of a class."""


@dataclass(frozen=True, slots=True)
class Source:
    """One thing that happens.

    Args:
        label: its class.
        start: seconds.
        end: seconds.
        seen: whether it is in the picture.
        heard: whether it sounds.
        period: seconds of its movement, and of the rhythm of its sound.
        place: (x, y) of its middle at the start, in widths of the picture.
        drift: widths a second that it wanders.
        size: half its width, in widths.
        tint: shift of its hue, as part of the circle.
        pitch: factor of its pitch.
        loudness: factor.
    """

    label: int
    start: float
    end: float
    seen: bool
    heard: bool
    period: float
    place: tuple[float, float]
    drift: tuple[float, float]
    size: float
    tint: float
    pitch: float
    loudness: float

    @property
    def is_event(self) -> bool:
        """Both seen and heard."""
        return self.seen and self.heard


@dataclass(frozen=True, slots=True)
class Scene:
    """A whole film.

    Args:
        seed: of its backdrop and its noise.
        duration: seconds.
        sources: in the order of their starts.
    """

    seed: tuple[int, ...]
    duration: float
    sources: tuple[Source, ...]


def draw_scene(seed: tuple[int, ...]) -> Scene:
    """The film of a seed."""
    random = np.random.default_rng(seed)
    duration = round(float(random.uniform(*DURATION)), 2)
    events = int(random.choice(list(EVENTS), p=list(EVENTS.values())))
    misleading = int(events * MISLEADING + random.random())
    kinds = [(True, True)] * events
    kinds += [[(True, False), (False, True)][int(random.integers(2))] for _ in range(misleading)]
    sources: list[Source] = []
    for seen, heard in kinds:
        source = _place(random, duration, sources, seen, heard)
        if source is not None:
            sources.append(source)
    return Scene(seed, duration, tuple(sorted(sources, key=lambda source: source.start)))


def _place(
    random: np.random.Generator, duration: float, others: list[Source], seen: bool, heard: bool
) -> Source | None:
    """A source where there is room for it; None where there is none."""
    for _ in range(100):
        label = int(random.integers(len(CLASSES)))
        length = float(random.uniform(LENGTH[0], min(LENGTH[1], duration / 2)))
        start = float(random.uniform(0.2, duration - length - 0.2))
        end = start + length
        near = [
            o for o in others if o.label == label and o.start - GAP < end and start < o.end + GAP
        ]
        beside = [o for o in others if o.start < end and start < o.end]
        if near or len(beside) >= AT_ONCE:
            continue
        free = [x for x in (0.25, 0.75) if all(abs(o.place[0] - x) > 0.2 for o in beside)]
        x = float(random.choice(free or [0.5]) + random.uniform(-0.05, 0.05))
        return Source(
            label, round(start, 2), round(end, 2), seen, heard,
            period=float(random.uniform(0.45, 0.75)),
            place=(x, float(random.uniform(0.35, 0.65))),
            drift=tuple(random.uniform(-0.015, 0.015, 2).tolist()),
            size=float(random.uniform(0.15, 0.22)),
            tint=float(random.uniform(-0.04, 0.04)),
            pitch=float(random.uniform(0.9, 1.1)),
            loudness=float(random.uniform(0.6, 1.0)),
        )  # fmt: skip
    return None
