"""Boxes: missing, malformed, outside, inverted, empty, or written so that none can be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from minigpt4.common.boxes import GRID, is_inverted, parse_boxes
from minigpt4.datasets.opening import EMPTY
from minigpt4.datasets.pixel_boxes import corners_of, in_pixels, is_converted
from minigpt4.datasets.schema import Sample
from minigpt4.doctor.findings import Finding, Place, some
from minigpt4.doctor.patients import Patient

_FAULTS = {
    "box_missing": ("row has no box", "rows have no box"),
    "box_malformed": ("row has a box that is not four numbers",
                      "rows have boxes that are not four numbers"),
    "box_inverted": ("row has a box that ends before it begins",
                     "rows have boxes that end before they begin"),
    "box_empty": ("row has a box without area", "rows have boxes without area"),
    "box_outside": ("row has a box outside of its picture",
                    "rows have boxes outside of their pictures"),
}  # fmt: skip
"""How each fault of a row's boxes is named."""
_ROUNDING = 1e-4
"""Shares are written with a few digits."""


def box_fault(row: Mapping[str, Any], form: str) -> str | None:
    """The worst fault of a row's boxes, a key of ``box_missing`` ... ``box_outside``.

    Args:
        row: With ``boxes`` or ``bbox``, and for pixels with ``width`` and ``height``.
        form: ``build_info.box_form``.
    """
    boxes = row_boxes(row)
    if not boxes:
        return "box_missing"
    faults = {_fault(box, form, box_unit(row, form)) for box in boxes}
    return next((each for each in _FAULTS if each in faults), None)


def row_boxes(row: Mapping[str, Any]) -> list[Any]:
    """The boxes of a row as they are written; empty when it has none."""
    found = row.get("boxes") or row.get("bbox")
    if not found:
        return []
    nested = isinstance(found, list) and isinstance(found[0], list)
    return list(found) if nested else [found]


def corners(box: Any, form: str) -> list[float] | None:
    """Left, top, right, bottom of a box as it is written; None where it is not four numbers."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in box):
        return None
    return corners_of(box, form) if is_converted(form) else list(box)


def box_unit(row: Mapping[str, Any], form: str) -> tuple[float, float]:
    """Width and height of the picture in the unit of the boxes; endless where not known."""
    if not is_converted(form):
        return float(GRID), float(GRID)
    if not in_pixels(form):
        return 1.0, 1.0
    try:
        return float(row["width"]), float(row["height"])
    except (KeyError, TypeError, ValueError):
        return float("inf"), float("inf")


def _fault(box: Any, form: str, size: tuple[float, float]) -> str | None:
    found = corners(box, form)
    if found is None:
        return "box_malformed"
    if is_inverted(found):
        return "box_inverted"
    left, top, right, bottom = found
    if left == right or top == bottom:
        return "box_empty"
    if _beyond(found, size):
        return "box_outside"
    return None


def _beyond(box: list[float], size: tuple[float, float]) -> bool:
    width, height = size
    slack = _ROUNDING if size == (1.0, 1.0) else 0.0
    return min(box[:2]) < -slack or box[2] > width + slack or box[3] > height + slack


def _apart(box: list[float], size: tuple[float, float]) -> bool:
    return box[2] <= 0 or box[3] <= 0 or box[0] >= size[0] or box[1] >= size[1]


class BoxCheck:
    """Looks at the boxes of usable rows, and at those that answers are written with."""

    def __init__(self, patient: Patient) -> None:
        self._patient = patient
        self._form = patient.box_form
        self._cut: list[Place] = []
        self._left_out: list[Place] = []
        self._written: list[Place] = []

    def look(self, number: int, row: Mapping[str, Any], sample: Sample) -> None:
        """Look at one sample."""
        if self._form is not None and is_converted(self._form):
            self._look_at_edges(number, row, self._form)
        if self._form is not None and self._patient.names_objects:
            self._look_at_objects(number, row, self._form)
        for turn in sample.turns:
            for text in (turn.answer, turn.instruction):
                if "{<" in text and (what := written_box_fault(text)):
                    self._written.append(self._patient.place(number, what))

    def _look_at_edges(self, number: int, row: Mapping[str, Any], form: str) -> None:
        size = box_unit(row, form)
        for written in row_boxes(row):
            box = corners(written, form)
            if box is not None and _beyond(box, size) and not _apart(box, size):
                self._cut.append(self._patient.place(number, f"{written} of {_shown(size)}"))
                return

    def _look_at_objects(self, number: int, row: Mapping[str, Any], form: str) -> None:
        """Boxes that ``on_bad_row: skip`` leaves out of a picture's objects."""
        size = box_unit(row, form)
        for box in row_boxes(row):
            fault = _fault(box, form, size)
            known = corners(box, form)
            if fault == "box_outside" and is_converted(form) and known and not _apart(known, size):
                continue  # it is cut at the edge
            if fault is not None:
                name = fault.removeprefix("box_")
                self._left_out.append(self._patient.place(number, f"{box} is {name}"))

    def findings(self) -> list[Finding]:
        """What was found."""
        found = []
        if self._left_out:
            found.append(
                Finding(
                    code="box_left_out",
                    severity=self._patient.severity("warning"),
                    dataset=self._patient.label,
                    summary=f"{some(len(self._left_out), 'box is', 'boxes are')} left out of their "
                    "pictures' objects (on_bad_row: skip).",
                    remedy="Correct them: a thing without a box is one that the model learns not "
                    "to see.",
                    places=self._left_out,
                    figures={"boxes": len(self._left_out)},
                )
            )
        if self._cut:
            found.append(
                Finding(
                    code="box_cut",
                    severity=self._patient.severity("warning"),
                    dataset=self._patient.label,
                    summary=f"{some(len(self._cut), 'row has', 'rows have')} boxes that reach "
                    "beyond their pictures and are cut at the edge.",
                    remedy="See whether box_form, width and height are right; a few pixels are "
                    "the annotators' rounding.",
                    places=self._cut,
                    figures={"rows": len(self._cut)},
                )
            )
        if self._written:
            found.append(
                Finding(
                    code="box_in_text",
                    severity=self._patient.severity("warning"),
                    dataset=self._patient.label,
                    summary=f"{some(len(self._written), 'text holds a box', 'texts hold boxes')} "
                    "that cannot be right.",
                    remedy="Write boxes as {<x1><y1><x2><y2>}: whole numbers from 0 to 100, "
                    "x1 < x2 and y1 < y2.",
                    places=self._written,
                    figures={"rows": len(self._written)},
                )
            )
        return found


def written_box_fault(text: str) -> str | None:
    """What is wrong with the boxes that a text is written with, if anything."""
    for labelled in parse_boxes(text):
        if labelled.rejected:
            return f"no box can be read from {text[:120]!r}"
        for box in labelled.boxes:
            if is_inverted(box):
                return f"the box {list(box)} ends before it begins"
            if box[0] == box[2] or box[1] == box[3]:
                return f"the box {list(box)} has no area"
    return None


def _shown(size: tuple[float, float]) -> str:
    return f"{size[0]:g} by {size[1]:g}"


def row_findings(patient: Patient) -> list[Finding]:
    """The rows that a data set refuses: faulty boxes, empty texts and all others."""
    table = patient.faults.table
    if table is None:
        return []
    form = patient.box_form
    places: dict[str, list[Place]] = defaultdict(list)
    for number in sorted(patient.faults.rows):
        what = patient.faults.rows[number]
        code = "empty_text" if what.endswith(EMPTY) else "unusable_row"
        if form is not None and code != "empty_text":
            code = box_fault(table.row(number), form) or code
        places[code].append(patient.place(number, what))
    return [_refused(patient, code, found) for code, found in places.items()]


def _refused(patient: Patient, code: str, places: list[Place]) -> Finding:
    names = {
        "empty_text": ("row has an empty text", "rows have empty texts"),
        "unusable_row": ("row cannot be used", "rows cannot be used"),
        **_FAULTS,
    }
    return Finding(
        code=code,
        severity=patient.severity("error", may_skip="on_bad_row"),
        dataset=patient.label,
        summary=f"{some(len(places), *names[code])}.",
        remedy="Correct them"
        + (
            f", or train without them with {patient.key}.build_info.on_bad_row=skip."
            if patient.role == "train"
            else " or take them out of the file."
        ),
        places=places,
        figures={"rows": len(places)},
    )
