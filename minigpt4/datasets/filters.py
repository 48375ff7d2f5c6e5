"""``build_info.where``: which rows of an annotation file a data set consists of."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minigpt4.common.errors import DataError
from minigpt4.common.text import normalize
from minigpt4.datasets.table import Table

logger = logging.getLogger(__name__)

_TESTS: Mapping[str, Callable[[Any, Any], bool]] = {
    "contains": lambda value, part: value is not None and part in value,
    "less_than": lambda value, limit: value is not None and float(value) < limit,
    "at_least": lambda value, limit: value is not None and float(value) >= limit,
    "is_not": lambda value, other: not _same(value, other),
}


def where_mistakes(where: Mapping[str, Any] | None) -> list[str]:
    """What is wrong with a ``where``, one sentence each; checked before any file is read."""
    mistakes = []
    for column, wanted in (where or {}).items():
        if not isinstance(wanted, Mapping):
            continue
        for test, operand in wanted.items():
            if test not in _TESTS:
                known = ", ".join(_TESTS)
                mistakes.append(f"where.{column} knows no test {test!r} (known: {known})")
            elif test in ("less_than", "at_least") and not isinstance(operand, int | float):
                mistakes.append(f"where.{column}.{test} is {operand!r}, but must be a number")
    return mistakes


def table_where(table: Table, where: Mapping[str, Any], *, name: str) -> Table:
    """The rows that pass all conditions of ``rows_where``; says how many.

    Raises:
        DataError: None does, or see ``rows_where``.
    """
    wanted = rows_where(table, where)
    logger.info(
        "%s: %d of %d rows are meant by build_info.where", name, wanted.sum(), len(table)
    )  # fmt: skip
    if not wanted.any():
        raise DataError(
            f"no row of {', '.join(table.files)} is as datasets.{name}.build_info.where says "
            f"({dict(where)}): correct the condition, or name another file."
        )
    return table if wanted.all() else table.only(wanted)


def rows_where(table: Table, where: Mapping[str, Any]) -> np.ndarray:
    """Which rows pass all conditions.

    Args:
        table: All rows; it must have the columns.
        where: Column to a value (as text or number alike), a list of allowed values, or tests:
            ``{contains: part}``, ``{less_than: 3}``, ``{at_least: 3}``, ``{is_not: value}``.

    Returns:
        Shape (rows,), bool.

    Raises:
        DataError: A value cannot be compared so; names its row.
    """
    passed = np.ones(len(table), dtype=bool)
    for column, wanted in where.items():
        codes, values = table.distinct([column])
        verdicts = np.empty(len(values), dtype=bool)
        for number, entry in enumerate(values):
            try:
                verdicts[number] = _passes(entry[column], wanted)
            except (TypeError, ValueError):
                row = int(np.flatnonzero(codes == number)[0])
                raise DataError(
                    f"{table.place(row)}: {column} is {entry[column]!r}, which build_info.where "
                    f"cannot compare with {wanted!r}."
                ) from None
        passed &= verdicts[codes]
    return passed


def _passes(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return all(_TESTS[test](value, operand) for test, operand in wanted.items())
    allowed = wanted if isinstance(wanted, list | tuple) else [wanted]
    return any(_same(value, one) for one in allowed)


def _same(value: Any, other: Any) -> bool:
    # CSV knows numbers and truth as text only.
    return bool(value == other) or normalize(str(value)) == normalize(str(other))
