"""CSV and TSV files."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterator
from pathlib import Path

from minigpt4.common.errors import DataError
from minigpt4.datasets.columns import PackedColumn
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

_CHUNK = 8192
"""Rows that are Python objects at once."""


def read_csv(path: Path, options: ReaderOptions, *, delimiter: str = ",") -> Table:
    """A file whose first line names the columns; all values are text."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=delimiter)
        try:
            # The first column of a pandas CSV is its index and has no name.
            names = [name.strip() or "index" for name in next(lines, [])]
            parts = [_part(rows, names, path, first) for first, rows in _chunks(lines)]
        except csv.Error as error:
            raise DataError(f"{path}, line {lines.line_num}: {error}.") from error
    return Table.concat(parts, source=str(path))


def _chunks(lines: Iterator[list[str]]) -> Iterator[tuple[int, list[list[str]]]]:
    """Rows in parts, each with the number of its first one; empty lines do not count."""
    first = 0
    while rows := list(itertools.islice(filter(None, lines), _CHUNK)):
        yield first, rows
        first += len(rows)


def _part(rows: list[list[str]], names: list[str], path: Path, first: int) -> Table:
    if set(map(len, rows)) != {len(names)}:
        number, row = next((n, row) for n, row in enumerate(rows) if len(row) != len(names))
        raise DataError(
            f"{path}, row {first + number} has {len(row)} values for {len(names)} columns; quote "
            "values that hold a comma or a line break."
        )
    columns = zip(*rows, strict=True)
    packed = {name: PackedColumn.pack(list(col)) for name, col in zip(names, columns, strict=True)}
    return Table(packed, sources=[(str(path), len(rows))])


def read_tsv(path: Path, options: ReaderOptions) -> Table:
    """The same with tabs between the values."""
    return read_csv(path, options, delimiter="\t")
