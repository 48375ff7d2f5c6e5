"""Rendered scenes: coloured things on a quiet background, with everything known about them.

The same renderer serves the questions and the pre-training corpus; only the seeds differ.
Lengths here are shares of the picture's side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from minigpt4.datasets.tiny.draw import Box, Rgb, draw_kind
from minigpt4.datasets.tiny.vocabulary import COLOURS, EASY_COLOURS, KINDS, PLACES

SCENE_SIDE = 192
EASY_SIDE = 64
_OVERSAMPLE = 2


@dataclass(frozen=True)
class Wanted:
    """A thing to be put into a scene: keys of ``KINDS`` and ``COLOURS``."""

    kind: str
    colour: str


@dataclass(frozen=True)
class SceneObject:
    """A thing in a scene.

    Attributes:
        kind: Key of ``KINDS``.
        colour: Key of ``COLOURS``.
        box: (x1, y1, x2, y2), shares of the side.
        place: Key of ``PLACES`` where the layout put it on purpose, else None.
    """

    kind: str
    colour: str
    box: Box
    place: str | None = None


@dataclass(frozen=True)
class Scene:
    """A picture and the things in it."""

    image: Image.Image
    objects: tuple[SceneObject, ...]


def percent_box(box: Box) -> list[int]:
    """Turn a box of shares into integers 0-100 (x1, y1, x2, y2)."""
    return [min(100, max(0, round(100 * value))) for value in box]


def _box_round(kind: str, centre: tuple[float, float], size: float) -> Box:
    aspect = KINDS[kind].aspect
    width, height = (size, size / aspect) if aspect >= 1 else (size * aspect, size)
    x, y = centre
    return x - width / 2, y - height / 2, x + width / 2, y + height / 2


def place_objects(
    rng: np.random.Generator, wanted: Sequence[tuple[Wanted, str]]
) -> list[SceneObject]:
    """Put each thing at its named place, with some play that never makes the place doubtful.

    Args:
        rng: Source of chance.
        wanted: Things and the (different) keys of ``PLACES`` they go to.

    Returns:
        The placed things, in the order given; no two boxes overlap.
    """
    objects = []
    for thing, place in wanted:
        x, y = PLACES[place].centre
        dx, dy = rng.uniform(-0.03, 0.03, size=2)
        box = _box_round(thing.kind, (x + dx, y + dy), rng.uniform(0.21, 0.27))
        objects.append(SceneObject(thing.kind, thing.colour, box, place))
    return objects


def scatter_objects(
    rng: np.random.Generator, wanted: Sequence[Wanted], *, size: float = 0.2, gap: float = 0.03
) -> list[SceneObject]:
    """Scatter things so that no two boxes come closer than ``gap``.

    Args:
        rng: Source of chance.
        wanted: Things to place; nine of the default size fit.
        size: Mean longer side of a thing.
        gap: Least distance between two boxes, on at least one axis.

    Returns:
        The placed things, in the order given.
    """
    while True:
        objects: list[SceneObject] = []
        for thing in wanted:
            for _ in range(40):
                extent = size * rng.uniform(0.88, 1.12)
                low, high = extent / 2 + 0.01, 1 - extent / 2 - 0.01
                x, y = rng.uniform(low, high, size=2)
                box = _box_round(thing.kind, (x, y), extent)
                if all(_apart(box, other.box, gap) for other in objects):
                    objects.append(SceneObject(thing.kind, thing.colour, box))
                    break
            else:
                break
        if len(objects) == len(wanted):
            return objects


def _apart(a: Box, b: Box, gap: float) -> bool:
    return a[2] + gap <= b[0] or b[2] + gap <= a[0] or a[3] + gap <= b[1] or b[3] + gap <= a[1]


def _background(rng: np.random.Generator, side: int) -> Image.Image:
    """A plain, graded or two-part pastel ground, always much lighter than any thing on it."""
    first, second = rng.uniform(188, 252, size=(2, 3))
    first = 0.6 * first + 0.4 * first.mean()
    second = 0.6 * second + 0.4 * second.mean()
    style = rng.integers(3)
    if style == 0:
        return Image.new("RGB", (side, side), _rgb(first))
    if style == 1:
        # Four corners of a plane, drawn out smoothly.
        angle = rng.uniform(0, 2 * np.pi)
        x, y = np.array([[-1, 1], [-1, 1]]), np.array([[-1, -1], [1, 1]])
        mix = 0.5 + 0.35 * (x * np.cos(angle) + y * np.sin(angle))
        corners = first + mix[..., None] * (second - first)
        small = Image.fromarray(np.clip(corners, 0, 255).astype(np.uint8))
        inner = (0.5, 0.5, 1.5, 1.5)
        return small.resize((side, side), Image.Resampling.BILINEAR, box=inner)
    image = Image.new("RGB", (side, side), _rgb(first))
    horizon = round(side * rng.uniform(0.35, 0.75))
    image.paste(_rgb(second), (0, horizon, side, side))
    return image


def _rgb(values: NDArray[np.float64]) -> Rgb:
    r, g, b = (int(v) for v in np.clip(values, 0, 255))
    return r, g, b


def _jitter(rng: np.random.Generator, colour: str) -> Rgb:
    values = np.array(COLOURS[colour].rgb) * rng.uniform(0.93, 1.05) + rng.uniform(-8, 8, size=3)
    return _rgb(values)


def render(
    rng: np.random.Generator, objects: Sequence[SceneObject], *, side: int = SCENE_SIDE
) -> Scene:
    """Draw things on a random ground.

    Args:
        rng: Source of chance (ground, shade of each colour, mirroring).
        objects: What to draw.
        side: Width and height of the picture in pixels.

    Returns:
        The scene, smoothly downsampled.
    """
    large = side * _OVERSAMPLE
    image = _background(rng, large)
    canvas = ImageDraw.Draw(image)
    for thing in objects:
        x1, y1, x2, y2 = (value * large for value in thing.box)
        flip = bool(rng.integers(2))
        draw_kind(canvas, thing.kind, (x1, y1, x2, y2), _jitter(rng, thing.colour), flip=flip)
    return Scene(image.reduce(_OVERSAMPLE), tuple(objects))


def render_easy(rng: np.random.Generator, kind: str, colour: str) -> Scene:
    """One flat shape on a pale ground, in the look of the easy-vqa pictures.

    Args:
        rng: Source of chance.
        kind: ``circle``, ``rectangle`` or ``triangle``.
        colour: Key of ``EASY_COLOURS``.

    Returns:
        A scene of 64 x 64 pixels with one thing.
    """
    width = rng.uniform(8, 32)
    height = (
        rng.uniform(8, 32) if kind == "rectangle" else width * (0.87 if kind == "triangle" else 1)
    )
    x, y = rng.uniform(0, EASY_SIDE - width), rng.uniform(0, EASY_SIDE - height)
    ground = tuple(int(v) for v in rng.integers(230, 256, size=3))
    scale = 4
    image = Image.new("RGB", (EASY_SIDE * scale, EASY_SIDE * scale), ground)
    box = (x, y, x + width, y + height)
    x1, y1, x2, y2 = (value * scale for value in box)
    draw_kind(ImageDraw.Draw(image), kind, (x1, y1, x2, y2), EASY_COLOURS[colour])
    shares = (box[0] / EASY_SIDE, box[1] / EASY_SIDE, box[2] / EASY_SIDE, box[3] / EASY_SIDE)
    return Scene(image.reduce(scale), (SceneObject(kind, colour, shares),))
