"""Annotations held by column in a few flat buffers, so that a million rows stay light.

Python objects for a million rows cost gigabytes, and worker processes copy them as soon as their
reference counts change. A ``Table`` keeps each column as one numpy array or one run of UTF-8 bytes.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import orjson

_CHUNK = 65536
"""Rows that are taken apart at once."""
_LONGEST_EMPTY = 5
"""Bytes of the longest JSON value that may count as empty (``false``)."""

Form = Literal["text", "json", "slow_json"]


class PackedColumn:
    """Strings, or any JSON values, as one run of UTF-8 bytes with offsets.

    Args:
        data: All values' bytes after each other.
        ends: Where each value ends in them.
        form: ``text`` for strings as they are, ``json`` for what orjson reads, ``slow_json`` for
            what only the standard library does (whole numbers beyond 64 bits, lone surrogates).
    """

    def __init__(self, data: np.ndarray, ends: np.ndarray, *, form: Form) -> None:
        self._data = data
        self._ends = ends.astype(np.uint32) if len(data) < 2**32 else ends
        self.form = form

    @classmethod
    def pack(cls, values: Iterable[Any]) -> PackedColumn:
        """Pack values; all strings are kept as they are, anything else as JSON (NaN as null)."""
        values = values if isinstance(values, list) else list(values)
        if all(type(value) is str for value in values):
            data = "".join(values)
            # ASCII text has as many bytes as characters.
            pieces = (
                values if data.isascii() else [v.encode("utf-8", "surrogatepass") for v in values]
            )
            return cls(*_joined(data.encode("utf-8", "surrogatepass"), pieces), form="text")
        try:
            texts = list(map(orjson.dumps, values))
            return cls(*_joined(b"".join(texts), texts), form="json")
        except TypeError:
            texts = [json.dumps(value).encode() for value in values]
            return cls(*_joined(b"".join(texts), texts), form="slow_json")

    @classmethod
    def concat(cls, columns: Sequence[PackedColumn]) -> PackedColumn:
        """All values of several columns of one form."""
        starts = np.cumsum([0, *(len(column._data) for column in columns[:-1])])
        ends = [c._ends.astype(np.int64) + s for c, s in zip(columns, starts, strict=True)]
        data = np.concatenate([column._data for column in columns])
        return cls(data, np.concatenate(ends), form=columns[0].form)

    def values(self, start: int, stop: int) -> list[Any]:
        """Several values at once."""
        begin = int(self._ends[start - 1]) if start else 0
        data = self._data[begin : int(self._ends[stop - 1])].tobytes() if stop > start else b""
        ends = (self._ends[start:stop].astype(np.int64) - begin).tolist()
        if self.form == "text" and data.isascii():
            text = data.decode("ascii")
            return [text[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        pieces = [data[a:b] for a, b in zip([0, *ends], ends, strict=False)]
        if self.form == "text":
            return [piece.decode("utf-8", "surrogatepass") for piece in pieces]
        values: list[Any] = self._loads(b"[" + b",".join(pieces) + b"]")
        return values

    def _lengths(self) -> np.ndarray:
        lengths: np.ndarray = np.diff(self._ends, prepend=self._ends.dtype.type(0))
        return lengths.astype(np.int64)

    def only(self, wanted: np.ndarray) -> PackedColumn:
        """The values where ``wanted``, shape (rows,), is true."""
        lengths = self._lengths()
        data = self._data[: self._ends[-1]][np.repeat(wanted, lengths)]
        return PackedColumn(data, np.cumsum(lengths[wanted]), form=self.form)

    def empty(self) -> np.ndarray:
        """Which values are empty (no text, null, nothing in them, zero, false), shape (rows,)."""
        lengths = self._lengths()
        if self.form == "text":
            found: np.ndarray = lengths == 0
            return found
        found = np.zeros(len(self), dtype=bool)
        for index in np.flatnonzero(lengths <= _LONGEST_EMPTY).tolist():
            found[index] = not self[index]
        return found

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        start = self._ends[index - 1] if index else 0
        data = self._data[start : self._ends[index]].tobytes()
        return data.decode("utf-8", "surrogatepass") if self.form == "text" else self._loads(data)

    def _loads(self, data: bytes) -> Any:
        return orjson.loads(data) if self.form == "json" else json.loads(data)


def _encode(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _joined(data: bytes, pieces: Sequence[Any]) -> tuple[np.ndarray, np.ndarray]:
    ends = np.cumsum(np.fromiter(map(len, pieces), dtype=np.int64, count=len(pieces)))
    return np.frombuffer(data, dtype=np.uint8), ends


Column = PackedColumn | np.ndarray


def pack(values: list[Any]) -> Column:
    """The lightest column that gives the same values back."""
    kinds = set(map(type, values))
    if kinds == {bool}:
        return np.array(values, dtype=np.bool_)
    if kinds == {int} and _fits(values):
        return np.array(values, dtype=np.int64)
    if kinds == {float}:
        return np.array(values, dtype=np.float64)
    if kinds == {list} and len(set(map(len, values))) == 1 and values[0]:
        flat = [item for value in values for item in value]
        inner = set(map(type, flat))
        if inner == {float} or (inner == {int} and _fits(flat)):
            form = np.float64 if inner == {float} else np.int64
            return np.array(flat, dtype=form).reshape(len(values), len(values[0]))
    return PackedColumn.pack(values)


def _fits(values: list[int]) -> bool:
    return min(values) >= -(2**63) and max(values) < 2**63


def _join_columns(columns: Sequence[Column]) -> Column:
    """One column of several, which need not be of one kind."""
    kinds = {c.form if isinstance(c, PackedColumn) else (c.dtype, c.shape[1:]) for c in columns}
    if len(kinds) > 1:
        return pack([value for column in columns for value in _values(column, 0, len(column))])
    if isinstance(columns[0], PackedColumn):
        return PackedColumn.concat(columns)  # type: ignore[arg-type]
    return np.concatenate(columns)  # type: ignore[arg-type]


def _values(column: Column, start: int, stop: int) -> list[Any]:
    if isinstance(column, PackedColumn):
        return column.values(start, stop)
    values: list[Any] = column[start:stop].tolist()
    return values


class Table:
    """Rows of an annotation file, read by index as plain dicts.

    Args:
        columns: Equally long columns by name.
        sources: Files the rows came from and how many of each.
        classes: Names that the files list as their classes, whether rows have them or not.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        *,
        sources: Sequence[tuple[str, int]],
        classes: Sequence[str] = (),
    ) -> None:
        self.classes = tuple(classes)
        self._columns = dict(columns)
        self._sources = list(sources)
        self._length = sum(count for _, count in sources)
        self._numbers: np.ndarray | None = None

    @classmethod
    def from_rows(cls, rows: Sequence[Mapping[str, Any]], *, source: str) -> Table:
        """Pack a list of mappings; a key that a row lacks is None there."""
        return cls.from_chunks([rows], source=source)

    @classmethod
    def from_chunks(cls, chunks: Iterable[Sequence[Mapping[str, Any]]], *, source: str) -> Table:
        """The same from parts of the list, so that never all rows are Python objects at once."""
        parts = []
        for rows in chunks:
            names = dict.fromkeys(name for row in rows for name in row)
            columns = {str(name): pack([row.get(name) for row in rows]) for name in names}
            parts.append(cls(columns, sources=[(source, len(rows))]))
        return cls.concat(parts, source=source)

    @classmethod
    def concat(cls, tables: Sequence[Table], *, source: str | None = None) -> Table:
        """All rows of several tables, in order; a column that one lacks is None there.

        Args:
            tables: Any number of them.
            source: The one file that all of them are parts of; None: each keeps its own.
        """
        if len(tables) == 1:
            return tables[0]
        names = list(dict.fromkeys(name for table in tables for name in table.names))
        columns: dict[str, Column] = {}
        for name in names:
            parts = [t._columns.get(name) for t in tables]
            columns[name] = _join_columns(
                [
                    PackedColumn.pack([None] * len(table)) if part is None else part
                    for part, table in zip(parts, tables, strict=True)
                    if len(table)
                ]
            )
        table = cls(
            columns,
            sources=[each for table in tables for each in table._sources],
            classes=tuple(dict.fromkeys(name for table in tables for name in table.classes)),
        )
        if source is not None:
            table._sources = [(source, len(table))]
        return table

    def __len__(self) -> int:
        return self._length

    @property
    def names(self) -> list[str]:
        """Column names."""
        return list(self._columns)

    @property
    def files(self) -> list[str]:
        """Files that the rows came from."""
        return [source for source, _ in self._sources]

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
        for values in self.tuples(names):
            yield dict(zip(names, values, strict=True))

    def tuples(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The values of some columns, row by row; all must be there."""
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            if not names:
                yield from (() for _ in range(start, stop))
                continue
            yield from zip(
                *(_values(self._columns[name], start, stop) for name in names), strict=True
            )

    def empty(self, name: str) -> np.ndarray:
        """Which rows have nothing in a column (no text, None, 0, no items), shape (rows,)."""
        column = self._columns[name]
        if isinstance(column, PackedColumn):
            return column.empty()
        found: np.ndarray = (
            np.zeros(len(column), dtype=bool) if column.ndim > 1 else ~column.astype(bool)
        )
        return found

    def distinct(self, names: Sequence[str]) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Which combinations of values some columns have.

        Returns:
            For each row the number of its combination, shape (rows,), and the combinations in the
            order of first use. Values that cannot be hashed all count as different.
        """
        numbers: dict[Any, int] = {}
        found: list[tuple[Any, ...]] = []
        codes = np.empty(len(self), dtype=np.int32)
        for row, values in enumerate(self.tuples(names)):
            try:
                number = numbers.setdefault(values, len(found))
            except TypeError:
                number = len(found)
            if number == len(found):
                found.append(values)
            codes[row] = number
        return codes, [dict(zip(names, values, strict=True)) for values in found]

    def only(self, wanted: np.ndarray) -> Table:
        """A table of some of the rows; messages still name the rows of the file.

        Args:
            wanted: Shape (rows,), bool.
        """
        columns: dict[str, Column] = {
            name: column.only(wanted) if isinstance(column, PackedColumn) else column[wanted]
            for name, column in self._columns.items()
        }
        table = Table(columns, sources=self._sources, classes=self.classes)
        table._length = int(wanted.sum())
        numbers = np.flatnonzero(wanted)
        table._numbers = numbers if self._numbers is None else self._numbers[numbers]
        return table

    def remade(self, rows: Iterable[tuple[int, Mapping[str, Any]]]) -> Table:
        """A table of other rows, made of this one's; messages still name the rows of the file.

        Args:
            rows: Each with the number of the row here that it was made of.
        """
        numbers: list[int] = []

        def chunks() -> Iterator[list[Mapping[str, Any]]]:
            each = iter(rows)
            while part := list(itertools.islice(each, _CHUNK)):
                numbers.extend(number for number, _ in part)
                yield [row for _, row in part]

        table = Table.from_chunks(chunks(), source="")
        table.classes, table._sources = self.classes, self._sources
        made = np.array(numbers, dtype=np.int64)
        table._numbers = made if self._numbers is None else self._numbers[made]
        return table

    def place(self, index: int) -> str:
        """Where a row came from, for messages; see ``source``."""
        source, row = self.source(index)
        return f"{source}, row {row}"

    def source(self, index: int) -> tuple[str, int]:
        """The file a row came from, and the row's number in it, from 0."""
        if self._numbers is not None:
            index = int(self._numbers[index])
        for source, count in self._sources:
            if index < count:
                return source, index
            index -= count
        raise IndexError(index)
