"""How the ten classes of the small world look and move, and its backdrops."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageDraw

from loco.video.world.scenes import Scene, Source

SIDE = 160
FPS = 12.5
Color = tuple[int, int, int]
Draw = Callable[[ImageDraw.ImageDraw, float, float, float, float, Callable[[float], Color]], None]
"""Takes the drawing, the middle (x, y) and half width in pixels, the phase of the movement in
periods, and colours by hue."""


def render_pictures(scene: Scene) -> Iterator[Image.Image]:
    """Each frame of a film at `FPS`."""
    random = np.random.default_rng((*scene.seed, 2))
    backdrop = _backdrop(random)
    pan = random.uniform(0, 2 * np.pi)
    for number in range(round(scene.duration * FPS)):
        time = number / FPS
        x, y = (int(6 + 6 * wave(pan + time / 3)) for wave in (np.sin, np.cos))
        frame = backdrop.crop((x, y, x + SIDE, y + SIDE))
        draw = ImageDraw.Draw(frame)
        for source in scene.sources:
            if source.seen and source.start <= time < source.end:
                _draw_source(draw, source, time - source.start)
        yield frame


def _draw_source(draw: ImageDraw.ImageDraw, source: Source, time: float) -> None:
    x, y = (
        SIDE * (place + drift * time)
        for place, drift in zip(source.place, source.drift, strict=True)
    )

    def color(hue: float, saturation: float = 0.85, value: float = 0.95) -> Color:
        parts = colorsys.hsv_to_rgb((hue + source.tint) % 1, saturation, value)
        return tuple(round(255 * part) for part in parts)  # type: ignore[return-value]

    LOOKS[source.label](draw, x, y, SIDE * source.size, time / source.period, color)


def _backdrop(random: np.random.Generator) -> Image.Image:
    """A soft surface of muted colours with a few grey things that do nothing."""
    coarse = random.uniform(60, 190) + random.normal(0, 22, (4, 4, 3))
    surface = Image.fromarray(np.clip(coarse, 0, 255).astype(np.uint8))
    image = surface.resize((SIDE + 12, SIDE + 12), Image.Resampling.BICUBIC)
    draw = ImageDraw.Draw(image)
    for _ in range(int(random.integers(2, 6))):
        x, y = random.uniform(0, SIDE, 2)
        width, height = random.uniform(8, 40, 2)
        grey = int(random.uniform(60, 190))
        shape = draw.rectangle if random.random() < 0.5 else draw.ellipse
        shape((x, y, x + width, y + height), fill=(grey, grey, grey))
    grain = random.normal(0, 4, (SIDE + 12, SIDE + 12, 1))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def _disc(draw: ImageDraw.ImageDraw, x: float, y: float, r: float, fill: Color) -> None:
    draw.ellipse((x - r, y - r, x + r, y + r), fill=fill, outline=(20, 20, 20))


def _at(x: float, y: float, r: float, angle: float) -> tuple[float, float]:
    """A point at a distance; 0 is up, clockwise, in turns."""
    return x + r * np.sin(2 * np.pi * angle), y - r * np.cos(2 * np.pi * angle)


def _ball(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    height = abs(np.cos(np.pi * phase))
    _disc(draw, x, y + r * (0.6 - 1.4 * height), 0.7 * r, color(0.0))
    draw.line((x - r, y + 1.35 * r, x + r, y + 1.35 * r), fill=(30, 30, 30), width=3)


def _bell(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    swing = 0.1 * np.sin(2 * np.pi * phase)
    top = (x, y - r)
    points = [_at(*top, d * r, 0.5 + swing + a) for d, a in ((0.3, 0.1), (1.9, 0.08), (1.9, -0.08),
                                                             (0.3, -0.1))]  # fmt: skip
    draw.polygon([top, *points], fill=color(0.14), outline=(20, 20, 20))
    _disc(draw, *_at(*top, 2.0 * r, 0.5 + swing), 0.2 * r, color(0.1, 0.9, 0.6))


def _clock(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    _disc(draw, x, y, r, (245, 245, 245))
    for hour in range(12):
        draw.line((*_at(x, y, r, hour / 12), *_at(x, y, 0.85 * r, hour / 12)), fill=(20, 20, 20))
    draw.line((x, y, *_at(x, y, 0.85 * r, np.floor(2 * phase) / 12)), fill=(20, 20, 20), width=4)
    draw.line((x, y, *_at(x, y, 0.5 * r, 0.3)), fill=(20, 20, 20), width=5)


def _siren(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    lit = phase % 1 < 0.5
    draw.rectangle((x - r, y + 0.3 * r, x + r, y + r), fill=(50, 50, 60))
    blue = color(0.62, 0.9, 1.0 if lit else 0.35)
    draw.pieslice((x - 0.8 * r, y - 0.7 * r, x + 0.8 * r, y + 1.2 * r), 180, 360, fill=blue)
    if lit:
        for angle in (-0.15, -0.07, 0, 0.07, 0.15):
            draw.line((*_at(x, y, r, angle), *_at(x, y, 1.4 * r, angle)), fill=blue, width=3)


def _car(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    x += 0.5 * r * np.sin(np.pi * phase / 2)
    draw.rounded_rectangle((x - 1.2 * r, y - 0.2 * r, x + 1.2 * r, y + 0.5 * r), 5, color(0.36))
    draw.polygon(
        [(x - 0.7 * r, y - 0.2 * r), (x - 0.4 * r, y - 0.7 * r), (x + 0.4 * r, y - 0.7 * r),
         (x + 0.8 * r, y - 0.2 * r)], fill=(180, 220, 240), outline=(20, 20, 20),
    )  # fmt: skip
    for side in (-0.7, 0.7):
        _disc(draw, x + side * r, y + 0.5 * r, 0.3 * r, (25, 25, 25))


def _bird(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    flap = 0.7 * np.sin(2 * np.pi * phase)
    for side in (-1, 1):
        tip = (x + side * 1.3 * r, y - flap * r)
        draw.polygon(
            [(x, y - 0.2 * r), tip, (x, y + 0.3 * r)], fill=color(0.55), outline=(20, 20, 20)
        )
    draw.ellipse((x - 0.35 * r, y - 0.5 * r, x + 0.35 * r, y + 0.6 * r), fill=color(0.55, 0.6))
    _disc(draw, x, y - 0.6 * r, 0.28 * r, color(0.55, 0.6))
    draw.polygon(
        [(x, y - 0.75 * r), (x + 0.5 * r, y - 0.6 * r), (x, y - 0.5 * r)], fill=(250, 160, 20)
    )


def _rain(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    for side in (-0.5, 0, 0.5):
        _disc(draw, x + side * r, y - 0.8 * r, 0.45 * r, (225, 228, 235))
    for drop in range(14):
        across = -1 + 2 * ((drop * 0.37) % 1)
        fall = (phase * 1.5 + drop * 0.61) % 1
        top = y - 0.3 * r + 1.6 * fall * r
        line = (x + across * r, top, x + across * r - 2, top + 0.3 * r)
        draw.line(line, fill=color(0.6, 0.5), width=2)


def _fan(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    draw.line((x, y, x, y + 1.5 * r), fill=(60, 60, 60), width=5)
    for blade in range(3):
        angle = phase * 0.8 + blade / 3
        points = [(x, y), _at(x, y, r, angle - 0.06), _at(x, y, r, angle + 0.06)]
        draw.polygon(points, fill=color(0.8, 0.6), outline=(20, 20, 20))
    draw.ellipse((x - r, y - r, x + r, y + r), outline=(60, 60, 60), width=2)


def _hammer(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    angle = 0.25 - 0.2 * abs(np.sin(np.pi * phase))  # down when it strikes
    hand = (x - 0.9 * r, y + 0.4 * r)
    head = _at(*hand, 1.5 * r, angle)
    draw.line((*hand, *head), fill=color(0.08, 0.8, 0.55), width=6)
    draw.line((*_at(*head, 0.35 * r, angle + 0.25), *_at(*head, 0.35 * r, angle - 0.25)),
              fill=(70, 70, 80), width=13)  # fmt: skip
    draw.rectangle((x, y + 0.6 * r, x + 1.2 * r, y + 1.1 * r), fill=(110, 110, 120))


def _frog(draw, x, y, r, phase, color) -> None:  # type: ignore[no-untyped-def]
    y -= 0.7 * r * abs(np.sin(np.pi * phase))
    draw.ellipse((x - r, y - 0.4 * r, x + r, y + 0.7 * r), fill=color(0.26), outline=(20, 20, 20))
    for side in (-0.5, 0.5):
        _disc(draw, x + side * r, y - 0.4 * r, 0.28 * r, (240, 240, 240))
        _disc(draw, x + side * r, y - 0.4 * r, 0.12 * r, (10, 10, 10))
        draw.line((x + side * r, y + 0.6 * r, x + 2.2 * side * r, y + r), fill=color(0.26), width=5)


LOOKS: tuple[Draw, ...] = (
    _ball, _bell, _clock, _siren, _car, _bird, _rain, _fan, _hammer, _frog,
)  # fmt: skip
"""By class."""
