"""Phrases and their boxes: where something is, what is in a box, and what is defective."""

from __future__ import annotations

import logging
import random
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from minigpt4.common.boxes import GRID, WHOLE, format_box, format_boxes
from minigpt4.conversation.prompts import (
    MVTEC_PROMPT,
    REC_EVAL_PROMPT,
    TAG_IDENTIFY,
    TAG_REFER,
)
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.patterns import fill, pattern_columns
from minigpt4.datasets.pictures import picture_size
from minigpt4.datasets.pixel_boxes import (
    boxes_beyond,
    in_pixels,
    is_converted,
    pixel_box_mistake,
    pixel_boxes,
    to_grid,
)
from minigpt4.datasets.schema import Turn
from minigpt4.datasets.spec import RecordSpec

logger = logging.getLogger(__name__)

_REFER = {
    "prompts": (
        f"{TAG_REFER} {{phrase}}",
        REC_EVAL_PROMPT,
        f"{TAG_REFER} where is {{phrase}}?",
        f"{TAG_REFER} find {{phrase}}",
        f"{TAG_REFER} which part of the picture shows {{phrase}}?",
    ),
    "eval_prompt": REC_EVAL_PROMPT,
    "answer": "{boxes}",
}
_IDENTIFY = {
    "prompts": (
        f"{TAG_IDENTIFY} {{boxes}}",
        f"{TAG_IDENTIFY} what is in {{boxes}}?",
        f"{TAG_IDENTIFY} name the thing at {{boxes}}",
    ),
    "eval_prompt": f"{TAG_IDENTIFY} what is in {{boxes}}?",
    "answer": "{phrase}",
}
_DETECTION = {
    "prompts": (MVTEC_PROMPT,),
    "answers": {
        "is_broken": {
            True: "<p>{class}-defect</p>{boxes}",
            False: "<p>{class}-not-defect</p>{whole}",
        }
    },
}
_TASKS: Mapping[str, Mapping[str, Any]] = {
    "refer": _REFER,
    "identify": _IDENTIFY,
    "detection": _DETECTION,
}


class GroundingDataset(RecordDataset):
    """One phrase (or class) and its boxes a row; ``task`` says which of them is the answer.

    Boxes are read from the column ``boxes`` (a list of boxes) where a row has one, else from
    ``bbox`` (one box, or a list of them). Where they are in pixels, ``Sample.meta`` holds them as
    ``boxes_px`` (x1, y1, x2, y2) and in hundredths as ``boxes``; a picture's size is read from its
    header where the rows have no ``width`` and ``height``.
    """

    defaults: ClassVar[Mapping[str, Any]] = _REFER

    @classmethod
    def _defaults(cls, build_info: Mapping[str, Any]) -> Mapping[str, Any]:
        return _TASKS.get(build_info.get("task") or "refer", _REFER)

    @property
    def box_form(self) -> str:
        """How the rows write boxes, one of ``BOX_FORMS``."""
        return self.spec.box_form

    def _open(self, split: str, limit: int | None) -> np.ndarray:
        self._cut = 0
        rows = super()._open(split, limit)
        if self._cut:
            logger.warning(
                "%s: %d boxes reach beyond their picture and are cut at its edge",
                self.name, self._cut,
            )  # fmt: skip
        return rows

    def _prepared(self, row: dict[str, Any]) -> dict[str, Any]:
        if in_pixels(self.box_form) and not self._sized:
            row["width"], row["height"] = picture_size(self.picture_path(row))
        return row

    @cached_property
    def _sized(self) -> bool:
        """Whether the rows have their pictures' sizes."""
        return {"width", "height"} <= set(self._table.names)

    def _turns(self, row: Mapping[str, Any], rng: random.Random | None) -> list[Turn]:
        filled = dict(row)
        pattern = self._answer_pattern(row)
        if self._wants_boxes(pattern):
            filled["boxes"] = self._written_boxes(row)
        filled["whole"] = format_box(WHOLE)
        answer = unicodedata.normalize("NFC", fill(pattern, filled)).strip()
        return [Turn(self._instruction(filled, rng), answer)]

    def _answer_pattern(self, row: Mapping[str, Any]) -> str:
        return answer_pattern(self.spec, row)

    @cached_property
    def _asked_columns(self) -> frozenset[str]:
        patterns = (*self.spec.prompts, self.spec.evaluation_prompt)
        return frozenset(column for each in patterns for column in pattern_columns(each))

    def _wants_boxes(self, pattern: str) -> bool:
        return "boxes" in self._asked_columns or "boxes" in pattern_columns(pattern)

    def _written_boxes(self, row: Mapping[str, Any]) -> str:
        if self.spec.box_form == "ready":
            return str(row["bbox"])
        return format_boxes(self._grid_boxes(row))

    def _grid_boxes(self, row: Mapping[str, Any]) -> Sequence[Sequence[int]]:
        form = self.spec.box_form
        return to_grid(row, pixel_boxes(row, form), form) if is_converted(form) else boxes_of(row)

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        meta = {name: value for name, value in row.items() if value is not None}
        if self._pictures.count:
            meta.setdefault("image_path", self._pictures.name(row))
        if "is_broken" in meta:
            meta["is_broken"] = str(meta["is_broken"]).lower() in ("true", "1")
        if is_converted(self.spec.box_form):
            corners = pixel_boxes(row, self.spec.box_form)
            meta["boxes"] = to_grid(row, corners, self.spec.box_form)
            if in_pixels(self.spec.box_form):
                meta["boxes_px"] = corners
        return meta

    def _id(self, row: Mapping[str, Any], number: int) -> str:
        name = self._pictures.name(row)
        return f"{number}-{name}" if self._pictures.repeated or not name else name

    def _checked_columns(self) -> Sequence[str]:
        sizes = ("width", "height") if in_pixels(self.spec.box_form) else ()
        return ("bbox", "boxes", *sizes, *(self.spec.answers or ()))

    def _columns(self) -> Sequence[str]:
        return () if "boxes" in self._table.names or self._unused_boxes() else ("bbox",)

    def _unused_boxes(self) -> bool:
        """Whether the answers are already written and no pattern asks for boxes."""
        return self.spec.box_form == "ready" and not {"boxes", "bbox"} & set(self.spec.columns)

    def _filled_columns(self) -> Sequence[str]:
        texts = ("phrase", "caption", "output", *(("bbox",) if self.box_form == "ready" else ()))
        return [name for name in self.spec.columns if name in texts]

    def _computed(self) -> Sequence[str]:
        return ("boxes", "whole")

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        try:
            pattern = self._answer_pattern(row)
        except KeyError as error:
            return error.args[0]
        if self.spec.box_form == "ready":
            written = "bbox" not in self.spec.columns or isinstance(row.get("bbox"), str)
            return None if written else f"bbox is {row.get('bbox')}, which is no box_form: ready"
        if not self._wants_boxes(pattern):
            return None
        if is_converted(self.spec.box_form):
            mistake = pixel_box_mistake(row, self.spec.box_form, sized=self._sized)
            if mistake is None and (self._sized or not in_pixels(self.spec.box_form)):
                self._cut += boxes_beyond(row, self.spec.box_form)
            return mistake
        boxes = boxes_of(row)
        if not boxes:
            return "it has no box (bbox)"
        return next((mistake for box in boxes if (mistake := box_mistake(box))), None)


def answer_pattern(spec: RecordSpec, row: Mapping[str, Any]) -> str:
    """The answer's pattern for a row.

    Raises:
        KeyError: ``answers`` does not know the row's value; its argument is the sentence.
    """
    for column, by_value in (spec.answers or {}).items():
        value = row.get(column)
        # YAML and CSV know true as "true", "True", 1 ...; compare what they mean.
        for known, pattern in by_value.items():
            if value == known or str(value).lower() == str(known).lower():
                return pattern
        choices = ", ".join(str(known) for known in by_value)
        raise KeyError(f"{column} is {value!r}, but must be one of {choices}")
    return spec.answer


def boxes_of(row: Mapping[str, Any]) -> list[list[int]]:
    """The boxes of a row, 0-100; empty when it has none."""
    found = row.get("boxes") or row.get("bbox")
    if not isinstance(found, list) or not found:
        return []
    return found if isinstance(found[0], list) else [found]


def box_mistake(box: Sequence[Any]) -> str | None:
    """What is wrong with a box that should be whole numbers 0-100, if anything."""
    if len(box) != 4 or not all(isinstance(v, int) and not isinstance(v, bool) for v in box):
        return f"the box {box} is not four whole numbers"
    if not all(0 <= value <= GRID for value in box):
        return f"the box {box} leaves the range 0-{GRID}"
    if box[0] >= box[2] or box[1] >= box[3]:
        return f"the box {box} has no area (it must hold x1 < x2 and y1 < y2)"
    return None
