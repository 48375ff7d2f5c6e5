"""Writes annotated pictures in each format."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigpt4.common.boxes import px_to_percent
from minigpt4.common.errors import DataError
from minigpt4.common.files import write_json
from minigpt4.datasets.object_rows import ROW_FORM
from minigpt4.datasets.prepare.annotated import Annotations, Picture

_FORM = "pixels_xyxy"


def write_own(data: Annotations, out: Path, *, grid: bool = False) -> list[Path]:
    """The project's own list, which ``kind: detection`` reads without more being said.

    A row has ``image``, ``width``, ``height``, ``boxes``, ``classes``. Boxes are in pixels, which
    the row says (``box_form``), or with ``grid`` in whole hundredths, as answers write them.
    """
    rows = []
    for each in data.pictures:
        row: dict[str, Any] = {"image": each.name, "width": each.width, "height": each.height}
        if grid:
            row["boxes"] = [
                list(px_to_percent(found.box, width=each.width, height=each.height))
                for found in each.objects
            ]
        else:
            row[ROW_FORM] = _FORM
            row["boxes"] = [[_short(value) for value in found.box] for found in each.objects]
        rows.append({**row, "classes": [found.name for found in each.objects]})
    write_json(out, rows)
    return [out]


def write_coco(data: Annotations, out: Path) -> list[Path]:
    """COCO's instances."""
    numbers = {name: number for number, name in enumerate(data.classes, start=1)}
    annotations: list[dict[str, Any]] = []
    for image, each in enumerate(data.pictures, start=1):
        for found in each.objects:
            x1, y1, x2, y2 = found.box
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": numbers[found.name],
                    "bbox": [_short(value) for value in (x1, y1, x2 - x1, y2 - y1)],
                    "area": _short((x2 - x1) * (y2 - y1)),
                    "iscrowd": 0,
                }
            )
    content = {
        "images": [
            {"id": image, "file_name": each.name, "width": each.width, "height": each.height}
            for image, each in enumerate(data.pictures, start=1)
        ],
        "annotations": annotations,
        "categories": [{"id": number, "name": name} for name, number in numbers.items()],
    }
    write_json(out, content)
    return [out]


def write_voc(data: Annotations, out: Path) -> list[Path]:
    """VOC's ``Annotations``: whole pixels counted from 1, the last one included."""
    from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

    folder = out / "Annotations"
    folder.mkdir(parents=True, exist_ok=True)
    for each, path in zip(data.pictures, _paths(data, folder, ".xml"), strict=True):
        root = Element("annotation")
        SubElement(root, "filename").text = each.name
        size = SubElement(root, "size")
        for name, value in (("width", each.width), ("height", each.height), ("depth", 3)):
            SubElement(size, name).text = str(value)
        for found in each.objects:
            thing = SubElement(root, "object")
            SubElement(thing, "name").text = found.name
            SubElement(thing, "difficult").text = "0"
            box = SubElement(thing, "bndbox")
            x1, y1, x2, y2 = (round(value) for value in found.box)
            corners = (x1 + 1, y1 + 1, max(x2, x1 + 1), max(y2, y1 + 1))
            for name, value in zip(("xmin", "ymin", "xmax", "ymax"), corners, strict=True):
                SubElement(box, name).text = str(value)
        indent(root)
        ElementTree(root).write(path, encoding="utf-8")
    return [folder]


def write_yolo(data: Annotations, out: Path) -> list[Path]:
    """YOLO's ``labels``, ``classes.txt`` and ``data.yaml``; pictures belong into ``images``."""
    import yaml

    folder = out / "labels"
    folder.mkdir(parents=True, exist_ok=True)
    for each, path in zip(data.pictures, _paths(data, folder, ".txt"), strict=True):
        lines = [
            _yolo_line(data.classes.index(found.name), found.box, each) for found in each.objects
        ]
        path.write_text("".join(lines), encoding="utf-8")
    names, description = out / "classes.txt", out / "data.yaml"
    names.write_text("".join(f"{name}\n" for name in data.classes), encoding="utf-8")
    content = {"path": ".", "train": "images", "names": dict(enumerate(data.classes))}
    text = yaml.safe_dump(content, allow_unicode=True, sort_keys=False)
    description.write_text(text, encoding="utf-8")
    images = out / "images"
    if data.root is not None and not images.exists():
        images.symlink_to(data.root.resolve(), target_is_directory=True)
    return [folder, names, description]


WRITERS: dict[str, Callable[[Annotations, Path], list[Path]]] = {
    "coco": write_coco,
    "voc": write_voc,
    "yolo": write_yolo,
}
"""Formats that annotations can be written in; each returns what it wrote."""


def _yolo_line(number: int, box: tuple[float, float, float, float], picture: Picture) -> str:
    x1, y1, x2, y2 = box
    width, height = picture.width, picture.height
    values = (
        (x1 + x2) / 2 / width,
        (y1 + y2) / 2 / height,
        (x2 - x1) / width,
        (y2 - y1) / height,
    )
    return f"{number} {' '.join(f'{value:.8f}' for value in values)}\n"


def _paths(data: Annotations, folder: Path, ending: str) -> list[Path]:
    """A file for each picture, called like it, in folders like its own.

    Raises:
        DataError: Two pictures differ in their ending only.
    """
    paths = [(folder / each.name).with_suffix(ending) for each in data.pictures]
    if len(set(paths)) < len(paths):
        twice = next(path for path in paths if paths.count(path) > 1)
        raise DataError(f"several pictures would share the file {twice}: rename them.")
    for path in paths:
        if folder.resolve() not in path.resolve().parents:
            raise DataError(f"a picture's name leaves its folder ({path}): correct it.")
        path.parent.mkdir(parents=True, exist_ok=True)
    return paths


def _short(value: float) -> float | int:
    """A number without a needless fraction."""
    rounded = round(value, 4)
    return int(rounded) if rounded == int(rounded) else rounded
