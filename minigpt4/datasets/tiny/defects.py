"""Blemishes put onto faultless parts, with the exact mask of what was changed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from minigpt4.datasets.tiny.textures import PART_SIDE, Floats, Part

_SCALE = 2
_VISIBLE = 0.25
Points = NDArray[np.float64]


@dataclass(frozen=True)
class Spot:
    """Where a blemish goes: centre and extent in pixels of the part, and its direction."""

    x: float
    y: float
    size: float
    angle: float


@dataclass(frozen=True)
class Blemished:
    """A part with one blemish.

    Attributes:
        pixels: (S, S, 3) in 0-1.
        mask: (S, S) bool, what the blemish covers.
    """

    pixels: Floats
    mask: NDArray[np.bool_]


def _stencil(polygons: list[Points], *, blur: float = 0.6) -> Floats:
    """Fill polygons (each (N, 2), part pixels) into an (S, S) alpha map."""
    image = Image.new("L", (PART_SIDE * _SCALE, PART_SIDE * _SCALE))
    canvas = ImageDraw.Draw(image)
    for points in polygons:
        canvas.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=255)
    smooth = image.reduce(_SCALE).filter(ImageFilter.GaussianBlur(blur))
    return np.asarray(smooth, dtype=np.float32) / np.float32(255)


def _blur(alpha: Floats, radius: float) -> Floats:
    image = Image.fromarray((alpha * 255).astype(np.uint8))
    smooth = image.filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(smooth, dtype=np.float32) / np.float32(255)


def _blend(pixels: Floats, alpha: Floats, paint: Floats | NDArray[np.float64]) -> Floats:
    mixed = pixels * (1 - alpha[..., None]) + np.asarray(paint, np.float32) * alpha[..., None]
    return np.clip(mixed, 0, 1).astype(np.float32)


def _blob(rng: np.random.Generator, spot: Spot, *, rough: float, flat: float) -> Points:
    """A closed outline of ``spot.size`` across; ``flat`` squeezes it across its direction."""
    turn = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    radius = np.ones_like(turn)
    for wave in range(2, 7):
        radius += rough / wave * rng.normal() * np.cos(wave * turn + rng.uniform(0, 2 * np.pi))
    radius = np.clip(radius, 0.45, None)
    x, y = radius * np.cos(turn), radius * np.sin(turn) * flat
    reach = max(np.abs(x).max(), np.abs(y).max())
    return _placed(x / reach, y / reach, spot)


def _placed(x: NDArray[np.float64], y: NDArray[np.float64], spot: Spot) -> Points:
    """Turn and shift a figure drawn in -1..1 to its spot."""
    half, cos, sin = spot.size / 2, np.cos(spot.angle), np.sin(spot.angle)
    return np.stack([spot.x + half * (x * cos - y * sin), spot.y + half * (x * sin + y * cos)], 1)


def _ribbon(
    x: NDArray[np.float64], y: NDArray[np.float64], width: NDArray[np.float64], spot: Spot
) -> Points:
    """A band of ``width`` pixels along a line drawn in -1..1."""
    line = _placed(x, y, spot)
    along = np.gradient(line, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], 1)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    half = width[:, None] / 2
    return np.concatenate([line + normal * half, (line - normal * half)[::-1]])


def _against(part: Part, alpha: Floats) -> float:
    """Mean brightness of the part under a stencil."""
    total = float(alpha.sum()) + 1e-6
    return float((part.pixels.mean(axis=2) * alpha).sum()) / total


def scratch(rng: np.random.Generator, part: Part, spot: Spot) -> Blemished:
    """One to three long, slightly bent, pale or dark lines side by side."""
    t = np.linspace(-1, 1, 24)
    bend = rng.uniform(-0.22, 0.22) * (t**2 - 0.33) + rng.uniform(-0.06, 0.06) * np.sin(5 * t)
    bands = []
    for i in range(int(rng.integers(2, 4))):
        start, end = (-1.0, 1.0) if i == 0 else (rng.uniform(-1, -0.4), rng.uniform(0.4, 1))
        x = start + (t + 1) / 2 * (end - start)
        y = np.interp(x, t, bend) + i * rng.choice([-1, 1]) * rng.uniform(0.07, 0.13)
        taper = np.sqrt(np.clip(1 - t**2, 0.03, 1)) * rng.uniform(3.0, 5.0)
        bands.append(_ribbon(x, y, taper, spot))
    alpha = _stencil(bands, blur=0.5)
    pale = _against(part, alpha) < 0.55
    paint = rng.uniform(0.9, 1.0) if pale else rng.uniform(0.02, 0.12)
    edge = np.clip(np.roll(alpha, (1, 1), (0, 1)) - alpha, 0, 1) * 0.6
    pixels = _blend(part.pixels, edge, np.float32(0.05 if pale else 0.95) * np.ones(3))
    return Blemished(_blend(pixels, alpha * 0.95, paint * np.ones(3)), alpha > _VISIBLE)


def hole(rng: np.random.Generator, part: Part, spot: Spot) -> Blemished:
    """A rough hole: nearly black, its far wall faintly lit, with a broken pale rim."""
    outline = _blob(rng, spot, rough=0.22, flat=rng.uniform(0.7, 1.0))
    alpha = _stencil([outline])
    step = spot.size * 0.1 * np.array([np.sin(spot.angle), np.cos(spot.angle)])
    deep = np.minimum(np.roll(alpha, tuple(step.round().astype(int)), (0, 1)), alpha)
    wall = part.pixels * 0.3
    pixels = _blend(part.pixels, alpha, wall)
    pixels = _blend(pixels, _blur(deep, 1.2) * alpha, np.array([0.02, 0.02, 0.025]))
    rim = np.clip(_blur(alpha, 1.6) - alpha, 0, 1) * 1.5
    lit = np.clip(part.pixels * 1.5 + 0.15, 0, 1)
    return Blemished(_blend(pixels, np.clip(rim, 0, 0.8), lit), alpha > _VISIBLE)


# Ink, oil, rust, paint; only those this unlike the surface, in some channel (0-1), are used.
_STAINS = np.array(
    [(0.08, 0.1, 0.42), (0.16, 0.09, 0.03), (0.6, 0.2, 0.04), (0.1, 0.36, 0.36), (0.45, 0.04, 0.2)]
)
_UNLIKE = 0.3


def stain(rng: np.random.Generator, part: Part, spot: Spot) -> Blemished:
    """A soaked-in patch through which the surface still shows, darker towards its edge."""
    outline = _blob(rng, spot, rough=0.3, flat=rng.uniform(0.65, 1.0))
    alpha = _stencil([outline], blur=1.2)
    under = (part.pixels * alpha[..., None]).sum(axis=(0, 1)) / (alpha.sum() + 1e-6)
    unlike = _STAINS[np.abs(_STAINS - under).max(axis=1) > _UNLIKE]
    options = unlike if len(unlike) else _STAINS[:1]
    colour = options[rng.integers(len(options))] * rng.uniform(0.85, 1.15)
    detail = part.pixels / max(_against(part, alpha), 0.15)
    soaked = np.clip(colour * (0.55 + 0.45 * detail), 0, 1)
    core = _blur(alpha, spot.size * 0.09)
    edge = np.clip(alpha - core, 0, 1)
    pixels = _blend(part.pixels, alpha * rng.uniform(0.78, 0.9), soaked)
    return Blemished(_blend(pixels, edge * 0.7, colour * 0.5), alpha > _VISIBLE)


def cut(rng: np.random.Generator, part: Part, spot: Spot) -> Blemished:
    """A straight gash, widest in the middle: dark inside, one lip bright."""
    t = np.linspace(-1, 1, 24)
    width = np.clip(1 - t**2, 0.02, 1) ** 0.8 * spot.size * rng.uniform(0.16, 0.24)
    jag = np.cumsum(rng.normal(0, 0.012, size=len(t)))
    gash = _stencil([_ribbon(t, jag - jag.mean(), width, spot)])
    lips = _stencil([_ribbon(t, jag - jag.mean(), width * 1.45 + 2.5, spot)])
    side = 1 + np.clip(np.roll(lips, (2, 2), (0, 1)) - np.roll(lips, (-2, -2), (0, 1)), -1, 1)
    lip = np.clip(0.25 + part.pixels * 1.2 * side[..., None], 0, 1)
    pixels = _blend(part.pixels, lips * 0.85, lip)
    return Blemished(
        _blend(pixels, gash, np.array([0.04, 0.03, 0.03])), np.maximum(gash, lips) > 0.4
    )


_FLAT = {
    "brick": (0.78, 0.74, 0.68),
    "grass": (0.42, 0.29, 0.18),
    "gravel": (0.3, 0.22, 0.15),
    "wood": (0.93, 0.78, 0.52),
    "page": (0.32, 0.25, 0.2),
}


def missing(rng: np.random.Generator, part: Part, spot: Spot) -> Blemished:
    """An angular piece is gone and shows what lies beneath, with a shadow along the broken edge."""
    corners = np.sort(rng.uniform(0, 2 * np.pi, size=int(rng.integers(5, 8))))
    corners = np.linspace(0, 2 * np.pi, len(corners), endpoint=False) + 0.35 * np.sin(corners)
    radius = rng.uniform(0.72, 1.0, size=len(corners))
    alpha = _stencil([_placed(radius * np.cos(corners), radius * np.sin(corners), spot)])
    if part.backdrop is not None:
        alpha = alpha * part.surface
        return Blemished(_blend(part.pixels, alpha, part.backdrop), alpha > _VISIBLE)
    grain = rng.normal(0, 0.025, size=(PART_SIDE, PART_SIDE, 1))
    under = np.array(_FLAT[part.name]) * rng.uniform(0.9, 1.08) + grain
    pixels = _blend(part.pixels, alpha, under)
    shadow = np.clip(alpha - np.roll(_blur(alpha, 1.5), (4, 4), (0, 1)), 0, 1)
    return Blemished(_blend(pixels, shadow * 0.75, np.zeros(3)), alpha > _VISIBLE)


DEFECTS: dict[str, Callable[[np.random.Generator, Part, Spot], Blemished]] = {
    "scratch": scratch,
    "hole": hole,
    "stain": stain,
    "cut": cut,
    "missing": missing,
}
