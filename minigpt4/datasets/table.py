"""Annotations held by column in a few flat buffers, so that a million rows stay light.

Python objects for a million rows cost gigabytes, and worker processes copy them as soon as their
reference counts change. A ``Table`` keeps each column as one numpy array or one run of UTF-8 bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

_CHUNK = 65536
"""Rows that are taken apart at once."""


class PackedColumn:
    """Strings, or any JSON values, as one run of UTF-8 bytes with offsets."""

    def __init__(self, data: np.ndarray, ends: np.ndarray, *, is_json: bool) -> None:
        self._data = data
        self._ends = ends
        self._is_json = is_json

    @classmethod
    def pack(cls, values: Iterable[Any]) -> PackedColumn:
        """Pack values; all strings are kept as they are, anything else as JSON."""
        values = values if isinstance(values, list) else list(values)
        is_json = not all(type(value) is str for value in values)
        # As ASCII, JSON has as many bytes as characters, like most text.
        texts: list[Any] = [json.dumps(value) for value in values] if is_json else values
        data = "".join(texts)
        pieces = texts if data.isascii() else [t.encode("utf-8", "surrogatepass") for t in texts]
        ends = np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)))
        encoded = data.encode("utf-8", "surrogatepass")
        return cls(np.frombuffer(encoded, dtype=np.uint8), ends, is_json=is_json)

    def values(self, start: int, stop: int) -> list[Any]:
        """Several values at once."""
        begin = int(self._ends[start - 1]) if start else 0
        data = self._data[begin : int(self._ends[stop - 1])].tobytes() if stop > start else b""
        ends = (self._ends[start:stop] - begin).tolist()
        pieces = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if self._is_json:
            values: list[Any] = json.loads(b"[" + b",".join(pieces) + b"]")
            return values
        return [piece.decode("utf-8", "surrogatepass") for piece in pieces]

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        start = self._ends[index - 1] if index else 0
        text = self._data[start : self._ends[index]].tobytes().decode("utf-8", "surrogatepass")
        return json.loads(text) if self._is_json else text


Column = PackedColumn | np.ndarray


def pack(values: list[Any]) -> Column:
    """The lightest column that gives the same values back."""
    kinds = set(map(type, values))
    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    if kinds == {int} and _fits(values):
        return np.array(values, dtype=np.int64)
    if kinds == {list} and len(set(map(len, values))) == 1 and values[0]:
        flat = [item for value in values for item in value]
        if set(map(type, flat)) == {int} and _fits(flat):
            return np.array(flat, dtype=np.int64).reshape(len(values), len(values[0]))
    return PackedColumn.pack(values)


def _fits(values: list[int]) -> bool:
    return min(values) >= -(2**63) and max(values) < 2**63


def _values(column: Column, start: int, stop: int) -> list[Any]:
    if isinstance(column, PackedColumn):
        return column.values(start, stop)
    values: list[Any] = column[start:stop].tolist()
    return values


class Table:
    """Rows of an annotation file, read by index as plain dicts.

    Args:
        columns: Equally long columns by name.
        sources: Files the rows came from and how many of each, for messages.
    """

    def __init__(
        self, columns: Mapping[str, Column], *, sources: Sequence[tuple[str, int]]
    ) -> None:
        self._columns = dict(columns)
        self._sources = list(sources)
        self._length = len(next(iter(columns.values()))) if columns else 0

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]], *, source: str) -> Table:
        """Pack a list of mappings; a key that a row lacks is None there."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        columns = {str(name): pack([row.get(name) for row in rows]) for name in names}
        return cls(columns, sources=[(source, len(rows))])

    @classmethod
    def concat(cls, tables: Sequence[Table]) -> Table:
        """All rows of several tables, in order."""
        if len(tables) == 1:
            return tables[0]
        names = list(dict.fromkeys(name for table in tables for name in table.names))
        columns = {
            name: pack([table.value(i, name) for table in tables for i in range(len(table))])
            for name in names
        }
        return cls(columns, sources=[source for table in tables for source in table._sources])

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> list[str]:
        """Column names."""
        return list(self._columns)

    def alias(self, name: str, column: str) -> None:
        """Let a column be read under another name too."""
        self._columns[name] = self._columns[column]

    def value(self, index: int, name: str) -> Any:
        """One value; None where the table has no such column."""
        column = self._columns.get(name)
        if column is None:
            return None
        value = column[index]
        return value if isinstance(column, PackedColumn) else value.tolist()

    def row(self, index: int) -> dict[str, Any]:
        """One row as a new dict."""
        return {name: self.value(index, name) for name in self._columns}

    def rows(self, names: Sequence[str]) -> Iterator[dict[str, Any]]:
        """All rows in order, with some columns only; a missing column is left out."""
        names = [name for name in names if name in self._columns]
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            columns = [_values(self._columns[name], start, stop) for name in names]
            if not columns:
                yield from ({} for _ in range(start, stop))
            for values in zip(*columns, strict=True):
                yield dict(zip(names, values, strict=True))

    def place(self, index: int) -> str:
        """Where a row came from: the file and the row's number in it, from 0."""
        for source, count in self._sources:
            if index < count:
                return f"{source}, row {index}"
            index -= count
        raise IndexError(index)
