"""Annotation files to tables: CSV, TSV, JSON and JSON lines."""

from __future__ import annotations

import csv
import gc
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.table import PackedColumn, Table


def read_table(paths: Sequence[str], *, reader: str = "auto", records: str | None = None) -> Table:
    """Read annotation files into one table.

    Args:
        paths: Files; their rows follow each other.
        reader: A name in ``READERS``, or ``auto`` for the one of the file's ending.
        records: Key of the list within a JSON file whose top level is a mapping.

    Raises:
        DataError: A file is missing, empty or not in that format.
        ConfigError: There is no such reader.
    """
    tables = []
    for path in paths:
        file = Path(path)
        if not file.is_file():
            raise DataError(
                f"there is no annotation file {path}; see data/README.md for where it comes from, "
                "or set its path (build_info.ann_path, eval_file_path)."
            )
        name = file.suffix.lstrip(".").lower() if reader == "auto" else reader
        if name not in READERS:
            raise ConfigError(
                f"there is no reader {name!r} for {path}; set build_info.reader to one of "
                f"{', '.join(sorted(READERS))}."
            )
        try:
            with _no_collection():
                table = READERS[name](file, records)
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is not UTF-8 text (byte {error.start}); save it as UTF-8."
            ) from error
        if not len(table):
            raise DataError(f"{path} holds no rows.")
        tables.append(table)
    return Table.concat(tables)


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


def _read_csv(path: Path, records: str | None, *, delimiter: str = ",") -> Table:
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter)
        try:
            names = next(lines, [])
            rows = [row for row in lines if row]
        except csv.Error as error:
            raise DataError(f"{path}, line {lines.line_num}: {error}.") from error
    for number, row in enumerate(rows):
        if len(row) != len(names):
            raise DataError(
                f"{path}, row {number} has {len(row)} values for {len(names)} columns; quote "
                "values that hold a comma or a line break."
            )
    # The first column of a pandas CSV is its index and has no name.
    names = [name.strip() or "index" for name in names]
    columns = zip(*rows, strict=True) if rows else [[] for _ in names]
    packed = {name: PackedColumn.pack(list(col)) for name, col in zip(names, columns, strict=True)}
    return Table(packed, sources=[(str(path), len(rows))])


def _read_tsv(path: Path, records: str | None) -> Table:
    return _read_csv(path, records, delimiter="\t")


def _read_json(path: Path, records: str | None) -> Table:
    try:
        content = json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON (line {error.lineno}: {error.msg}).") from error
    if records is not None:
        if not isinstance(content, dict) or records not in content:
            raise DataError(f"{path} has no list under {records!r} (build_info.records).")
        content = content[records]
    return _table_of(content, path)


def _read_jsonl(path: Path, records: str | None) -> Table:
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number} is not valid JSON: {error.msg}.") from error
    return _table_of(rows, path)


def _table_of(content: Any, path: Path) -> Table:
    if not isinstance(content, list):
        keys = ", ".join(list(content)[:5]) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{path} must hold a list of entries, but its top level is {keys}; name the key of the "
            "list in build_info.records."
        )
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number} is not a mapping but {type(row).__name__}.")
    return Table.from_rows(content, source=str(path))


READERS: dict[str, Callable[[Path, str | None], Table]] = {
    "csv": _read_csv,
    "tsv": _read_tsv,
    "json": _read_json,
    "jsonl": _read_jsonl,
}
