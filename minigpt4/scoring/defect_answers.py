"""What an answer about a defect says, and what is true of its picture."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from minigpt4.common.boxes import WHOLE, Box, parse_boxes
from minigpt4.common.text import normalize
from minigpt4.datasets.grounding import boxes_of

LABELS = ("not-defect", "defect")
"""A label's number is its place here, as in the original's scoring."""
NOT_DEFECT, DEFECT = range(2)
# White space between the words does not matter; the longer ending is tried first. A name may end in
# "not" (knot-defect), which is no word of its own then.
_ENDINGS = {NOT_DEFECT: re.compile(r"\bnot\s*-\s*defect\s*$"), DEFECT: re.compile(r"defect\s*$")}
_LABEL = re.compile(r"(?P<label>(?:\bnot\s*-\s*)?defect)\s*</p>")


@dataclass(frozen=True, slots=True)
class DefectAnswer:
    """An answer that could be read.

    Attributes:
        label: ``NOT_DEFECT`` or ``DEFECT``.
        object_class: What stands before the label: ``bottle``; see ``same_class``.
        boxes: One or more boxes, 0-100.
        spans: Where the numbers of each box stand in the answer (start, end).
    """

    label: int
    object_class: str
    boxes: list[Box]
    spans: list[tuple[int, int]] = field(default_factory=list, compare=False)


def parse_answer(text: str) -> DefectAnswer | None:
    """Read the first label of an answer and all boxes under it; None if there is none of them.

    A later phrase with the same label adds its boxes, for several defects may be listed either way;
    one with the other label contradicts the first and is left out.
    """
    answer: DefectAnswer | None = None
    for found in parse_boxes(text):
        label, name = _read_phrase(found.phrase or "")
        if label is None:
            continue
        if answer is None:
            answer = DefectAnswer(label, name, [])
        if label == answer.label:
            for box, span in zip(found.boxes, found.spans, strict=True):
                if box[0] < box[2] and box[1] < box[3]:
                    answer.boxes.append(box)
                    answer.spans.append(span)
    return answer if answer is not None and answer.boxes else None


def _read_phrase(phrase: str) -> tuple[int | None, str]:
    for label, ending in _ENDINGS.items():
        if match := ending.search(phrase):
            return label, phrase[: match.start()].rstrip(" -")
    return None, phrase


def answer_spans(text: str) -> dict[str, tuple[int, int]]:
    """Where label and boxes stand in an answer, as character positions, for their probabilities.

    Returns:
        ``label``, and ``box_0``, ``box_1`` ... for the four numbers of each box that
        ``parse_answer`` gives; nothing for an answer that cannot be read.
    """
    answer, label = parse_answer(text), _LABEL.search(text)
    if answer is None or label is None:
        return {}
    boxes = {f"box_{place}": span for place, span in enumerate(answer.spans)}
    return {"label": label.span("label"), **boxes}


def class_key(name: str) -> str:
    """The name of an object in the form in which names are compared."""
    return normalize(name).replace(" ", "")


def same_class(a: str, b: str) -> bool:
    """Whether two names of objects are the same but for Unicode form, case and white space."""
    return class_key(a) == class_key(b)


def is_broken(meta: Mapping[str, Any]) -> bool:
    """Whether the part of a sample is defective; text files may write true, True or 1."""
    return str(meta["is_broken"]).lower() in ("true", "1")


def true_boxes(meta: Mapping[str, Any]) -> list[Box]:
    """The true boxes of a sample: those of its defect, or the whole picture of a good part."""
    if not is_broken(meta):
        return [WHOLE]
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes_of(meta)]


def defect_kind(meta: Mapping[str, Any]) -> str:
    """The kind of a defect: as annotated, else the picture's folder (``bottle/crack/000.png``)."""
    return str(meta.get("defect") or PurePosixPath(meta["image_path"]).parent.name)
