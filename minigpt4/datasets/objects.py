"""Objects of any classes and their boxes, as detection data sets annotate them."""

from __future__ import annotations

import logging
import random
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import numpy as np

from minigpt4.common.boxes import GRID, Box, format_boxes, labelled, px_to_percent
from minigpt4.common.errors import DataError
from minigpt4.conversation.prompts import TAG_DETECTION
from minigpt4.datasets.grounding import GroundingDataset
from minigpt4.datasets.object_rows import BOX_COLUMNS, ROW_FORM, classes_of, object_rows
from minigpt4.datasets.patterns import fill
from minigpt4.datasets.pixel_boxes import (
    Corners,
    boxes_beyond,
    in_pixels,
    is_converted,
    pixel_box_mistake,
    pixel_boxes,
)
from minigpt4.datasets.schema import Turn
from minigpt4.datasets.table import Table

logger = logging.getLogger(__name__)

_PROMPTS = {"picture": f"{TAG_DETECTION} {{names}}", "category": f"{TAG_DETECTION} {{class}}"}


class FoundObject(NamedTuple):
    """One annotated object.

    Attributes:
        name: Its class.
        box: x1, y1, x2, y2 in hundredths of the picture, not rounded, within the picture.
    """

    name: str
    box: tuple[float, float, float, float]

    @property
    def on_grid(self) -> Box:
        """The box as it is written in answers."""
        return px_to_percent(self.box, width=GRID, height=GRID)


class ObjectDataset(GroundingDataset):
    """A picture and its objects a sample, or a picture and one category of them (``per``).

    A row has ``boxes`` and as many ``classes``; one of these may be a single value (``bbox``,
    ``class``), and rows of one box each are gathered by picture. An answer names each class once,
    in the order of ``names``, with its boxes from top to bottom:
    ``<p>cat</p>{<1><2><3><4>}<delim>{<5><6><7><8>} <p>dog</p>{<9><9><20><20>}``; a picture without
    objects is answered with ``empty_answer``.

    Patterns may use ``{objects}`` (that answer), ``{names}`` (all classes, joined by commas) and,
    per category, ``{class}`` and ``{boxes}``.
    """

    _DEFAULTS: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        per: {"task": "objects", "prompts": (prompt,), "answer": "{objects}"}
        for per, prompt in _PROMPTS.items()
    }

    @classmethod
    def _defaults(cls, build_info: Mapping[str, Any]) -> Mapping[str, Any]:
        return cls._DEFAULTS.get(build_info.get("per") or "picture", {})

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The classes, in the order in which answers name them."""
        listed = self.spec.classes or self._table.classes
        found = {} if self.spec.classes else classes_of(self._table)
        return tuple(dict.fromkeys(_nfc(name) for name in (*listed, *sorted(found))))

    def _read(self, paths: Sequence[str], split: str) -> Table:
        table = super()._read(paths, split)
        self._form = self._box_form(table)
        return object_rows(
            table,
            per=self.spec.per,
            image_columns=self.spec.image_columns,
            names=self.spec.classes or table.classes,
            name=self.name,
        )

    @property
    def box_form(self) -> str:
        """How the rows write boxes; a file may say it itself."""
        return self._form

    def _box_form(self, table: Table) -> str:
        """The form of the boxes: a file that says it itself (``box_form``) is believed."""
        if self.spec.box_form != "grid" or ROW_FORM not in table.names or not len(table):
            return self.spec.box_form
        forms = {row[ROW_FORM] for row in table.distinct([ROW_FORM])[1]}
        if len(forms) > 1:
            raise DataError(
                f"{', '.join(self.spec.ann_path)} holds boxes in several forms "
                f"({', '.join(map(str, forms))}): write all in one."
            )
        return str(forms.pop())

    def _open(self, split: str, limit: int | None) -> np.ndarray:
        self._left_out: Counter[str] = Counter()
        self._bad: list[str] = []
        rows = super()._open(split, limit)
        if self._bad:
            logger.warning(
                "%s: %d objects cannot be used and are left out (on_bad_row: skip): %s",
                self.name, len(self._bad), "; ".join(self._bad[:5]),
            )  # fmt: skip
        if self._left_out:
            logger.info(
                "%s: %d objects of classes that are not asked for are left out (%s)",
                self.name, self._left_out.total(), ", ".join(sorted(self._left_out)),
            )  # fmt: skip
        logger.info("%s: %d classes: %s", self.name, len(self.names), ", ".join(self.names))
        return rows

    def _turns(self, row: Mapping[str, Any], rng: random.Random | None) -> list[Turn]:
        found = self._objects(row)
        by_name = {
            name: sorted(
                dict.fromkeys(each.on_grid for each in found if each.name == name),
                key=lambda box: (box[1], box[0]),
            )
            for name in self.names
        }
        filled = {
            **row,
            "names": ", ".join(self.names),
            "objects": " ".join(labelled(name, boxes) for name, boxes in by_name.items() if boxes),
            "boxes": format_boxes(box for boxes in by_name.values() for box in boxes),
        }
        answer = fill(self.spec.answer, filled) if found else self.spec.empty_answer
        return [Turn(self._instruction(filled, rng), _nfc(answer).strip())]

    def _objects(self, row: Mapping[str, Any]) -> list[FoundObject]:
        """What is there of the classes that are asked for."""
        wanted = set(self.names)
        found = []
        for name, box in zip(row["classes"], self._corners(row), strict=True):
            name = _nfc(name)
            if name in wanted and self._mistake_of(row, box) is None:
                low_high = [min(max(value, 0.0), float(GRID)) for value in box]
                found.append(FoundObject(name, tuple(low_high)))  # type: ignore[arg-type]
        return found

    def _corners(self, row: Mapping[str, Any]) -> list[Corners]:
        """Boxes in hundredths, not rounded and not cut."""
        if not is_converted(self._form):
            return [[float(value) for value in box] for box in row["boxes"]]
        sized = in_pixels(self._form)
        width, height = (float(row["width"]), float(row["height"])) if sized else (1.0, 1.0)
        return [
            [x1 / width * GRID, y1 / height * GRID, x2 / width * GRID, y2 / height * GRID]
            for x1, y1, x2, y2 in pixel_boxes(row, self._form)
        ]

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        found = self._objects(row)
        given = {name: value for name, value in row.items() if name not in BOX_COLUMNS}
        return {
            **{name: value for name, value in given.items() if value is not None},
            "image_path": self._pictures.name(row),
            "boxes": [list(each.box) for each in found],
            "classes": [each.name for each in found],
            "asked": [_nfc(row["class"])] if row.get("class") is not None else list(self.names),
            "empty_answer": self.spec.empty_answer,
        }

    def _columns(self) -> Sequence[str]:
        return ("boxes", "classes")

    def _computed(self) -> Sequence[str]:
        return ("boxes", "names", "objects")

    def _checked_columns(self) -> Sequence[str]:
        return ("boxes", "classes", "width", "height")

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        boxes, names = row.get("boxes"), row.get("classes")
        if not isinstance(boxes, list) or not isinstance(names, list) or len(boxes) != len(names):
            return f"it needs as many boxes as classes (boxes={boxes}, classes={names})"
        if not all(isinstance(name, str) and name.strip() for name in names):
            return f"classes must be names (it has {names}); map numbers to names with fields"
        skip = self.training and self.spec.on_bad_row == "skip"
        wanted = set(self.spec.classes and self.names)
        for name, box in zip(names, boxes, strict=True):
            mistake = self._box_mistake({**row, "boxes": [box], "bbox": None})
            if "<" in name or ">" in name:
                mistake = f"the class {name!r} holds < or >, which mark boxes in answers"
            if mistake is not None and not skip:
                return mistake
            if mistake is not None:
                self._bad.append(mistake)
            elif wanted and _nfc(name) not in wanted:
                self._left_out[_nfc(name)] += 1
        return None

    def _box_mistake(self, row: Mapping[str, Any]) -> str | None:
        """What is wrong with the one box of a row; counts it when it reaches beyond its picture."""
        if is_converted(self._form):
            sized = self._sized
            mistake = pixel_box_mistake(row, self._form, sized=sized)
            if mistake is None and (sized or not in_pixels(self._form)):
                self._cut += boxes_beyond(row, self._form)
            return mistake
        (box,) = row["boxes"]
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_number, box)):
            return f"the box {box} is not four numbers"
        if not all(0 <= value <= GRID for value in box):
            return (
                f"the box {box} leaves the range 0-{GRID}: is it in pixels (build_info.box_form: "
                "pixels_xyxy or pixels_xywh)?"
            )
        if box[0] >= box[2] or box[1] >= box[3]:
            return (
                f"the box {box} has no area (it must hold x1 < x2 and y1 < y2): is it of another "
                "form (build_info.box_form)?"
            )
        return None

    def _mistake_of(self, row: Mapping[str, Any], box: Corners) -> str | None:
        """Whether one box in hundredths has no area within its picture."""
        x1, y1, x2, y2 = (min(max(value, 0.0), float(GRID)) for value in box)
        return None if x1 < x2 and y1 < y2 else "no area"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", str(text))
