"""Annotations held by column in a few flat buffers, so that a million rows stay light.

Python objects for a million rows cost gigabytes, and worker processes copy them as soon as their
reference counts change. A ``Table`` keeps each column as one numpy array or one run of UTF-8 bytes.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import operator
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minigpt4.datasets.columns import Column, PackedColumn, join_columns, pack, values_of

_CHUNK = 8192
"""Rows that are taken apart at once."""
_MANY = 50_000
"""Rows from which on telling values apart is worth loading a library."""


class _Unhashable(str):
    """A list or mapping among keys."""

    __slots__ = ()


def _plain(key: Any) -> Any:
    return json.loads(key) if type(key) is _Unhashable else key


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Rows by column; a key that a row lacks is None there."""
    first = list(rows[0]) if rows else []
    if set(map(len, rows)) == {len(first)}:
        with contextlib.suppress(KeyError):  # then all rows have the same keys, as most files' do
            return {name: list(map(operator.itemgetter(name), rows)) for name in first}
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [row.get(name) for row in rows] for name in names}


class Table:
    """Rows of an annotation file, read by index as plain dicts.

    Args:
        columns: Equally long columns by name; names are kept in Unicode form NFC.
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
        self.picture_root: str | None = None
        """Folder of the pictures where the format knows it; what an entry says goes first."""
        self.row_files: list[str] = []
        """The annotation file of each row, where each has its own; empty: they share ``files``."""
        self._columns = {
            unicodedata.normalize("NFC", name): column for name, column in columns.items()
        }
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
        parts = [
            cls(
                {str(name): pack(values) for name, values in _columns_of(rows).items()},
                sources=[(source, len(rows))],
            )
            for rows in chunks
        ]
        return cls.concat(parts, source=source)

    @classmethod
    def concat(cls, tables: Sequence[Table], *, source: str | None = None) -> Table:
        """All rows of several tables, in order; a column that one lacks is None there.

        Args:
            tables: Any number of them.
            source: The one file that all of them are parts of, and which are used up, so that the
                file is not in memory twice; None: each keeps its own.
        """
        if len(tables) == 1:
            return tables[0]
        names = list(dict.fromkeys(name for table in tables for name in table.names))
        columns: dict[str, Column] = {}
        for name in names:
            take = dict.get if source is None else dict.pop
            parts = [take(t._columns, name, None) for t in tables]
            columns[name] = join_columns(
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
        if all(each.row_files for each in tables):
            table.row_files = [file for each in tables for file in each.row_files]
        roots = {each.picture_root for each in tables}
        table.picture_root = roots.pop() if len(roots) == 1 else None
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

    def add(self, name: str, values: list[Any]) -> None:
        """Add a column: a value for each row."""
        self._columns[name] = pack(values)

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

    def numbered(
        self, numbers: np.ndarray | Sequence[int] | None = None
    ) -> Iterator[tuple[int, dict[str, Any]]]:
        """Rows in their order with their numbers: all, or those of ``numbers``."""
        wanted = np.full(len(self), numbers is None)
        if numbers is not None:
            wanted[numbers] = True
        for number, row in enumerate(self.rows(self.names)):
            if wanted[number]:
                yield number, row

    def tuples(self, names: Sequence[str]) -> Iterator[tuple[Any, ...]]:
        """The values of some columns, row by row; all must be there."""
        for start in range(0, len(self), _CHUNK):
            stop = min(start + _CHUNK, len(self))
            if not names:
                yield from (() for _ in range(start, stop))
                continue
            yield from zip(
                *(values_of(self._columns[name], start, stop) for name in names), strict=True
            )

    def empty(self, name: str) -> np.ndarray:
        """Which rows have nothing in a column, shape (rows,); see ``is_empty``."""
        column = self._columns[name]
        if isinstance(column, PackedColumn):
            return column.empty()
        return np.zeros(len(column), dtype=bool)

    def is_text(self, name: str) -> bool:
        """Whether every value of a column is text."""
        column = self._columns.get(name)
        return isinstance(column, PackedColumn) and column.form == "text"

    def is_filled_text(self, name: str) -> bool:
        """Whether every value of a column is text, or surely a flat list that begins with some."""
        column = self._columns.get(name)
        return isinstance(column, PackedColumn) and (
            column.form == "text" or column.holds_lists_of_text()
        )

    def distinct(self, names: Sequence[str]) -> tuple[np.ndarray, list[dict[str, Any]]]:
        """Which combinations of values some columns have.

        Returns:
            For each row the number of its combination, shape (rows,), and the combinations in the
            order of first use.
        """
        if not names:
            return np.zeros(len(self), dtype=np.int32), [{}]
        if len(names) == 1 and len(self) >= _MANY and self.is_text(names[0]):
            column = self._columns[names[0]]
            assert isinstance(column, PackedColumn)
            numbered, spellings = column.distinct()
            return numbered, [{names[0]: each} for each in spellings]
        numbers: dict[Any, int] = {}
        codes = np.empty(len(self), dtype=np.int32)
        for start in range(0, len(self), _CHUNK):
            keys = self._keys(names, start, min(start + _CHUNK, len(self)))
            for key in dict.fromkeys(keys):
                numbers.setdefault(key, len(numbers))
            codes[start : start + len(keys)] = np.fromiter(
                map(numbers.__getitem__, keys), dtype=np.int32, count=len(keys)
            )
        combinations = ((key,) for key in numbers) if len(names) == 1 else numbers
        return codes, [dict(zip(names, map(_plain, c), strict=True)) for c in combinations]

    def _keys(self, names: Sequence[str], start: int, stop: int) -> list[Any]:
        """What tells the rows' values apart; lists and mappings by their JSON."""
        columns = [values_of(self._columns[name], start, stop) for name in names]
        for number, values in enumerate(columns):
            if {list, dict} & set(map(type, values)):
                columns[number] = [_Unhashable(json.dumps(value)) for value in values]
        return columns[0] if len(columns) == 1 else list(zip(*columns, strict=True))

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
        table.picture_root, table.row_files = self.picture_root, self.row_files
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
        table.picture_root, table.row_files = self.picture_root, self.row_files
        made = np.array(numbers, dtype=np.int64)
        table._numbers = made if self._numbers is None else self._numbers[made]
        return table

    def place(self, index: int) -> str:
        """Where a row came from, for messages; see ``source``."""
        source, row = self.source(index)
        return source if row is None else f"{source}, row {row}"

    def source(self, index: int) -> tuple[str, int | None]:
        """The file a row came from, and its number in it, from 0; None where it is all of it."""
        if self._numbers is not None:
            index = int(self._numbers[index])
        if self.row_files:
            return self.row_files[index], None
        for source, count in self._sources:
            if index < count:
                return source, index
            index -= count
        raise IndexError(index)
