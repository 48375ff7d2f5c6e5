"""Rows of annotated objects, however a file spreads them, as one row a sample."""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minigpt4.common.errors import DataError
from minigpt4.datasets.table import Table

ROW_FORM = "box_form"
"""Column in which a file may say the form of its boxes itself."""
CORNERS = ("x1", "y1", "x2", "y2")
BOX_COLUMNS = ("bbox", "boxes", "classes", ROW_FORM, *CORNERS)
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")

Row = dict[str, Any]


def object_rows(
    table: Table, *, per: str, image_columns: Sequence[str], names: Sequence[str], name: str
) -> Table:
    """Give every row ``boxes`` and as many ``classes``.

    A file may have them so, or one ``class`` (a name, or its number in ``names``) to a row, and one
    box to a row as ``bbox`` or as ``x1``, ``y1``, ``x2``, ``y2`` (of a CSV as text). Rows of one
    picture are gathered.

    Args:
        table: As the file has them.
        per: ``picture``, or ``category`` for a row of each class of a picture, called ``class``.
        image_columns: What a picture's name is made of.
        names: The classes by their numbers; may be empty.
        name: The data set's, for messages.

    Raises:
        DataError: There are no such columns.
    """
    has = set(table.names)
    if not has & {"boxes", "bbox"} and not has >= set(CORNERS):
        raise DataError(_lacks(table, "boxes (or bbox, or x1, y1, x2 and y2)", "boxes", name))
    if not has & {"classes", "class"}:
        raise DataError(_lacks(table, "classes (or class)", "classes", name))
    pictures = [column for column in image_columns if column in has]
    codes, found = table.distinct(pictures)
    repeated = bool(pictures) and len(found) < len(table)
    if per == "picture" and not repeated and _is_ready(table):
        return table
    groups = codes.tolist() if repeated else range(len(table))
    gathered: dict[int, tuple[int, Row]] = {}
    for number, row in enumerate(table.rows(table.names)):
        classes, boxes = _objects_of(row, names)
        first = gathered.setdefault(
            groups[number], (number, {**_rest(row), "boxes": [], "classes": []})
        )[1]
        first["boxes"] += boxes
        first["classes"] += classes
    rows = iter(gathered.values())
    return table.remade(_by_category(rows) if per == "category" else rows)


def classes_of(table: Table) -> Counter[str]:
    """How often each class occurs in the ready rows of a table."""
    return Counter(
        str(name)
        for (names,) in table.tuples(["classes"])
        if isinstance(names, list)
        for name in names
    )


def _is_ready(table: Table) -> bool:
    """Whether all rows are lists of boxes and names already."""
    if not {"boxes", "classes"} <= set(table.names):
        return False
    return all(
        isinstance(boxes, list)
        and isinstance(classes, list)
        and all(isinstance(box, list) for box in boxes)
        and all(isinstance(name, str) for name in classes)
        for boxes, classes in table.tuples(["boxes", "classes"])
    )


def _objects_of(row: Mapping[str, Any], names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Classes and boxes of a row, as many of each unless the row is wrong."""
    boxes = _boxes(row)
    classes = _listed(row.get("classes"))
    if classes is None:
        single = row.get("class")
        classes = [] if single in (None, "") else [single] * max(len(boxes), 1)
    return [_name(each, names) for each in classes], boxes


def _boxes(row: Mapping[str, Any]) -> list[Any]:
    found = row.get("boxes")
    if found is None:
        found = row.get("bbox")
    if found is None:
        found = [row.get(corner) for corner in CORNERS]
        if all(value in (None, "") for value in found):
            return []
    if isinstance(found, str):
        found = _parsed(found)
    if not isinstance(found, list):
        return [found]
    found = [_numbers(box) for box in found]
    return found if not found or isinstance(found[0], list) else [found]


def _parsed(text: str) -> Any:
    """A list written in a cell: JSON, or numbers between anything."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return [float(number) for number in _NUMBER.findall(text)]


def _numbers(value: Any) -> Any:
    """Numbers that arrive as text; what is none stays as it is, to be shown as a mistake."""
    if isinstance(value, list):
        return [_numbers(each) for each in value]
    if isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        return float(value)
    return value


def _listed(value: Any) -> list[Any] | None:
    if isinstance(value, str) and value.lstrip().startswith("["):
        with contextlib.suppress(json.JSONDecodeError):  # a name may begin so
            value = json.loads(value)
    if value is None or isinstance(value, list):
        return value
    return [value]


def _name(value: Any, names: Sequence[str]) -> Any:
    """The class of a number; what is no number of a class stays as it is."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(names):
        return names[value]
    return value


def _rest(row: Mapping[str, Any]) -> Row:
    dropped = ("bbox", "class", *CORNERS)
    return {name: value for name, value in row.items() if name not in dropped}


def _by_category(rows: Iterator[tuple[int, Row]]) -> Iterator[tuple[int, Row]]:
    """Each row as one for each class in it; what is wrong with a row is left for its check."""
    for number, row in rows:
        if len(row["boxes"]) != len(row["classes"]):
            yield number, {**row, "class": None}
            continue
        for name in dict.fromkeys(map(str, row["classes"])):
            pairs = zip(row["classes"], row["boxes"], strict=True)
            boxes = [box for each, box in pairs if str(each) == name]
            yield number, {**row, "class": name, "boxes": boxes, "classes": [name] * len(boxes)}


def _lacks(table: Table, what: str, field: str, name: str) -> str:
    return (
        f"{name}: its annotations have no column {what}, only {', '.join(table.names)}; name the "
        f"right one in datasets.{name}.build_info.fields.{field}."
    )
