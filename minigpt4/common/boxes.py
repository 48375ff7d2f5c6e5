"""Boxes: how they are written in answers, read back, measured and converted.

In answers a box is four whole numbers from 0 to 100, shares of the picture's width and height:
``<p>bottle-defect</p>{<10><20><40><50>}``; several boxes of one phrase are joined by ``<delim>``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in hundredths of the picture's width and height."""

GRID = 100
WHOLE: Box = (0, 0, GRID, GRID)
DELIM = "<delim>"

_NUMBER = re.compile(r"<\s*(-?\d+(?:\.\d+)?)\s*>")
# A phrase, or a run of numbers with or without its braces (an answer may be cut before the "}").
_PIECE = re.compile(
    r"<p>(?P<phrase>.*?)</p>|\{?\s*(?P<numbers>(?:<\s*-?\d+(?:\.\d+)?\s*>\s*)+)\}?", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A phrase and the boxes that follow it.

    Attributes:
        phrase: Text between ``<p>`` and ``</p>``; None for boxes without a phrase.
        boxes: The boxes, in the order of the text; may be empty.
        rejected: Groups of numbers that are no box: not four of them, not whole, or outside 0-100.
        spans: Where the numbers of each box stand in the text, as character positions (start, end).
    """

    phrase: str | None
    boxes: tuple[Box, ...]
    rejected: int = 0
    spans: tuple[tuple[int, int], ...] = field(default=(), compare=False)

    @property
    def inverted(self) -> tuple[Box, ...]:
        """Those of ``boxes`` whose right is left of their left, or bottom above their top."""
        return tuple(box for box in self.boxes if is_inverted(box))


def is_inverted(box: Sequence[float]) -> bool:
    """Whether the second corner of ``box`` lies left of or above the first."""
    return box[2] < box[0] or box[3] < box[1]


def format_box(box: Sequence[int]) -> str:
    """Write one box: ``(10, 20, 40, 50)`` becomes ``{<10><20><40><50>}``.

    Raises:
        ValueError: Not four whole numbers from 0 to 100.
    """
    if len(box) != 4 or any(int(value) != value or not 0 <= value <= GRID for value in box):
        raise ValueError(f"a box is four whole numbers from 0 to {GRID}, not {tuple(box)}")
    return "{" + "".join(f"<{int(value)}>" for value in box) + "}"


def format_boxes(boxes: Iterable[Sequence[int]]) -> str:
    """Write several boxes, joined by ``<delim>``."""
    return DELIM.join(format_box(box) for box in boxes)


def labelled(phrase: str, boxes: Iterable[Sequence[int]]) -> str:
    """Write a phrase and its boxes: ``<p>phrase</p>{<x1><y1><x2><y2>}``."""
    return f"<p>{phrase}</p>{format_boxes(boxes)}"


def parse_boxes(text: str) -> list[LabelledBox]:
    """Read the phrases and boxes of an answer.

    White space between the parts does not matter, a brace may be missing, boxes may come without a
    phrase and phrases without a box. What looks like a box but is none is counted in ``rejected``.

    Args:
        text: An answer of a model or of a data set.

    Returns:
        One entry a phrase, in the order of the text; boxes before any phrase have ``phrase=None``.
    """
    found: list[tuple[str | None, list[Box], list[str], list[tuple[int, int]]]] = []
    for piece in _PIECE.finditer(text):
        if piece["phrase"] is not None:
            found.append((piece["phrase"].strip(), [], [], []))
            continue
        if not found:
            found.append((None, [], [], []))
        box = _box_of(_NUMBER.findall(piece["numbers"]))
        if box is None:
            found[-1][2].append(piece["numbers"])
        else:
            found[-1][1].append(box)
            found[-1][3].append(piece.span("numbers"))
    return [
        LabelledBox(phrase, tuple(boxes), len(bad), tuple(spans))
        for phrase, boxes, bad, spans in found
    ]


def _box_of(numbers: list[str]) -> Box | None:
    if len(numbers) != 4 or not all(number.isdigit() for number in numbers):
        return None
    x1, y1, x2, y2 = (int(number) for number in numbers)
    return (x1, y1, x2, y2) if max(x1, y1, x2, y2) <= GRID else None


def iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union of two boxes (left, top, right, bottom) whose edges are lines.

    Returns:
        0 to 1; 0 when both have no area.
    """
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]))
    shared = width * height
    union = _area(a) + _area(b) - shared
    return shared / union if union > 0 else 0.0


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def compute_iou(a: Sequence[float], b: Sequence[float]) -> float:
    """Intersection over union as the original counts it: edges are pixels that belong to the box.

    Both sides are one longer than in ``iou``, so boxes that only touch overlap a little. Published
    referring-expression numbers use it.
    """
    width = max(0.0, min(a[2], b[2]) - max(a[0], b[0]) + 1)
    height = max(0.0, min(a[3], b[3]) - max(a[1], b[1]) + 1)
    shared = width * height
    area_a = (a[2] - a[0] + 1) * (a[3] - a[1] + 1)
    area_b = (b[2] - b[0] + 1) * (b[3] - b[1] + 1)
    union = area_a + area_b - shared
    return shared / union if union > 0 else 0.0


computeIoU = compute_iou  # noqa: N816 (the original's name, which users' scripts import)


def px_to_percent(box: Sequence[float], *, width: float, height: float) -> Box:
    """Convert a box of pixels to hundredths of the picture.

    Args:
        box: Left, top, right, bottom in pixels; right and bottom are the outer edges, so the whole
            picture is ``(0, 0, width, height)``.
        width: Width of the picture in pixels.
        height: Height of the picture in pixels.

    Returns:
        The nearest box of the grid, inside the picture and at least one unit wide and high (a box
        without area can never be matched).

    Raises:
        ValueError: The picture has no size or the box is inverted.
    """
    if width <= 0 or height <= 0:
        raise ValueError(f"a picture of {width}x{height} pixels has no boxes")
    if is_inverted(box):
        raise ValueError(f"the box {tuple(box)} ends before it begins")
    x1, x2 = _span(box[0], box[2], width)
    y1, y2 = _span(box[1], box[3], height)
    return x1, y1, x2, y2


def _span(start: float, end: float, size: float) -> tuple[int, int]:
    low, high = (min(max(value / size * GRID, 0.0), float(GRID)) for value in (start, end))
    first, last = round(low), round(high)
    if first == last:
        first = min(int(low), GRID - 1)
        last = first + 1
    return first, last


def percent_to_px(box: Sequence[float], *, width: int, height: int) -> Box:
    """Convert a box of hundredths to whole pixels (outer edges), for drawing and cutting out."""
    return (
        round(box[0] * width / GRID),
        round(box[1] * height / GRID),
        round(box[2] * width / GRID),
        round(box[3] * height / GRID),
    )


def mask_to_box(mask: NDArray[np.generic]) -> Box | None:
    """Find the box around the non-zero pixels of a mask.

    Args:
        mask: Shape (H, W), any type; what is not zero counts.

    Returns:
        The box in hundredths, the full mask giving ``(0, 0, 100, 100)``; None for an empty mask.

    Raises:
        ValueError: The mask is not two-dimensional.
    """
    if mask.ndim != 2:
        raise ValueError(f"a mask has two dimensions, not {mask.ndim}")
    height, width = mask.shape
    edges = _edges(mask)
    if edges is None:
        return None
    left, top, right, bottom = edges
    return px_to_percent((left, top, right + 1, bottom + 1), width=width, height=height)


def sketch_to_box(mask: NDArray[np.generic]) -> Box | None:
    """Box of a region that a user painted, as the original's demo makes it for ``[identify]``.

    The mask is sampled at the centres of a 100x100 grid and the first and last hit of each
    direction are the corners; so the full mask gives ``(0, 0, 99, 99)`` and a dot may give None.

    Args:
        mask: Shape (H, W); what is not zero counts.
    """
    height, width = mask.shape
    rows = ((np.arange(GRID) + 0.5) * height / GRID).astype(int)
    columns = ((np.arange(GRID) + 0.5) * width / GRID).astype(int)
    return _edges(mask[np.ix_(rows, columns)])


def _edges(mask: NDArray[np.generic]) -> Box | None:
    rows = np.flatnonzero((mask != 0).any(axis=1))
    columns = np.flatnonzero((mask != 0).any(axis=0))
    if rows.size == 0:
        return None
    return int(columns[0]), int(rows[0]), int(columns[-1]), int(rows[-1])
