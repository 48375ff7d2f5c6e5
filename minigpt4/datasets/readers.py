"""Annotations in any known format to one ``Table``.

A format is one function ``read_x(path: Path, options: ReaderOptions) -> Table`` in
``minigpt4/datasets/formats/`` and one entry in ``READERS``; its module is imported when a data set
first uses it. Its table holds plain rows (strings, numbers, lists, dicts) under the column names
that the kinds of data sets use: ``image``, ``question``, ``answer``, ``caption``, ``phrase``,
``bbox`` (one box) or ``boxes`` (several), ``class``, ``width``, ``height``, ``conversations``.
Boxes in pixels stay in pixels: the data set converts them (``build_info.box_form``).
"""

from __future__ import annotations

import gc
import importlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from minigpt4.common.errors import ConfigError, DataError

if TYPE_CHECKING:
    from minigpt4.datasets.table import Table


@dataclass(frozen=True, kw_only=True)
class ReaderOptions:
    """What a reader may want to know besides the path."""

    records: str | None = None
    """Key of the list within a JSON file (``build_info.records``)."""
    split: str = "train"
    """Split that is opened, for formats that hold several in one file or folder."""
    image_path: str | None = None
    """Folder of the pictures, for formats that need their sizes or list them; None: not given."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """``build_info.reader_options``: only keys that the ``Reader`` names in ``options``."""


@dataclass(frozen=True, kw_only=True)
class Reader:
    """One annotation format.

    Attributes:
        code: ``module:function`` below ``minigpt4.datasets.formats``.
        takes: Whether its path is a ``file``, a ``folder``, ``either``, or a ``name`` that is no
            path at all (a hub id), which is handed over unchecked.
        options: Keys of ``build_info.reader_options`` that it understands.
        splits: Whether one path holds several splits, of which it gives ``ReaderOptions.split``.
        form: ``build_info`` that goes with the format, where an entry says nothing else.
    """

    code: str
    takes: Literal["file", "folder", "either", "name"] = "file"
    options: tuple[str, ...] = ()
    splits: bool = False
    form: Mapping[str, Any] = field(default_factory=dict)

    def read(self, path: Path, options: ReaderOptions) -> Table:
        """Read one file or folder."""
        module, _, function = self.code.partition(":")
        home = importlib.import_module(f"minigpt4.datasets.formats.{module}")
        table: Table = getattr(home, function)(path, options)
        return table


READERS: dict[str, Reader] = {
    "csv": Reader(code="delimited:read_csv"),
    "tsv": Reader(code="delimited:read_csv"),
    "json": Reader(code="json_lists:read_json"),
    "jsonl": Reader(code="json_lists:read_jsonl"),
    "questions": Reader(
        code="questions:read_questions", options=("join", "labels", "images", "type")
    ),
    "refer": Reader(
        code="refer:read_refer", takes="folder", options=("dataset", "splitBy"), splits=True
    ),
    "visual_genome": Reader(
        code="visual_genome:read_regions", takes="folder", options=("below_area",)
    ),
    "ocr_vqa": Reader(code="ocr_vqa:read_ocr_vqa", splits=True),
    "coco": Reader(
        code="coco:read_coco",
        form={"task": "objects", "box_form": "pixels_xywh"},
    ),
    "voc": Reader(
        code="voc:read_voc",
        takes="folder",
        options=("image_set", "difficult"),
        form={"task": "objects", "box_form": "pixels_xyxy"},
    ),
    "yolo": Reader(
        code="yolo:read_yolo",
        takes="either",
        options=("images", "names"),
        splits=True,
        form={"task": "objects", "box_form": "shares_cxcywh"},
    ),
    "masks": Reader(
        code="mask_folders:read_masks",
        takes="folder",
        options=("class_name", "boxes"),
        form={"task": "detection", "image": "{image_path}"},
    ),
    "parquet": Reader(code="parquet:read_parquet", takes="either"),
    "hf": Reader(
        code="hub:read_hub",
        takes="name",
        options=("config", "split", "revision", "data_files"),
        splits=True,
    ),
}
"""Formats by the name that ``build_info.reader`` gives; a file's ending is a name too."""

_SPREADSHEETS = ("xlsx", "xls", "ods")


def lack(error: Exception) -> str:
    """What is wrong with a file, of the error that taking it apart raised."""
    return f"it lacks {error}" if isinstance(error, KeyError) else str(error)


def read_table(
    paths: Sequence[str],
    *,
    reader: str = "auto",
    records: str | None = None,
    split: str = "train",
    image_path: str | None = None,
    options: Mapping[str, Any] | None = None,
) -> Table:
    """Read annotation files into one table.

    Args:
        paths: Files (or folders, where the reader takes them); their rows follow each other.
        reader: A name in ``READERS``, or ``auto`` for the one of the file's ending.
        records: See ``ReaderOptions``.
        split: See ``ReaderOptions``.
        image_path: See ``ReaderOptions``.
        options: ``build_info.reader_options``.

    Raises:
        DataError: A file is missing, empty or not in that format.
        ConfigError: There is no such reader, or it does not know an option.
    """
    from minigpt4.datasets.table import Table

    asked = ReaderOptions(
        records=records, split=split, image_path=image_path, extra=dict(options or {})
    )
    tables = []
    for path in paths:
        found = _reader(path, reader)
        unknown = sorted(set(asked.extra) - set(found.options))
        if unknown:
            known = ", ".join(found.options) or "none"
            raise ConfigError(
                f"build_info.reader_options: {', '.join(unknown)} is unknown to this reader "
                f"(it knows: {known})."
            )
        try:
            with _no_collection():
                table = found.read(Path(path), asked)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
            ) from error
        if not len(table):
            raise DataError(f"{path} holds no rows.")
        tables.append(table)
    return Table.concat(tables)


def _reader(path: str, name: str) -> Reader:
    file = Path(path)
    takes = READERS[name].takes if name in READERS else "file"
    there = {
        "file": file.is_file(),
        "folder": file.is_dir(),
        "either": file.exists(),
        "name": True,
    }[takes]
    if not there and not (name == "auto" and file.is_dir()):
        if takes == "file" and file.is_dir():
            raise DataError(
                f"{path} is a folder, but the reader {name!r} takes a file: name the one in it."
            )
        what = "folder" if takes == "folder" else "file"
        raise DataError(
            f"there is no annotation {what} {path}; see data/README.md for where it comes from, "
            "or set its path (build_info.ann_path, eval_file_path)."
        )
    wanted = file.suffix.lstrip(".").lower() if name == "auto" else name
    if wanted in _SPREADSHEETS:
        raise ConfigError(
            f"{path} is a spreadsheet, which is not read: save it as CSV UTF-8 and name that file."
        )
    if name == "auto" and file.is_dir() and wanted not in READERS:
        folders = ", ".join(key for key, each in READERS.items() if each.takes != "file")
        raise ConfigError(
            f"{path} is a folder: name the annotation file in it (build_info.ann_path), or set "
            f"build_info.reader to a format that is read from a folder ({folders})."
        )
    if wanted not in READERS:
        raise ConfigError(
            f"there is no reader {wanted!r} for {path}; set build_info.reader to one of "
            f"{', '.join(sorted(READERS))}."
        )
    return READERS[wanted]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Keep the garbage collector from looking through millions of new objects again and again."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
