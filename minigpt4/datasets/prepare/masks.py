"""Masks to boxes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from minigpt4.common.boxes import Box, mask_to_box
from minigpt4.common.errors import DataError
from minigpt4.processors.image import load_image

_LIT = 127
_ASPECT_TOLERANCE = 0.02


def read_mask(path: Path, picture: Path) -> np.ndarray:
    """Read a mask and check that it belongs to its picture's shape.

    Grey levels of a compressed mask count from half brightness on; a mask whose values are all
    small (labels 0, 1, 2 ...) counts where it is not 0.

    Returns:
        Boolean array (H, W).

    Raises:
        DataError: Either file cannot be read, or their shapes differ.
    """
    mask = np.asarray(load_image(path).convert("L"))
    try:
        with Image.open(picture) as image:
            width, height = image.size
    except OSError as error:
        raise DataError(f"the picture {picture} cannot be read ({error}).") from error
    ratio = (mask.shape[1] / mask.shape[0]) / (width / height)
    if abs(ratio - 1) > _ASPECT_TOLERANCE:
        raise DataError(
            f"the mask {path} ({mask.shape[1]}x{mask.shape[0]}) has another shape than its picture "
            f"({width}x{height})."
        )
    lit: np.ndarray = mask > (_LIT if mask.max() > _LIT else 0)
    return lit


def mask_boxes(mask: np.ndarray, *, many: bool, min_part: float = 0.01) -> list[Box]:
    """Boxes of a mask, 0-100.

    Args:
        mask: Boolean array (H, W).
        many: One box for each connected part instead of one around everything.
        min_part: Parts below this share of the mask's area are taken for noise.

    Returns:
        Boxes in reading order; empty for an empty mask.
    """
    if not mask.any():
        return []
    if not many:
        box = mask_to_box(mask)
        return [box] if box else []
    from skimage.measure import label

    parts = label(mask, connectivity=2)
    areas = np.bincount(parts.ravel())[1:]
    kept = np.flatnonzero(areas >= min_part * areas.sum()) + 1
    boxes = [box for part in kept if (box := mask_to_box(parts == part))]
    return sorted(set(boxes), key=lambda box: (box[1], box[0]))
