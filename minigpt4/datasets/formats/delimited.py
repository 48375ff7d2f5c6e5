"""CSV and TSV files."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from minigpt4.common.errors import DataError
from minigpt4.datasets.columns import PackedColumn
from minigpt4.datasets.formats.large_csv import large_csv
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

_CHUNK = 8192
"""Rows that are Python objects at once."""
_LARGE = 1 << 20
"""Bytes from which on a faster reader is worth loading."""
_SEPARATORS = ",;\t"


def read_csv(path: Path, options: ReaderOptions) -> Table:
    """A file whose first line names the columns; all values are text.

    Values are separated by what separates the names: commas, semicolons (as spreadsheets write
    them where the comma is the decimal sign) or tabs.

    Raises:
        DataError: Two columns have one name, or a row has more or fewer values than there are
            columns.
    """
    separator = _separator(path)
    with path.open(encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file, delimiter=separator)
        try:
            names = _names(next(lines, []), path)
            if path.stat().st_size >= _LARGE:
                columns = large_csv(path, separator, len(names))
                if columns is not None:
                    rows = len(columns[0])
                    packed = dict(zip(names, columns, strict=True))
                    return Table(packed, sources=[(str(path), rows)])
            parts = [_part(rows, names, path, first) for first, rows in _chunks(lines)]
        except csv.Error as error:
            raise DataError(
                f"{path}, line {lines.line_num}: {error}; is a quote left open there or before?"
            ) from error
    return Table.concat(parts, source=str(path))


def _separator(path: Path) -> str:
    """What the first line has most of outside of quotes."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        line = file.readline()
    return max(_SEPARATORS, key=lambda each: len(next(csv.reader([line], delimiter=each), [])))


def _names(line: Sequence[str], path: Path) -> list[str]:
    names = [name.strip() for name in line]
    for name, count in Counter(filter(None, names)).items():
        if count > 1:
            raise DataError(f"{path} has {count} columns {name!r}: give each a name of its own.")
    # The first column of a pandas CSV is its index and has no name.
    return [name or "index" for name in names]


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
            "values that hold a separator or a line break."
        )
    columns = zip(*rows, strict=True)
    packed = {name: PackedColumn.pack(list(col)) for name, col in zip(names, columns, strict=True)}
    return Table(packed, sources=[(str(path), len(rows))])
