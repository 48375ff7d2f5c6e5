"""What is checked of annotations when a data set opens, and which rows are left out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minigpt4.common.errors import DataError
from minigpt4.datasets.spec import RecordSpec
from minigpt4.datasets.table import Table

logger = logging.getLogger(__name__)

EMPTY = " is empty"
"""How the mistake of a row ends where a column holds nothing."""
_SHOWN = 5


@dataclass
class Faults:
    """What would have kept a data set from opening.

    Attributes:
        table: All its rows; None where they could not be read.
        rows: Numbers of the rows that cannot be used, each with what is wrong.
        missing: Pictures that are not there, by their names.
    """

    table: Table | None = None
    rows: dict[int, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


_collector: ContextVar[Faults | None] = ContextVar("faults", default=None)


@contextmanager
def collecting_faults() -> Iterator[Faults]:
    """Open one data set although rows or pictures of it are faulty, and say which they are.

    It consists of the usable rows; those whose picture is missing are kept.
    """
    faults = Faults()
    token = _collector.set(faults)
    try:
        yield faults
    finally:
        _collector.reset(token)


def collected_faults() -> Faults | None:
    """Where to note faults instead of raising them; None where nobody collects them."""
    return _collector.get()


def share_of_rows(rows: np.ndarray, below: float) -> np.ndarray:
    """Which of some rows without pictures belong to a fixed share of them, shape of ``rows``."""
    return np.array([share_of(str(row)) < below for row in rows.tolist()], dtype=bool)


def share_of(key: str) -> float:
    """A number in [0, 1) that depends on nothing but the key."""
    return int.from_bytes(hashlib.blake2b(key.encode(), digest_size=4).digest()) / 2**32


def require_columns(table: Table, columns: Mapping[str, str], *, name: str) -> None:
    """See that columns are there.

    Args:
        table: The rows.
        columns: The column that each key of ``build_info`` names.
        name: The data set's.

    Raises:
        DataError: One is not.
    """
    for key, column in columns.items():
        if column not in table.names:
            raise DataError(
                f"{', '.join(table.files)} has no column {column!r} (it has "
                f"{', '.join(table.names)}); name the right one in datasets.{name}.build_info."
                f"{key}."
            )


def row_mistakes(
    table: Table,
    *,
    filled: Sequence[str],
    checked: Sequence[str],
    mistake: Callable[[Mapping[str, Any]], str | None],
) -> dict[int, str]:
    """Rows that cannot be used, each with what is wrong with it.

    Args:
        table: The rows.
        filled: Columns that no row may leave empty, where the table has them.
        checked: Columns that ``mistake`` looks at.
        mistake: What is wrong with a row, if anything.
    """
    found = {}
    for column in filled:
        if column in table.names:
            for number in np.flatnonzero(table.empty(column)).tolist():
                found[number] = f"{column}{EMPTY}"
    columns = [name for name in checked if name in table.names]
    if columns:
        for number, row in enumerate(table.rows(columns)):
            if (what := mistake(row)) is not None:
                found[number] = what
    return found


def usable_rows(
    table: Table, mistakes: Mapping[int, str], *, name: str, spec: RecordSpec, training: bool
) -> np.ndarray:
    """Numbers of the rows without mistakes.

    Raises:
        DataError: There are mistakes, and ``on_bad_row`` does not say to leave such rows out.
    """
    rows = np.arange(len(table))
    faults = _collector.get()
    if faults is not None:
        faults.table, faults.rows = table, dict(mistakes)
    if not mistakes:
        return rows
    if faults is not None:
        return np.setdiff1d(rows, np.fromiter(mistakes, dtype=np.int64))
    listed = first([f"{table.place(row)}: {mistakes[row]}" for row in sorted(mistakes)])
    if training and spec.on_bad_row == "skip" and len(mistakes) < len(table):
        logger.warning(
            "%s: %d of %d annotations cannot be used and are left out (on_bad_row: skip): %s",
            name, len(mistakes), len(table), listed,
        )  # fmt: skip
        return np.setdiff1d(rows, np.fromiter(mistakes, dtype=np.int64))
    remedy = (
        f" Correct them, or train without them with datasets.{name}.build_info.on_bad_row=skip."
        if training and len(mistakes) < len(table)
        else ""
    )
    raise DataError(
        f"{name}: {len(mistakes)} of {len(table)} annotations cannot be used: {listed}.{remedy}"
    )


def first(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
