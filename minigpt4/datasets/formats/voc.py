"""Pascal VOC's XML: a file a picture, as LabelImg, CVAT and others write it too."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import DataError
from minigpt4.datasets.formats.picture_files import find_pictures, picture_folder
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

logger = logging.getLogger(__name__)

_CORNERS = ("xmin", "ymin", "xmax", "ymax")
Row = dict[str, Any]


def read_voc(path: Path, options: ReaderOptions) -> Table:
    """Every picture with its objects.

    The columns are ``image``, ``width``, ``height``, ``boxes`` (x1, y1, x2, y2 in pixels, the edges
    outer ones) and ``classes``. VOC counts pixels from 1 and includes the last one; a folder in
    which some coordinate is 0 was written by a tool that counts from 0, and is read so.

    Args:
        path: The folder of XML files (``Annotations``), or the one above it.
        options: ``build_info.reader_options`` may hold ``image_set``, a text file that names one
            picture a line (``ImageSets/Main/train.txt``, relative to ``path`` or to the folder
            above): only those; and ``difficult: False`` to leave objects marked as difficult out.

    Raises:
        DataError: There are no files, or one is broken or unsafe (entities, external references).
    """
    folder = path / "Annotations" if (path / "Annotations").is_dir() else path
    files = sorted(folder.rglob("*.xml"))
    if image_set := options.extra.get("image_set"):
        files = _chosen(folder, files, image_set)
    if not files:
        raise DataError(f"{folder} holds no .xml files; name the folder of VOC's annotations.")
    difficult = options.extra.get("difficult", True)
    rows = [_row(file, keep_difficult=difficult) for file in files]
    if skipped := sum(row.pop("skipped") for row in rows):
        logger.info("%s: %d difficult objects are left out (difficult: False)", folder, skipped)
    if not any(min(box[:2]) == 0 for row in rows for box in row["boxes"]):
        for row in rows:
            row["boxes"] = [[x1 - 1, y1 - 1, x2, y2] for x1, y1, x2, y2 in row["boxes"]]
    if not all(row["width"] and row["height"] for row in rows):
        for row in rows:
            del row["width"], row["height"]
    root = picture_folder(
        options.image_path,
        [folder.parent / "JPEGImages", folder.parent / "images", folder / "images", folder],
        [PurePosixPath(row["image"]).name for row in rows],
    )
    there = find_pictures(root)
    for row in rows:
        tried = (row["image"], PurePosixPath(row["image"]).name, row.pop("stem"))
        row["image"] = next((there[each] for each in tried if each in there), tried[1])
    table = Table.from_rows(rows, source=str(folder))
    table.row_files = [str(file) for file in files]
    table.picture_root = None if options.image_path else str(root)
    return table


def _chosen(folder: Path, files: list[Path], image_set: str) -> list[Path]:
    lists = [base / image_set for base in (folder, folder.parent, Path())]
    file = next((each for each in lists if each.is_file()), None)
    if file is None:
        raise DataError(
            f"there is no {image_set} in {folder.parent} (build_info.reader_options.image_set)."
        )
    # ImageSets/Main/cat_train.txt has a second column: -1 where the picture holds no cat.
    lines = [line.split() for line in file.read_text(encoding="utf-8").splitlines()]
    wanted = {line[0] for line in lines if line and line[1:2] != ["-1"]}
    if missing := wanted - {each.stem for each in files}:
        raise DataError(
            f"{file} names {len(missing)} pictures without a file in {folder} (such as "
            f"{min(missing)})."
        )
    return [each for each in files if each.stem in wanted]


def _row(file: Path, *, keep_difficult: bool) -> Row:
    root = _parsed(file)
    name = _text(root, "filename").replace("\\", "/")
    objects = list(root.iter("object"))
    kept = [each for each in objects if keep_difficult or _text(each, "difficult") != "1"]
    return {
        "image": name or f"{file.stem}.jpg",
        "stem": file.stem,
        "width": _number(root, "size/width", file, default=0),
        "height": _number(root, "size/height", file, default=0),
        "boxes": [list(_box(each, file)) for each in kept],
        "classes": [_text(each, "name") for each in kept],
        "skipped": len(objects) - len(kept),
    }


def _parsed(file: Path) -> Element:
    """The root of a file from elsewhere: entities and external references are refused."""
    from xml.etree.ElementTree import ParseError

    from defusedxml import DefusedXmlException
    from defusedxml.ElementTree import parse

    try:
        root = parse(file, forbid_dtd=True).getroot()
    except ParseError as error:
        raise DataError(f"{file} is not valid XML ({error}): write it again.") from error
    except DefusedXmlException as error:
        raise DataError(
            f"{file} defines entities or a document type, which annotations never need: refused."
        ) from error
    if root is None or root.tag != "annotation":
        raise DataError(f"{file} is not VOC's: its root must be annotation.")
    return root


def _box(each: Element, file: Path) -> Iterator[float]:
    for corner in _CORNERS:
        yield _number(each, f"bndbox/{corner}", file)


def _text(root: Element, path: str) -> str:
    return (root.findtext(path) or "").strip()


def _number(root: Element, path: str, file: Path, *, default: float | None = None) -> float:
    text = _text(root, path)
    if not text and default is not None:
        return default
    try:
        return float(text)
    except ValueError:
        raise DataError(f"{file}: {path} is {text!r}, but must be a number.") from None
