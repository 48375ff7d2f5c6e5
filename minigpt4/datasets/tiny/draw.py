"""Draws one thing into its box; every drawing touches all four sides of the box it is given."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi, sin

from PIL import ImageDraw

Rgb = tuple[int, int, int]
Box = tuple[float, float, float, float]


class Brush:
    """Draws in the unit square of one object's box.

    Args:
        canvas: Where to draw.
        box: (x1, y1, x2, y2) in canvas pixels.
        flip: Mirror the drawing left to right.
    """

    def __init__(self, canvas: ImageDraw.ImageDraw, box: Box, *, flip: bool) -> None:
        self._canvas = canvas
        self._box = box
        self._flip = flip

    def _point(self, x: float, y: float) -> tuple[float, float]:
        x1, y1, x2, y2 = self._box
        return x1 + (1 - x if self._flip else x) * (x2 - x1), y1 + y * (y2 - y1)

    def _sorted(self, x1: float, y1: float, x2: float, y2: float) -> Box:
        (a, b), (c, d) = self._point(x1, y1), self._point(x2, y2)
        return min(a, c), b, max(a, c), d

    def polygon(self, points: list[tuple[float, float]], fill: Rgb) -> None:
        """Fill a polygon."""
        self._canvas.polygon([self._point(x, y) for x, y in points], fill=fill)

    def ellipse(self, x1: float, y1: float, x2: float, y2: float, fill: Rgb) -> None:
        """Fill an ellipse."""
        self._canvas.ellipse(self._sorted(x1, y1, x2, y2), fill=fill)

    def rectangle(self, x1: float, y1: float, x2: float, y2: float, fill: Rgb) -> None:
        """Fill a rectangle."""
        self._canvas.rectangle(self._sorted(x1, y1, x2, y2), fill=fill)

    def ring(self, x1: float, y1: float, x2: float, y2: float, colour: Rgb, width: float) -> None:
        """An ellipse's outline; ``width`` is a share of the box's width."""
        pixels = max(1, round(width * (self._box[2] - self._box[0])))
        self._canvas.ellipse(self._sorted(x1, y1, x2, y2), outline=colour, width=pixels)


def shade(rgb: Rgb, factor: float) -> Rgb:
    """Darken (``factor`` < 1) or lighten towards white (``factor`` > 1) a colour."""
    if factor <= 1:
        r, g, b = (round(c * factor) for c in rgb)
    else:
        r, g, b = (round(255 - (255 - c) * (2 - factor)) for c in rgb)
    return r, g, b


def _circle(b: Brush, c: Rgb) -> None:
    b.ellipse(0, 0, 1, 1, c)


def _rectangle(b: Brush, c: Rgb) -> None:
    b.rectangle(0, 0, 1, 1, c)


def _triangle(b: Brush, c: Rgb) -> None:
    b.polygon([(0.5, 0), (1, 1), (0, 1)], c)


def _ball(b: Brush, c: Rgb) -> None:
    b.ellipse(0, 0, 1, 1, c)
    white = (250, 250, 250)
    b.ellipse(0.36, 0.02, 0.64, 0.98, white)
    b.ellipse(0.43, 0.02, 0.57, 0.98, c)
    b.ring(0, 0, 1, 1, shade(c, 0.55), 0.05)


def _house(b: Brush, c: Rgb) -> None:
    b.rectangle(0.1, 0.42, 0.9, 1, c)
    b.polygon([(0.5, 0), (1, 0.45), (0, 0.45)], shade(c, 0.6))
    b.rectangle(0.42, 0.65, 0.62, 1, (245, 240, 225))
    b.rectangle(0.18, 0.55, 0.34, 0.72, (245, 240, 225))
    b.rectangle(0.7, 0.55, 0.84, 0.72, (245, 240, 225))


def _tree(b: Brush, c: Rgb) -> None:
    b.rectangle(0.41, 0.55, 0.59, 1, (105, 72, 48))
    b.ellipse(0, 0.22, 0.6, 0.68, c)
    b.ellipse(0.4, 0.22, 1, 0.68, c)
    b.ellipse(0.16, 0, 0.84, 0.52, c)
    b.ellipse(0.3, 0.1, 0.5, 0.25, shade(c, 1.25))


def _car(b: Brush, c: Rgb) -> None:
    b.polygon([(0.2, 0.4), (0.32, 0), (0.7, 0), (0.86, 0.4)], c)
    b.polygon([(0.28, 0.38), (0.37, 0.1), (0.49, 0.1), (0.49, 0.38)], (215, 235, 245))
    b.polygon([(0.54, 0.38), (0.54, 0.1), (0.66, 0.1), (0.76, 0.38)], (215, 235, 245))
    b.rectangle(0, 0.38, 1, 0.8, c)
    for x in (0.24, 0.76):
        b.ellipse(x - 0.14, 0.56, x + 0.14, 1, (35, 35, 38))
        b.ellipse(x - 0.06, 0.69, x + 0.06, 0.87, (205, 205, 205))


def _star_points() -> list[tuple[float, float]]:
    raw = []
    for i in range(10):
        radius = 1.0 if i % 2 == 0 else 0.42
        angle = -pi / 2 + i * pi / 5
        raw.append((radius * cos(angle), radius * sin(angle)))
    xs, ys = [p[0] for p in raw], [p[1] for p in raw]
    return [
        ((x - min(xs)) / (max(xs) - min(xs)), (y - min(ys)) / (max(ys) - min(ys))) for x, y in raw
    ]


def _star(b: Brush, c: Rgb) -> None:
    b.polygon(_star_points(), c)


def _fish(b: Brush, c: Rgb) -> None:
    b.polygon([(0.3, 0.5), (0, 0.05), (0, 0.95)], shade(c, 0.7))
    b.ellipse(0.18, 0, 1, 1, c)
    b.polygon([(0.45, 0.55), (0.62, 0.5), (0.5, 0.82)], shade(c, 0.7))
    b.ellipse(0.76, 0.24, 0.9, 0.48, (250, 250, 250))
    b.ellipse(0.81, 0.31, 0.88, 0.42, (15, 15, 15))


def _flower(b: Brush, c: Rgb) -> None:
    b.rectangle(0.46, 0.45, 0.54, 1, (60, 125, 60))
    b.polygon([(0.5, 0.95), (0.95, 0.68), (0.78, 0.92)], (60, 125, 60))
    b.polygon([(0.5, 0.95), (0.05, 0.68), (0.22, 0.92)], (60, 125, 60))
    # Six petals round (0.5, 0.35); the box is 0.7 wide, so radii differ in x and y.
    for i in range(6):
        angle = pi / 6 + i * pi / 3
        x, y = 0.5 + 0.29 * cos(angle) / 0.866, 0.35 + 0.2 * sin(angle)
        b.ellipse(x - 0.21, y - 0.15, x + 0.21, y + 0.15, c)
    b.ellipse(0.34, 0.24, 0.66, 0.46, (255, 250, 225))


def _cup(b: Brush, c: Rgb) -> None:
    b.ring(0.55, 0.2, 1, 0.72, c, 0.1)
    b.polygon([(0, 0.08), (0.78, 0.08), (0.68, 0.94), (0.1, 0.94)], c)
    b.ellipse(0.1, 0.86, 0.68, 1, c)
    b.ellipse(0, 0, 0.78, 0.18, shade(c, 0.6))
    b.ellipse(0.06, 0.03, 0.72, 0.15, (240, 235, 225))


_DRAWINGS: dict[str, Callable[[Brush, Rgb], None]] = {
    "circle": _circle,
    "rectangle": _rectangle,
    "triangle": _triangle,
    "ball": _ball,
    "house": _house,
    "tree": _tree,
    "car": _car,
    "star": _star,
    "fish": _fish,
    "flower": _flower,
    "cup": _cup,
}


def draw_kind(
    canvas: ImageDraw.ImageDraw, kind: str, box: Box, rgb: Rgb, *, flip: bool = False
) -> None:
    """Draw a thing so that it fills its box.

    Args:
        canvas: Where to draw.
        kind: A key of ``vocabulary.KINDS``.
        box: (x1, y1, x2, y2) in canvas pixels.
        rgb: The thing's colour.
        flip: Mirror it left to right.
    """
    _DRAWINGS[kind](Brush(canvas, box, flip=flip), rgb)
