"""Faultless parts: crops of scikit-image's bundled photographs under varied pose and light.

Each class has a region (or a set of coins) for training and another, apart from it, for testing.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from minigpt4.datasets.tiny.streams import Split

Floats = NDArray[np.float32]

PART_SIDE = 192
Region = tuple[int, int, int, int]


@dataclass(frozen=True)
class Texture:
    """Where a texture class comes from.

    Attributes:
        file: Photograph in ``skimage/data``.
        regions: (x1, y1, x2, y2) in its pixels, by split; they do not touch.
        crop: Smallest and largest side of a crop in its pixels.
        tilt: Largest rotation in degrees, either way.
        quarter_turns: Whether the texture looks natural turned by 90 degrees.
        mirror: Whether it looks natural mirrored.
        tint: Factors on red, green and blue; given for every grey photograph.
    """

    file: str
    regions: dict[Split, Region]
    crop: tuple[int, int]
    tilt: float
    quarter_turns: bool = True
    mirror: bool = True
    tint: tuple[float, float, float] | None = None


TEXTURES: dict[str, Texture] = {
    "brick": Texture(
        "brick.png",
        {"train": (0, 0, 300, 512), "test": (306, 0, 512, 512)},
        (110, 165),
        10,
        tint=(1.12, 0.94, 0.86),
    ),
    "grass": Texture(
        "grass.png",
        {"train": (0, 0, 300, 512), "test": (306, 0, 512, 512)},
        (110, 165),
        14,
        tint=(0.92, 1.1, 0.78),
    ),
    "gravel": Texture(
        "gravel.png",
        {"train": (0, 0, 300, 512), "test": (306, 0, 512, 512)},
        (110, 165),
        14,
        tint=(1.0, 0.99, 0.97),
    ),
    "wood": Texture(
        "coffee.png",
        {"train": (486, 168, 600, 400), "test": (452, 0, 600, 160)},
        (76, 100),
        6,
        quarter_turns=False,
    ),
    "page": Texture(
        "page.png",
        {"train": (4, 0, 224, 150), "test": (230, 0, 382, 150)},
        (88, 118),
        5,
        quarter_turns=False,
        mirror=False,
        tint=(1.0, 0.99, 0.96),
    ),
}
COIN = "coin"
CLASSES = (*TEXTURES, COIN)


@dataclass(frozen=True)
class Part:
    """A faultless part.

    Attributes:
        name: Its class.
        pixels: (S, S, 3) in 0-1.
        surface: (S, S) in 0-1, where the part is (a coin does not fill its picture).
        backdrop: (S, S, 3) what is behind the part, for pieces that are missing; None for textures.
    """

    name: str
    pixels: Floats
    surface: Floats
    backdrop: Floats | None = None


@cache
def _photograph(file: str) -> Image.Image:
    import skimage

    path = Path(skimage.__file__).parent / "data" / file
    with Image.open(path) as image:
        return image.convert("L" if image.mode == "L" else "RGB")


def make_part(rng: np.random.Generator, name: str, split: Split) -> Part:
    """Make a faultless part.

    Args:
        rng: Source of chance.
        name: One of ``CLASSES``.
        split: Which region or which coins to take.

    Returns:
        The part, ``PART_SIDE`` pixels wide and high.
    """
    return _coin(rng, split) if name == COIN else _texture(rng, name, split)


def _texture(rng: np.random.Generator, name: str, split: Split) -> Part:
    texture = TEXTURES[name]
    pixels = _crop(rng, texture, texture.regions[split])
    if texture.tint is not None:
        pixels = pixels * np.array(texture.tint, dtype=np.float32)
    if texture.quarter_turns:
        pixels = np.rot90(pixels, k=int(rng.integers(4)))
    if texture.mirror and rng.integers(2):
        pixels = pixels[:, ::-1]
    surface = np.ones(pixels.shape[:2], dtype=np.float32)
    return Part(name, _relight(rng, pixels), surface)


def _crop(rng: np.random.Generator, texture: Texture, region: Region) -> Floats:
    """A turned square crop that stays inside the region, resampled to the part's size."""
    x1, y1, x2, y2 = region
    angle = np.deg2rad(rng.uniform(-texture.tilt, texture.tilt))
    side = rng.uniform(*texture.crop)
    reach = side * (abs(np.cos(angle)) + abs(np.sin(angle))) / 2
    x = rng.uniform(x1 + reach, x2 - reach)
    y = rng.uniform(y1 + reach, y2 - reach)
    return _resample(_photograph(texture.file), (x, y), angle, side / PART_SIDE)


def _resample(image: Image.Image, centre: tuple[float, float], angle: float, zoom: float) -> Floats:
    """Sample a turned square round ``centre``; ``zoom`` is source pixels a pixel.

    Returns:
        (S, S, 3), or (S, S, 1) from a grey photograph, in 0-1.
    """
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    half = PART_SIDE / 2
    x0 = centre[0] - cos * half + sin * half
    y0 = centre[1] - sin * half - cos * half
    out = image.transform(
        (PART_SIDE, PART_SIDE),
        Image.Transform.AFFINE,
        (cos, -sin, x0, sin, cos, y0),
        Image.Resampling.BICUBIC,
    )
    pixels = np.asarray(out, dtype=np.float32) / np.float32(255)
    return pixels[..., None] if pixels.ndim == 2 else pixels


_ACROSS, _DOWN = np.meshgrid(*(np.linspace(-0.5, 0.5, PART_SIDE, dtype=np.float32),) * 2)


def _relight(rng: np.random.Generator, pixels: Floats) -> Floats:
    """Vary brightness, contrast, warmth and the direction of a soft light; add a little noise."""
    contrast, warmth = rng.uniform(0.85, 1.15), rng.uniform(-0.04, 0.04)
    angle, slope = rng.uniform(0, 2 * np.pi), rng.uniform(0, 0.16)
    light = rng.uniform(0.9, 1.1) + slope * (_ACROSS * np.cos(angle) + _DOWN * np.sin(angle))
    noise = 0.01 * rng.standard_normal((PART_SIDE, PART_SIDE, 1), dtype=np.float32)
    tone = np.array([1 + warmth, 1, 1 - warmth], dtype=np.float32)
    flat = pixels.mean() * (1 - contrast)
    lit = (pixels * np.float32(contrast) + flat) * tone * light[..., None].astype(np.float32)
    return np.clip(lit + noise, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class _CoinCut:
    """One coin of the photograph: centre and radius in its pixels and its outline's mask."""

    centre: tuple[float, float]
    radius: float
    mask: Image.Image


@cache
def _coins() -> tuple[_CoinCut, ...]:
    """Find the coins whose whole outline stands out, in reading order."""
    from scipy import ndimage
    from skimage import filters, measure, morphology

    grey = np.asarray(_photograph("coins.png").convert("L"), dtype=np.float32)
    background = ndimage.gaussian_filter(ndimage.minimum_filter(grey, 41), 20)
    raised = ndimage.gaussian_filter(grey - background, 1.0)
    solid = ndimage.binary_fill_holes(raised > filters.threshold_otsu(raised))
    solid = morphology.opening(solid, morphology.disk(4))
    cuts = []
    for region in measure.regionprops(measure.label(solid)):
        y1, x1, y2, x2 = region.bbox
        # Where the ground is as bright as the coin its outline is cut short: not a full ellipse.
        fullness = region.area_convex / (np.pi / 4 * (x2 - x1) * (y2 - y1))
        lengthened = max(x2 - x1, y2 - y1) / min(x2 - x1, y2 - y1)
        inside = min(x1, y1) > 2 and x2 < grey.shape[1] - 2 and y2 < grey.shape[0] - 2
        if region.area < 500 or fullness < 0.975 or lengthened > 1.2 or not inside:
            continue
        mask = np.zeros(grey.shape, dtype=np.uint8)
        mask[y1:y2, x1:x2] = 255 * region.image_convex
        centre = ((x1 + x2) / 2, (y1 + y2) / 2)
        cuts.append(_CoinCut(centre, max(x2 - x1, y2 - y1) / 2, Image.fromarray(mask)))
    return tuple(cuts)


def coin_numbers(split: Split) -> list[int]:
    """Which of the photographed coins a split may use; every third is kept for testing."""
    return [i for i in range(len(_coins())) if (i % 3 == 2) == (split == "test")]


def _coin(rng: np.random.Generator, split: Split) -> Part:
    """One coin, turned, on a soft dark ground."""
    numbers = coin_numbers(split)
    cut = _coins()[numbers[rng.integers(len(numbers))]]
    zoom = cut.radius / (PART_SIDE * rng.uniform(0.34, 0.43))
    angle = rng.uniform(0, 2 * np.pi)
    play = 6 * zoom
    centre = (cut.centre[0] + rng.uniform(-play, play), cut.centre[1] + rng.uniform(-play, play))
    pixels = _resample(_photograph("coins.png"), centre, angle, zoom)
    surface = _resample(cut.mask, centre, angle, zoom)[..., 0]
    metal = np.array(((1.0, 0.97, 0.9), (1.08, 0.95, 0.7), (1.08, 0.85, 0.68))[rng.integers(3)])
    ground = _ground(rng)
    whole = (
        surface[..., None] * pixels * metal.astype(np.float32) + (1 - surface[..., None]) * ground
    )
    state = rng.bit_generator.state
    lit = _relight(rng, whole)
    rng.bit_generator.state = state
    return Part(COIN, lit, surface, _relight(rng, ground))


def _ground(rng: np.random.Generator) -> Floats:
    """A dark, faintly mottled cloth."""
    from scipy import ndimage

    base = rng.uniform(0.08, 0.28) * rng.uniform(0.85, 1.15, size=3)
    mottle = ndimage.gaussian_filter(rng.normal(0, 1, size=(PART_SIDE, PART_SIDE)), 3)
    mottle = mottle / mottle.std() * 0.012
    return np.clip(base + mottle[..., None], 0, 1).astype(np.float32)
