"""YOLO's text files: a line an object, in shares of the picture; the classes in another file."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.formats.picture_files import PICTURES, list_pictures, picture_folder
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

logger = logging.getLogger(__name__)

_NAME_FILES = ("data.yaml", "dataset.yaml", "classes.txt", "obj.names", "labels.txt")
_BOX = 5
"""Values of a line: class, centre x, centre y, width, height."""
_SPLITS = {
    "val": ("val", "valid", "validation"),
    "test": ("test", "val", "valid", "validation"),
}
"""What the splits are called elsewhere; without a test split, validation is tested on."""
Row = dict[str, Any]


class _Place(NamedTuple):
    """Pictures, relative to a root, and the text file of each."""

    root: Path
    pictures: list[str]
    labels: list[Path]
    stray: int = 0
    """Text files without a picture."""


def read_yolo(path: Path, options: ReaderOptions) -> Table:
    """Every picture with its objects; a picture without a text file has none.

    The columns are ``image``, ``boxes`` (centre x, centre y, width, height in shares of the
    picture) and ``classes``. Lines of more values are outlines, of which the box around is taken.

    Args:
        path: ``data.yaml`` (its ``train``, ``val``, ``test`` and ``names``), or a folder of text
            files.
        options: For a folder, ``build_info.reader_options`` may hold ``images`` (the folder of the
            pictures; otherwise ``image_path``, or ``images`` where the folder says ``labels``) and
            ``names`` (the classes, or their file; otherwise ``classes.txt`` or ``data.yaml`` in the
            folder or one of the two above).

    Raises:
        DataError: A file is missing or broken.
        ConfigError: The data have no such split, or the classes are not known.
    """
    if path.is_dir():
        names = _names(options.extra.get("names"), path)
        place = _of_folder(path, options)
    else:
        content = _yaml(path)
        names = _names(options.extra.get("names") or content.get("names"), path.parent)
        place = _of_yaml(path, content, options.split)
    if not place.pictures:
        raise DataError(f"{place.root} holds no pictures ({', '.join(PICTURES)}).")
    without = sum(not file.is_file() for file in place.labels)
    if without == len(place.pictures):
        raise DataError(
            f"none of the {without} pictures of {place.root} has a text file (such as "
            f"{place.labels[0]}); check where the labels are and how the files are called."
        )
    if without:
        logger.info("%s: %d of %d pictures have no text file", path, without, len(place.pictures))
    if place.stray:
        logger.warning(
            "%s: %d text files belong to no picture of %s and are left out",
            path, place.stray, place.root,
        )  # fmt: skip
    rows = [_row(*each, names) for each in zip(place.pictures, place.labels, strict=True)]
    table = Table.from_rows(rows, source=str(path))
    table.classes = tuple(names)
    table.row_files = [str(file) for file in place.labels]
    table.picture_root = str(place.root)
    return table


def _of_folder(path: Path, options: ReaderOptions) -> _Place:
    files = [file for file in sorted(path.rglob("*.txt")) if file.name not in _NAME_FILES]
    if not files:
        raise DataError(f"{path} holds no .txt files; name the folder of YOLO's labels.")
    stems = [file.relative_to(path).with_suffix("") for file in files[:20]]
    likely = [f"{stem}{ending}" for stem in stems for ending in PICTURES]
    given = options.extra.get("images") or options.image_path
    sister = Path(*("images" if part == "labels" else part for part in path.parts))
    candidates = [sister, path / "images", path.parent / "images", path, path.parent]
    root = picture_folder(given, [each for each in candidates if each.is_dir()], likely)
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root} of pictures; set build_info.image_path to theirs."
        )
    pictures = list(list_pictures(root))
    labels = [(path / each).with_suffix(".txt") for each in pictures]
    return _Place(root, pictures, labels, len(set(files) - set(labels)))


def _of_yaml(file: Path, content: Mapping[str, Any], split: str) -> _Place:
    keys = _SPLITS.get(split, (split,))
    key = next((each for each in keys if content.get(each)), None)
    if key is None:
        there = ", ".join(each for each in ("train", "val", "test") if content.get(each))
        raise ConfigError(f"{file} has no split {split!r} (it has {there or 'none'}).")
    value = content[key]
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(each, str) for each in values):
        raise DataError(f"{file}: {key} is {value!r}, but must name folders or lists of pictures.")
    base = file.parent
    if content.get("path") and (base / str(content["path"])).is_dir():
        base = base / str(content["path"])
    places = [_of_source(each, base=base, file=file, key=key) for each in values]
    if len(places) == 1:
        return places[0]
    pictures = [os.path.relpath(p.root / each, base) for p in places for each in p.pictures]
    labels = [label for each in places for label in each.labels]
    return _Place(base, pictures, labels, sum(each.stray for each in places))


def _of_source(value: str, *, base: Path, file: Path, key: str) -> _Place:
    """What one folder or list of a data.yaml holds."""
    # Roboflow writes ../train/images although the folder lies beside the file.
    options = [base / value, base / value.removeprefix("../"), file.parent / value]
    source = next((each for each in options if each.exists()), None)
    if source is None:
        raise DataError(f"{file}: there is no {options[0]} ({key}); correct the path.")
    if source.is_dir():
        pictures = list(list_pictures(source))
        labels = [_label_of(source / each) for each in pictures]
        known, folders = set(labels), {label.parent for label in labels}
        there = (f for folder in folders for f in folder.glob("*.txt") if f.name not in _NAME_FILES)
        return _Place(source, pictures, labels, sum(each not in known for each in there))
    lines = [line.strip() for line in source.read_text(encoding="utf-8").splitlines()]
    listed = [line.removeprefix("./") for line in lines if line]
    return _Place(base, listed, [_label_of(base / each) for each in listed])


def _label_of(picture: Path) -> Path:
    """``.../images/train/1.jpg`` to ``.../labels/train/1.txt``, as YOLO finds its labels."""
    parts = list(picture.parts)
    for place in range(len(parts) - 2, -1, -1):
        if parts[place] == "images":
            parts[place] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def _names(given: Any, folder: Path) -> list[str]:
    if isinstance(given, str):
        file = next((each for each in (Path(given), folder / given) if each.is_file()), None)
        if file is None:
            raise DataError(f"there is no file of classes {given} (reader_options.names).")
        return _names_in(file)
    if isinstance(given, Mapping):
        numbered = {str(number): str(name) for number, name in given.items()}
        if set(numbered) != set(map(str, range(len(given)))):
            raise DataError(
                f"the numbers of names ({folder}) must be 0, 1, 2 ... without a gap: give each "
                "number a name."
            )
        return [numbered[str(number)] for number in range(len(numbered))]
    if isinstance(given, Sequence):
        return [str(each) for each in given]
    for place in (folder, folder.parent, folder.parent.parent):
        for name in _NAME_FILES:
            if (place / name).is_file():
                return _names_in(place / name)
    raise ConfigError(
        f"the names of the classes are not known: put classes.txt (one a line) into {folder}, or "
        "set build_info.reader_options.names to the list or its file."
    )


def _names_in(file: Path) -> list[str]:
    if file.suffix == ".yaml":
        return _names(_yaml(file).get("names") or [], file.parent)
    lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def _yaml(file: Path) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise DataError(f"{file} is not valid YAML ({error}).") from error
    if not isinstance(content, Mapping):
        raise DataError(f"{file} must hold train, val and names, as YOLO's data.yaml does.")
    return content


def _row(picture: str, file: Path, names: Sequence[str]) -> Row:
    boxes, classes = [], []
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            kind, *values = (float(value) for value in line.split())
            name = names[_index(kind)]
        except ValueError:
            raise DataError(
                f"{file}, line {number}: {line!r} is not a class and numbers."
            ) from None
        except IndexError:
            raise DataError(
                f"{file}, line {number}: there is no class {line.split()[0]} among the "
                f"{len(names)} names."
            ) from None
        if len(values) < _BOX - 1:
            raise DataError(f"{file}, line {number}: {line!r} has too few values for a box.")
        boxes.append(_around(values) if len(values) > _BOX else values[: _BOX - 1])
        classes.append(name)
    return {"image": picture, "boxes": boxes, "classes": classes}


def _index(kind: float) -> int:
    if kind < 0 or kind != int(kind):
        raise IndexError(kind)
    return int(kind)


def _around(outline: Sequence[float]) -> list[float]:
    """The box around an outline of x, y, x, y ..., as centre and size."""
    left, right = min(outline[::2]), max(outline[::2])
    top, bottom = min(outline[1::2]), max(outline[1::2])
    return [(left + right) / 2, (top + bottom) / 2, right - left, bottom - top]
