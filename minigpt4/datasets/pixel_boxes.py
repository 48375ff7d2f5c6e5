"""Boxes in pixels or shares of the picture, and their form in hundredths of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from minigpt4.common.boxes import px_to_percent

Corners = list[float]
"""x1, y1, x2, y2 in the annotation's unit; the right and the bottom edge are outer ones."""

_ROUNDING = 1e-4
"""Shares are written with a few digits, so that a box at the edge seems to reach beyond it."""


@cache
def in_pixels(form: str) -> bool:
    """Whether boxes of this ``box_form`` are in pixels."""
    return form.startswith("pixels_")


@cache
def is_converted(form: str) -> bool:
    """Whether boxes of this ``box_form`` are not in hundredths yet: in pixels, or in shares."""
    return in_pixels(form) or form.startswith("shares_")


def _size(row: Mapping[str, Any], form: str) -> tuple[float, float]:
    """Width and height in the unit of the boxes."""
    return (float(row["width"]), float(row["height"])) if in_pixels(form) else (1.0, 1.0)


def corners_of(box: Sequence[float], form: str) -> Corners:
    """One box of a ``box_form`` (``pixels_xywh``, ``shares_cxcywh`` ...) as corners."""
    a, b, c, d = box
    if form.endswith("_xyxy"):
        return [a, b, c, d]
    left, top = (a - c / 2, b - d / 2) if form.endswith("_cxcywh") else (a, b)
    return [left, top, left + c, top + d]


def pixel_boxes(row: Mapping[str, Any], form: str) -> list[Corners]:
    """The boxes of a row (``boxes``, else ``bbox``) as corners; empty when it has none."""
    found = row.get("boxes") or row.get("bbox")
    if not isinstance(found, list) or not found:
        return []
    boxes = found if isinstance(found[0], list) else [found]
    return [corners_of(box, form) for box in boxes]


def to_grid(
    row: Mapping[str, Any], boxes: Sequence[Corners], form: str = "pixels_xyxy"
) -> list[list[int]]:
    """Corners to hundredths of the picture."""
    width, height = _size(row, form)
    return [list(px_to_percent(box, width=width, height=height)) for box in boxes]


def boxes_beyond(row: Mapping[str, Any], form: str) -> int:
    """How many boxes of a row, which has no other mistake, reach beyond its picture."""
    width, height = _size(row, form)
    slack = 0.0 if in_pixels(form) else _ROUNDING
    return sum(
        min(box[0], box[1]) < -slack or box[2] > width + slack or box[3] > height + slack
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
        width, height = _size(row, form) if sized or not in_pixels(form) else (np.inf, np.inf)
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
