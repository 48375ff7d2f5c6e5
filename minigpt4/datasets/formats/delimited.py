"""CSV and TSV files."""

from __future__ import annotations

import csv
from pathlib import Path

from minigpt4.common.errors import DataError
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import PackedColumn, Table


def read_csv(path: Path, options: ReaderOptions, *, delimiter: str = ",") -> Table:
    """A file whose first line names the columns; all values are text."""
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


def read_tsv(path: Path, options: ReaderOptions) -> Table:
    """The same with tabs between the values."""
    return read_csv(path, options, delimiter="\t")
