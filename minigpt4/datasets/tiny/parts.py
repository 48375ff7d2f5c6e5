"""The MVTec AD stand-in: parts with and without one blemish, and its exact box."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from minigpt4.common.boxes import mask_to_box
from minigpt4.datasets.tiny.defects import DEFECTS, Spot
from minigpt4.datasets.tiny.hands import ONE, Hands
from minigpt4.datasets.tiny.streams import SPLITS, Split, Stream, rng_for
from minigpt4.datasets.tiny.textures import CLASSES, COIN, PART_SIDE, Part, make_part
from minigpt4.datasets.tiny.vivqa import save_picture

GOOD = "good"
WHOLE = [0, 0, 100, 100]
PARTS: dict[Split, int] = {"train": 1680, "test": 420}
ANNOTATIONS: dict[Split, str] = {"train": "train_data.json", "test": "val_data.json"}
# Longer side of a blemish's figure, shares of the picture.
_SIZES = {
    "scratch": (0.3, 0.55),
    "hole": (0.15, 0.4),
    "stain": (0.18, 0.45),
    "cut": (0.28, 0.55),
    "missing": (0.18, 0.45),
}
_LEAST_SIDE = 8
_MARGIN = 3


@dataclass(frozen=True)
class PartPicture:
    """A picture of a part.

    Attributes:
        image: The picture.
        name: Class of the part.
        defect: Kind of blemish, or ``good``.
        box: Box of the blemish, integers 0-100; the whole picture when good.
        part_box: Box of the part itself, integers 0-100.
    """

    image: Image.Image
    name: str
    defect: str
    box: list[int]
    part_box: list[int]


def _mask_box(mask: NDArray[np.bool_]) -> list[int]:
    box = mask_to_box(mask)
    if box is None:
        raise ValueError("the mask is empty")
    return list(box)


def make_picture(rng: np.random.Generator, name: str, defect: str, split: Split) -> PartPicture:
    """Make a part, with a blemish unless ``defect`` is ``good``.

    Args:
        rng: Source of chance.
        name: One of ``textures.CLASSES``.
        defect: One of ``defects.DEFECTS`` or ``good``.
        split: Region of the photograph to take the part from.

    Returns:
        The picture and its box.
    """
    part = make_part(rng, name, split)
    part_box = _mask_box(part.surface > 0.5)
    if defect == GOOD:
        return PartPicture(_to_image(part.pixels), name, GOOD, list(WHOLE), part_box)
    while True:
        blemished = DEFECTS[defect](rng, part, _choose_spot(rng, part, defect))
        if not _inside(blemished.mask, part, defect):
            continue
        box = _mask_box(blemished.mask)
        if min(box[2] - box[0], box[3] - box[1]) >= _LEAST_SIDE:
            return PartPicture(_to_image(blemished.pixels), name, defect, box, part_box)


def _to_image(pixels: NDArray[np.float32]) -> Image.Image:
    return Image.fromarray((pixels * 255).round().astype(np.uint8), "RGB")


def _choose_spot(rng: np.random.Generator, part: Part, defect: str) -> Spot:
    low, high = _SIZES[defect]
    size = rng.uniform(low, high) * PART_SIDE * (0.85 if part.name == COIN else 1.0)
    angle = rng.uniform(0, 2 * np.pi)
    if part.name != COIN:
        x, y = rng.uniform(0.08 * PART_SIDE, 0.92 * PART_SIDE, size=2)
        return Spot(x, y, size, angle)
    ys, xs = np.nonzero(part.surface > 0.5)
    centre = np.array([xs.mean(), ys.mean()])
    radius = np.sqrt(len(xs) / np.pi)
    # A coin loses its edge; every other blemish lies on its face.
    distance = radius * (
        rng.uniform(0.75, 0.95) if defect == "missing" else 0.6 * rng.uniform() ** 0.5
    )
    bearing = rng.uniform(0, 2 * np.pi)
    x, y = centre + distance * np.array([np.cos(bearing), np.sin(bearing)])
    return Spot(x, y, size, angle)


def _inside(mask: NDArray[np.bool_], part: Part, defect: str) -> bool:
    """Whether the blemish lies whole on the part and does not touch the picture's edge."""
    if (
        not mask.any()
        or mask[:3].any()
        or mask[-3:].any()
        or mask[:, :3].any()
        or mask[:, -3:].any()
    ):
        return False
    return defect == "missing" or not (mask & (part.surface < 0.5)).any()


def plan(count: int) -> list[tuple[str, str]]:
    """Class and blemish of each of ``count`` parts: classes in turn, every other round good."""
    kinds = tuple(DEFECTS)
    pairs = []
    for number in range(count):
        turn, column = divmod(number, len(CLASSES))
        defect = GOOD if turn % 2 == 0 else kinds[(turn // 2 + column) % len(kinds)]
        pairs.append((CLASSES[column], defect))
    return pairs


def write_mvtec(folder: Path, *, seed: int, scale: float, hands: Hands = ONE) -> dict[str, int]:
    """Write pictures under ``{class}/{split}/{kind}/NNN.jpg`` and both annotation files.

    Args:
        folder: An existing empty folder; paths in the annotations are relative to it.
        seed: Seed of everything.
        scale: Shrinks the number of pictures.
        hands: Who makes the pictures.

    Returns:
        Pictures by split, for the manifest.
    """
    counts: dict[str, int] = {}
    for split in SPLITS:
        pairs = plan(max(2 * len(CLASSES), round(PARTS[split] * scale)))
        taken: dict[tuple[str, str], int] = {}
        parts = []
        for number, (name, defect) in enumerate(pairs):
            index = taken.get((name, defect), 0)
            taken[name, defect] = index + 1
            path = Path(name, split, defect, f"{index:03d}.jpg")
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            parts.append((number, name, defect, path))
        write = partial(_write_part, folder=folder, seed=seed, split=split)
        boxes = hands.map(write, parts, desc=f"parts ({split})")
        entries = [
            {
                "image_path": path.as_posix(),
                "class": name,
                "is_broken": defect != GOOD,
                "bbox": box,
                "defect": defect,
            }
            for (_, name, defect, path), box in zip(parts, boxes, strict=True)
        ]
        text = json.dumps(entries, ensure_ascii=False, indent=1)
        (folder / ANNOTATIONS[split]).write_text(text, encoding="utf-8")
        counts[f"{split}_pictures"] = len(entries)
    return counts


def _write_part(
    part: tuple[int, str, str, Path], *, folder: Path, seed: int, split: Split
) -> list[int]:
    """Make and save a picture; its box."""
    number, name, defect, path = part
    stream = Stream.PARTS_TRAIN if split == "train" else Stream.PARTS_TEST
    picture = make_picture(rng_for(seed, stream, number), name, defect, split)
    save_picture(picture.image, folder / path)
    return picture.box
