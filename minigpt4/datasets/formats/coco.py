"""COCO's JSON: instances with boxes, or captions."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt4.common.errors import DataError
from minigpt4.datasets.formats.json_lists import load_json
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

logger = logging.getLogger(__name__)

_CHUNK = 32768
Row = dict[str, Any]


def read_coco(path: Path, options: ReaderOptions) -> Table:
    """Every picture with its objects, or every caption with its picture.

    The columns are ``image`` (``file_name``), ``image_id``, ``width``, ``height``, and ``boxes``
    (left, top, width, height in pixels) with ``classes``, or ``caption``. Pictures without objects
    are kept. Crowds (``iscrowd``) are regions and no objects: they are left out and counted.

    Raises:
        DataError: The file is not COCO's, or an annotation's picture or category is not in it.
    """
    content = load_json(path)
    if not isinstance(content, Mapping) or not isinstance(content.get("images"), list):
        raise DataError(
            f"{path} is not COCO's: it must be a mapping with images, annotations and categories; "
            "a plain list of entries is read with build_info.reader: json."
        )
    annotations = content.get("annotations") or []
    try:
        captions = bool(annotations) and "caption" in annotations[0]
        names = {each["id"]: str(each["name"]) for each in content.get("categories") or []}
        pictures = _pictures(content, path)
        rows = (
            _captions(content, pictures)
            if captions
            else _instances(content, pictures, names=names, path=path)
        )
        chunks = (rows[first : first + _CHUNK] for first in range(0, len(rows), _CHUNK))
        table = Table.from_chunks(chunks, source=str(path))
    except (KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is not as COCO writes it (missing: {error}): a picture needs id and "
            "file_name, an annotation image_id, category_id and bbox, a category id and name."
        ) from error
    table.classes = tuple(dict.fromkeys(names.values()))
    return table


def _pictures(content: Mapping[str, Any], path: Path) -> dict[Any, Row]:
    """What is said of each picture itself, by its id."""
    found: dict[Any, Row] = {}
    sized = all(each.get("width") and each.get("height") for each in content["images"])
    for each in content["images"]:
        size = {"width": each["width"], "height": each["height"]} if sized else {}
        row = {"image": each["file_name"], "image_id": each["id"], **size}
        if found.setdefault(each["id"], row) != row:
            raise DataError(
                f"{path}: several pictures in images have the id {each['id']}: give each its own."
            )
    return found


def _captions(content: Mapping[str, Any], pictures: Mapping[Any, Row]) -> list[Row]:
    return [{**pictures[a["image_id"]], "caption": a["caption"]} for a in content["annotations"]]


def _instances(
    content: Mapping[str, Any],
    pictures: Mapping[Any, Row],
    *,
    names: Mapping[Any, str],
    path: Path,
) -> list[Row]:
    boxes: dict[Any, list[Any]] = defaultdict(list)
    classes: dict[Any, list[str]] = defaultdict(list)
    crowds, no_category = 0, []
    for each in content.get("annotations") or []:
        if each.get("iscrowd"):
            crowds += 1
            continue
        if each["category_id"] not in names:
            no_category.append(each["category_id"])
            continue
        boxes[each["image_id"]].append(each["bbox"])
        classes[each["image_id"]].append(names[each["category_id"]])
    if no_category:
        raise DataError(
            f"{path}: {len(no_category)} annotations have a category that is not in categories "
            f"(such as {no_category[0]}): add it there."
        )
    if crowds:
        logger.info("%s: %d crowds are no single objects and are left out", path, crowds)
    rows = [
        {**row, "boxes": boxes.pop(key, []), "classes": classes.get(key, [])}
        for key, row in pictures.items()
    ]
    if boxes:
        raise DataError(
            f"{path}: {sum(map(len, boxes.values()))} annotations are of pictures that are not in "
            f"images (such as image_id {next(iter(boxes))}): add them there."
        )
    return rows
