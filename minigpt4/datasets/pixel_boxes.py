"""Boxes that annotations give in pixels, and their form in hundredths of the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minigpt4.common.boxes import px_to_percent

Corners = list[float]
"""x1, y1, x2, y2 in pixels; the right and the bottom edge are outer ones."""


def in_pixels(form: str) -> bool:
    """Whether boxes of this ``box_form`` are in pixels."""
    return form.startswith("pixels_")


def pixel_boxes(row: Mapping[str, Any], form: str) -> list[Corners]:
    """The boxes of a row (``boxes``, else ``bbox``) as corners; empty when it has none."""
    found = row.get("boxes") or row.get("bbox")
    if not isinstance(found, list) or not found:
        return []
    boxes = found if isinstance(found[0], list) else [found]
    if form == "pixels_xyxy":
        return [list(box) for box in boxes]
    return [[x, y, x + width, y + height] for x, y, width, height in boxes]


def to_grid(row: Mapping[str, Any], boxes: Sequence[Corners]) -> list[list[int]]:
    """Corners to hundredths of the row's ``width`` and ``height``."""
    width, height = float(row["width"]), float(row["height"])
    return [list(px_to_percent(box, width=width, height=height)) for box in boxes]


def boxes_beyond(row: Mapping[str, Any], form: str) -> int:
    """How many boxes of a row, which has no other mistake, reach beyond its picture."""
    width, height = float(row["width"]), float(row["height"])
    return sum(
        min(box[0], box[1]) < 0 or box[2] > width or box[3] > height
        for box in pixel_boxes(row, form)
    )


def pixel_box_mistake(row: Mapping[str, Any], form: str, *, sized: bool = True) -> str | None:
    """What is wrong with the boxes of a row, if anything.

    Args:
        row: The row.
        form: The ``box_form``.
        sized: Whether the row has the picture's ``width`` and ``height``.
    """
    try:
        width, height = (float(row[name]) if sized else np.inf for name in ("width", "height"))
        boxes = pixel_boxes(row, form)
        corners = [[float(value) for value in box] for box in boxes]
    except (KeyError, TypeError, ValueError):
        return f"bbox, width and height must be numbers, four a box (it has {_shown(row)})"
    if width <= 0 or height <= 0:
        return f"its picture has no size ({width:g} by {height:g} pixels)"
    if not boxes:
        return "it has no box (bbox)"
    for box in corners:
        if len(box) != 4:
            return f"the box {box} is not four numbers"
        if box[0] >= box[2] or box[1] >= box[3]:
            return f"the box {_shown(row)} has no area (read as {form})"
        if box[2] <= 0 or box[3] <= 0 or box[0] >= width or box[1] >= height:
            return f"the box {_shown(row)} lies outside of its picture ({width:g} by {height:g})"
    return None


def _shown(row: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{name}={row[name]}" for name in ("bbox", "boxes", "width", "height") if row.get(name)
    )
