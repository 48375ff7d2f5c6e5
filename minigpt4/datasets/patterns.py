"""Patterns such as ``{img_id:012d}.jpg`` that turn a row of annotations into text."""

from __future__ import annotations

import string
from collections.abc import Mapping
from functools import cached_property, lru_cache
from typing import Any


class Pattern:
    """A Python format string over the columns of a row, taken apart once.

    ``{answer}``, ``{img_id:012d}`` (numbers may arrive as text) and ``{instances[0][output]}``.
    None is written as nothing.

    Raises:
        ValueError: The braces do not match, or name no column.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        parts = list(string.Formatter().parse(text))
        self._names = [name for _, name, _, _ in parts if name is not None]
        if any(not name or name.isdigit() for name in self.columns):
            raise ValueError("braces that name no column; double those that are meant as such")
        # Most patterns name whole columns, which need none of the formatter's machinery.
        self._simple = all(
            name is None or (name.isidentifier() and not conversion)
            for _, name, _, conversion in parts
        )
        self._parts = [(literal, name, spec or "") for literal, name, spec, _ in parts]

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns that are read, without repetition."""
        return tuple(dict.fromkeys(name.split("[")[0].split(".")[0] for name in self._names))

    @cached_property
    def whole_columns(self) -> tuple[str, ...]:
        """Those that are written as they are: ``{answer}``, not ``{answer[0]}``."""
        return tuple(dict.fromkeys(name for name in self._names if not {"[", "."} & set(name)))

    def fill(self, row: Mapping[str, Any]) -> str:
        """Fill in the values of a row.

        Raises:
            KeyError, IndexError, TypeError, ValueError: The row lacks a value or one does not fit.
        """
        if not self._simple:
            return _FORMATTER.vformat(self.text, (), row)
        return "".join(
            [
                literal if name is None else literal + _format(row[name], spec)
                for literal, name, spec in self._parts
            ]
        )


def _format(value: Any, spec: str) -> str:
    if not spec and isinstance(value, str):
        return value
    if value is None:
        return ""
    if spec.endswith("d") and not isinstance(value, int):
        number = float(value)
        if number != int(number):
            raise ValueError(f"{value!r} is not a whole number")
        # Not int(number): ids may have more digits than a float holds.
        value = int(value) if isinstance(value, str) and value.strip().isdigit() else int(number)
    return format(value, spec)


class _RowFormatter(string.Formatter):
    def format_field(self, value: Any, format_spec: str) -> Any:
        return _format(value, format_spec)


_FORMATTER = _RowFormatter()


@lru_cache(maxsize=4096)
def compiled(text: str) -> Pattern:
    """The pattern of a text, made once."""
    return Pattern(text)


def fill(pattern: str, row: Mapping[str, Any]) -> str:
    """Fill a pattern with the columns of a row; see ``Pattern.fill``."""
    return compiled(pattern).fill(row)


def pattern_columns(pattern: str) -> tuple[str, ...]:
    """Names of the columns that a pattern reads."""
    return compiled(pattern).columns
