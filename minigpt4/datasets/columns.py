"""One column of annotations as one numpy array or one run of bytes."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import orjson

_LONGEST_EMPTY = len(b"false")
"""Bytes of the longest JSON value that may count as empty."""

_WINDOW = 2**16
"""Bytes that are looked at together."""

_NUMBERS: Mapping[type, type] = {bool: np.bool_, int: np.int64, float: np.float64}
"""How values of a type are kept."""

_BLANKS = np.frombuffer(b" \t\r\n\\", dtype=np.uint8)

Form = Literal["text", "json", "slow_json"]


class PackedColumn:
    """Strings, or any JSON values, as one run of UTF-8 bytes with offsets.

    Args:
        data: All values' bytes, one byte between two values: a zero between strings, a comma
            between JSON values, so that many are taken apart at once.
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
        with contextlib.suppress(TypeError):  # not all of them are strings
            encoded = "\0".join(values).encode("utf-8", "surrogatepass")
            data = np.frombuffer(encoded, dtype=np.uint8)
            ends = np.append(np.flatnonzero(data == 0), len(data))
            if len(ends) == len(values):  # no value holds a zero itself
                return cls(data, ends, form="text")
        form: Form = "json"
        try:
            if (lists := _lists(values)) is not None:
                return cls(*lists, form=form)
            texts = list(map(orjson.dumps, values))
        except TypeError:
            form, texts = "slow_json", [json.dumps(value).encode() for value in values]
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
        data = np.frombuffer(b",".join(texts), dtype=np.uint8)
        return cls(data, np.cumsum(lengths + 1) - 1, form=form)

    @classmethod
    def of_run(cls, data: np.ndarray, lengths: np.ndarray) -> PackedColumn | None:
        """Strings that stand one after another without anything between; None if one holds a zero.

        Args:
            data: Their UTF-8 bytes.
            lengths: Bytes of each.
        """
        if not data.all():
            return None
        ends = np.cumsum(lengths.astype(np.int64) + 1) - 1
        spread = np.zeros(len(data) + max(len(lengths) - 1, 0), dtype=np.uint8)
        inside = np.ones(len(spread), dtype=bool)
        inside[ends[:-1]] = False
        spread[inside] = data
        return cls(spread, ends, form="text")

    @classmethod
    def concat(cls, columns: Sequence[PackedColumn]) -> PackedColumn:
        """All values of several columns of one form."""
        separator = np.array([0 if columns[0].form == "text" else ord(",")], dtype=np.uint8)
        starts = np.cumsum([0, *(len(column._data) + 1 for column in columns[:-1])])
        ends = [c._ends.astype(np.int64) + s for c, s in zip(columns, starts, strict=True)]
        parts = [part for column in columns for part in (column._data, separator)]
        return cls(np.concatenate(parts[:-1]), np.concatenate(ends), form=columns[0].form)

    def values(self, start: int, stop: int) -> list[Any]:
        """Several values at once."""
        if stop <= start:
            return []
        data = self._data[self._begin(start) : self._ends[stop - 1]].tobytes()
        if self.form == "text":
            return data.decode("utf-8", "surrogatepass").split("\0")
        values: list[Any] = self._loads(b"[" + data + b"]")
        return values

    def only(self, wanted: np.ndarray) -> PackedColumn:
        """The values where ``wanted``, shape (rows,), is true."""
        lengths = self._lengths()
        # Each value with the byte after it, of which the last one has none.
        data = self._data[np.repeat(wanted, lengths + 1)[: len(self._data)]]
        ends = np.cumsum(lengths[wanted] + 1) - 1
        return PackedColumn(data[: ends[-1]] if len(ends) else data, ends, form=self.form)

    def empty(self) -> np.ndarray:
        """Which values are empty, shape (rows,): no text but white space, null, no items."""
        lengths = self._lengths()
        suspects = lengths <= _LONGEST_EMPTY
        filled = np.flatnonzero(lengths > 1)
        begins = self._ends[filled].astype(np.int64) - lengths[filled]
        # What a text begins with: after the quotation mark of JSON, which may escape it.
        begins += self.form != "text"
        suspects[filled] |= np.isin(self._data[begins], _BLANKS)
        found = np.zeros(len(self), dtype=bool)
        for index in np.flatnonzero(suspects).tolist():
            found[index] = is_empty(self[index])
        return found

    def holds_lists_of_text(self) -> bool:
        """Whether each value can be seen to be a flat list that begins with a text not blank.

        Looks at the JSON as it stands, which orjson writes without spaces; False means it takes
        more to know.
        """
        lengths = self._lengths()
        if self.form != "json" or not len(lengths) or lengths.min() < len('["a"]'):
            return False
        begins = self._ends.astype(np.int64) - lengths
        first, second, third = (self._data[begins + place] for place in range(3))
        # An escape may be a blank, too; the quotation mark would end an empty text.
        blank = np.isin(third, np.append(_BLANKS, np.uint8(ord('"'))))
        if not ((first == ord("[")) & (second == ord('"')) & ~blank).all():
            return False
        return self._nested() == len(lengths) - 1  # the values themselves

    def _nested(self) -> int:
        """How many brackets open after a comma or an opening bracket."""
        count = 0
        for start in range(0, len(self._data), _WINDOW):  # small enough for a core's cache
            window = self._data[start : start + _WINDOW + 1]
            opening, before = window[1:], window[:-1]
            opens = (opening == ord("[")) | (opening == ord("{"))
            opens &= (before == ord(",")) | (before == ord("["))
            count += int(np.count_nonzero(opens))
        return count

    def distinct(self) -> tuple[np.ndarray, list[str]]:
        """Of text: for each value the number of its spelling, and these in order of first use."""
        import pyarrow

        # Each value with the byte after it.
        bounds = np.concatenate([[0], self._ends.astype(np.int64) + 1])
        buffers = [
            None,
            pyarrow.py_buffer(bounds),
            pyarrow.py_buffer(np.append(self._data, np.uint8(0))),
        ]
        form = pyarrow.large_binary()
        found = pyarrow.Array.from_buffers(form, len(self), buffers).dictionary_encode()
        # Not to_numpy, which imports pandas for as long as all the rest takes.
        codes = np.frombuffer(found.indices.buffers()[1], dtype=np.int32)[: len(self)].copy()
        spellings = [v[:-1].decode("utf-8", "surrogatepass") for v in found.dictionary.to_pylist()]
        del found
        pyarrow.default_memory_pool().release_unused()
        return codes, spellings

    def __len__(self) -> int:
        return len(self._ends)

    def __getitem__(self, index: int) -> Any:
        data = self._data[self._begin(index) : self._ends[index]].tobytes()
        return data.decode("utf-8", "surrogatepass") if self.form == "text" else self._loads(data)

    def _begin(self, index: int) -> int:
        return int(self._ends[index - 1]) + 1 if index else 0

    def _lengths(self) -> np.ndarray:
        found: np.ndarray = np.diff(self._ends.astype(np.int64), prepend=-1) - 1
        return found

    def _loads(self, data: bytes) -> Any:
        return orjson.loads(data) if self.form == "json" else json.loads(data)


def is_empty(value: Any) -> bool:
    """Whether a value says nothing: no text but white space, None, no items; 0 is a value."""
    if isinstance(value, str):
        return not value.strip()
    return value is None or (isinstance(value, list | dict) and not value)


Column = PackedColumn | np.ndarray


def pack(values: list[Any]) -> Column:
    """The lightest column that gives the same values back."""
    numbers = _numbers(values)
    if numbers is None and values and type(values[0]) is list and set(map(type, values)) == {list}:
        width = len(values[0])
        if width and type(values[0][0]) in _NUMBERS and set(map(len, values)) == {width}:
            flat = _numbers(list(itertools.chain.from_iterable(values)))
            numbers = flat if flat is None else flat.reshape(-1, width)  # (rows, width)
    return PackedColumn.pack(values) if numbers is None else numbers


def _numbers(values: list[Any]) -> np.ndarray | None:
    """Numbers of one kind, or truths, as an array; None for other values."""
    form = _NUMBERS.get(type(values[0])) if values else None
    if form is None or len(set(map(type, values))) > 1:
        return None
    with contextlib.suppress(OverflowError):  # a whole number beyond 64 bits
        return np.array(values, dtype=form)
    return None


def _lists(values: list[Any]) -> tuple[np.ndarray, np.ndarray] | None:
    """Lists as JSON, written at once, and where each ends in it; None where that cannot be told.

    Between two lists stands ``],[``. Where nothing in them, no text and no list, looks like it, it
    stands there alone.
    """
    if set(map(type, values)) != {list}:
        return None
    data = np.frombuffer(orjson.dumps(values), dtype=np.uint8)[1:-1]
    is_comma = data[1:-1] == ord(",")
    is_comma &= data[:-2] == ord("]")
    is_comma &= data[2:] == ord("[")
    commas = np.flatnonzero(is_comma) + 1
    return (data, np.append(commas, len(data))) if len(commas) == len(values) - 1 else None


def join_columns(columns: Sequence[Column]) -> Column:
    """One column of several, which need not be of one kind."""
    kinds = {c.form if isinstance(c, PackedColumn) else (c.dtype, c.shape[1:]) for c in columns}
    if len(kinds) > 1:
        return pack([value for column in columns for value in values_of(column, 0, len(column))])
    if isinstance(columns[0], PackedColumn):
        return PackedColumn.concat(columns)  # type: ignore[arg-type]
    return np.concatenate(columns)  # type: ignore[arg-type]


def values_of(column: Column, start: int, stop: int) -> list[Any]:
    """Several values of a column at once."""
    if isinstance(column, PackedColumn):
        return column.values(start, stop)
    values: list[Any] = column[start:stop].tolist()
    return values
