"""Annotated pictures, whatever format they come from: what the converters turn into each other."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from minigpt4.common.boxes import GRID
from minigpt4.common.errors import DataError
from minigpt4.datasets.object_rows import ROW_FORM, object_rows
from minigpt4.datasets.pictures import locate, picture_roots, picture_size
from minigpt4.datasets.pixel_boxes import corners_of, in_pixels, is_converted
from minigpt4.datasets.readers import READERS, read_table
from minigpt4.datasets.spec import RecordSpec
from minigpt4.datasets.table import Table
from minigpt4.datasets.usual import with_usual_picture

_DIGITS = 4
"""Decimals of a pixel that are kept."""


class AnnotatedBox(NamedTuple):
    """An object: its class, and x1, y1, x2, y2 in pixels, the edges outer ones."""

    name: str
    box: tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture and its objects.

    Attributes:
        name: Its path below the folder of pictures.
        width: In pixels.
        height: In pixels.
        objects: What it holds; may be empty.
    """

    name: str
    width: int
    height: int
    objects: list[AnnotatedBox] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Annotations:
    """All pictures of a file or folder.

    Attributes:
        pictures: In the order of the source.
        classes: In the order of the source's list, or else of the alphabet.
        root: Folder of the pictures, where it is known.
    """

    pictures: list[Picture]
    classes: list[str]
    root: Path | None = None

    def lines(self) -> list[str]:
        """What there is, for the console."""
        objects = sum(len(each.objects) for each in self.pictures)
        empty = sum(not each.objects for each in self.pictures)
        names = ", ".join(self.classes) or "none"
        return [
            f"{len(self.pictures)} pictures ({empty} without objects), {objects} objects of "
            f"{len(self.classes)} classes: {names}"
        ]


def read_annotations(
    source: Path,
    *,
    reader: str,
    images: Path | None = None,
    split: str = "train",
    options: Mapping[str, Any] | None = None,
) -> Annotations:
    """Read objects in any format.

    Args:
        source: See the reader; for ``json`` the project's own list (``image``, ``boxes``,
            ``classes``) or one in the form of MVTEC_det, whose defects become the class
            ``<class>-defect``.
        reader: A name in ``READERS``.
        images: Folder of the pictures; None to look for them. They are only opened where the
            format does not say their sizes.
        split: For formats that hold several.
        options: ``build_info.reader_options``.

    Raises:
        DataError: Something is missing or broken, or a box is none.
    """
    given = None if images is None else str(images)
    table = read_table([str(source)], reader=reader, split=split, image_path=given, options=options)
    spec = with_usual_picture(RecordSpec(ann_path=(str(source),), image_path=given), table)
    known = READERS.get(reader)
    form = str(known.form.get("box_form", "grid")) if known is not None else "grid"
    if ROW_FORM in table.names:
        form = str(table.value(0, ROW_FORM))
    if "is_broken" in table.names:
        table = table.remade(enumerate(map(_defects, table.rows(table.names))))
    listed = table.classes
    table = object_rows(
        table, per="picture", image_columns=spec.image_columns, names=listed, name=str(source)
    )
    (column,) = spec.image_columns
    names = [str(table.value(number, column)) for number in range(len(table))]
    sized = {"width", "height"} <= set(table.names)
    root = _root(names, table, given, source, needed=not sized)
    pictures = []
    for number, row in enumerate(table.rows(table.names)):
        size = (row["width"], row["height"]) if sized else picture_size(str(root / names[number]))
        picture = Picture(names[number], round(size[0]), round(size[1]))
        objects = list(_objects(row, picture, form, place=table.place(number)))
        pictures.append(dataclasses.replace(picture, objects=objects))
    found = sorted({each.name for picture in pictures for each in picture.objects})
    classes = list(dict.fromkeys([*listed, *found]))
    return Annotations(pictures, classes, root if root.is_dir() else None)


def _root(
    names: Sequence[str], table: Table, given: str | None, source: Path, *, needed: bool
) -> Path:
    roots = picture_roots(given, str(source))
    if table.picture_root is not None:
        roots.insert(2 if given else 0, table.picture_root)
    folder, missing = locate(list(dict.fromkeys(names)), roots)
    if missing and needed:
        raise DataError(
            f"{len(missing)} pictures are missing from {folder.root} (such as {missing[0]}), and "
            f"{source} does not say their sizes: name their folder with --images."
        )
    return Path(folder.root)


def _defects(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of MVTEC_det: a good part has no object."""
    broken = str(row["is_broken"]).lower() in ("true", "1")
    boxes = (row.get("boxes") or row["bbox"]) if broken else []
    boxes = [boxes] if boxes and not isinstance(boxes[0], list) else boxes
    image = {name: value for name, value in row.items() if name in ("image", "image_path")}
    return {**image, "boxes": boxes, "classes": [f"{row['class']}-defect"] * len(boxes)}


def _objects(
    row: Mapping[str, Any], picture: Picture, form: str, *, place: str
) -> Iterator[AnnotatedBox]:
    if len(row["boxes"]) != len(row["classes"]):
        raise DataError(f"{place}: it needs as many boxes as classes.")
    read_as = form if is_converted(form) else "pixels_xyxy"
    unit = 1.0 if is_converted(form) else float(GRID)
    sides = (1.0, 1.0) if in_pixels(form) else (picture.width / unit, picture.height / unit)
    for name, box in zip(row["classes"], row["boxes"], strict=True):
        try:
            corners = [float(value) for value in corners_of(box, read_as)]
        except (TypeError, ValueError):
            raise DataError(f"{place}: the box {box} is not four numbers.") from None
        corners = [value * side for value, side in zip(corners, sides * 2, strict=True)]
        x1, y1, x2, y2 = (round(value, _DIGITS) for value in corners)
        if x1 >= x2 or y1 >= y2:
            raise DataError(f"{place}: the box {box} has no area (read as {form}).")
        yield AnnotatedBox(str(name), (x1, y1, x2, y2))
