"""What an answer about the objects of a picture says, and what is true of it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from minigpt4.common.boxes import Box, iou, parse_boxes
from minigpt4.common.text import normalize
from minigpt4.scoring.box_score import box_score
from minigpt4.scoring.prediction import Prediction

XYXY = tuple[float, float, float, float]
RIGHT_IOU = 0.5
"""Overlap from which an object counts as found."""
_PHRASE = re.compile(r"<p>(?P<name>.*?)</p>", re.DOTALL)


class AnsweredObject(NamedTuple):
    """One box of an answer.

    Attributes:
        name: The class as it was said; empty for a box without one.
        box: In hundredths of the picture.
        phrase: Number of its ``<p>...</p>`` in the answer; -1 for none.
        span: Where its numbers stand in the answer.
    """

    name: str
    box: Box
    phrase: int
    span: tuple[int, int]


class TrueObject(NamedTuple):
    """One annotated object: its class, and its box in hundredths, not rounded."""

    name: str
    box: XYXY


def parse_objects(text: str, *, asked: Sequence[str] = ()) -> list[AnsweredObject]:
    """The objects of an answer; boxes without area are left out.

    Args:
        text: The answer.
        asked: The classes that the question was about; the only one is meant where a box has none.
    """
    found = []
    phrase = -1
    usual = asked[0] if len(asked) == 1 else ""
    for each in parse_boxes(text):
        phrase += each.phrase is not None
        for box, span in zip(each.boxes, each.spans, strict=True):
            if box[0] < box[2] and box[1] < box[3]:
                name = each.phrase if each.phrase is not None else usual
                number = phrase if each.phrase is not None else -1
                found.append(AnsweredObject(name, box, number, span))
    return found


def object_spans(text: str) -> dict[str, tuple[int, int]]:
    """Where classes and boxes stand in an answer, for their probabilities.

    Returns:
        ``label_0`` ... for the names between ``<p>`` and ``</p>``, ``box_0`` ... for the numbers of
        each box that ``parse_objects`` gives.
    """
    labels = {f"label_{i}": each.span("name") for i, each in enumerate(_PHRASE.finditer(text))}
    boxes = {f"box_{i}": each.span for i, each in enumerate(parse_objects(text))}
    return {name: span for name, span in {**labels, **boxes}.items() if span[0] < span[1]}


def answered(prediction: Prediction) -> list[AnsweredObject]:
    """The objects of a prediction's answer."""
    return parse_objects(prediction.answer, asked=prediction.meta.get("asked") or ())


def object_score(prediction: Prediction, place: int, phrase: int) -> float:
    """Confidence of a box: its class's probability times the coordinates', see ``box_score``."""
    return box_score(prediction, place, label=f"label_{phrase}")


def says_nothing(prediction: Prediction) -> bool:
    """Whether the answer is the one for a picture without objects."""
    return normalize(prediction.answer) == normalize(str(prediction.meta.get("empty_answer", "")))


def can_read(prediction: Prediction) -> bool:
    """Whether the answer names an object, or says that there is none."""
    return bool(answered(prediction)) or says_nothing(prediction)


def true_objects(meta: Mapping[str, Any]) -> list[TrueObject]:
    """What a sample's picture holds."""
    pairs = zip(meta.get("classes") or (), meta.get("boxes") or (), strict=True)
    return [TrueObject(str(name), (x1, y1, x2, y2)) for name, (x1, y1, x2, y2) in pairs]


def is_right(prediction: Prediction) -> bool:
    """Whether the answer names every object (IoU of 0.5 or more, the same class), and no other."""
    if not can_read(prediction):
        return False
    left = [(normalize(each.name), each.box) for each in answered(prediction)]
    for name, box in true_objects(prediction.meta):
        overlaps = [(iou(box, b) if n == normalize(name) else 0.0) for n, b in left]
        best = max(range(len(left)), key=overlaps.__getitem__, default=None)
        if best is None or overlaps[best] < RIGHT_IOU:
            return False
        del left[best]
    return not left
