"""What is checked when a data set opens: names and presence of its pictures, rows left out."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from minigpt4.common.errors import DataError
from minigpt4.datasets.pictures import PictureFolder, locate, picture_roots
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


class PictureNames:
    """The picture of each row, every distinct name once.

    Args:
        table: The rows.
        columns: Columns that the name depends on.
        name_of: A row's picture; raises where its values give none.

    Attributes:
        names: Distinct names in the order of first use.
        codes: Shape (rows,): each row's place in ``names``, -1 where no name can be made.
        root: Folder of the pictures, where the format knows it.
    """

    def __init__(
        self, table: Table, columns: Sequence[str], name_of: Callable[[Mapping[str, Any]], str]
    ) -> None:
        combinations, rows = table.distinct(columns)
        numbers: dict[str, int] = {}
        found = [-1] * len(rows)
        for place, row in enumerate(rows):
            if any(value is None for value in row.values()):
                continue
            try:
                found[place] = numbers.setdefault(name_of(row), len(numbers))
            except (KeyError, IndexError, TypeError, ValueError):
                continue
        self.names = list(numbers)
        self.root = table.picture_root
        self.codes: np.ndarray = np.array(found, dtype=np.int32)[combinations]

    def share(self, rows: np.ndarray, below: float) -> np.ndarray:
        """Which of some rows belong to a fixed share of the pictures, shape of ``rows``."""
        chosen = np.array([_share_of(name) < below for name in self.names], dtype=bool)
        found: np.ndarray = chosen[self.codes[rows]]
        return found

    def of(self, rows: np.ndarray) -> list[str]:
        """Distinct names of some rows, in the order of first use."""
        return [self.names[code] for code in np.unique(self.codes[rows]).tolist()]


@dataclass
class Further:
    """A picture of every row besides the first.

    Attributes:
        pictures: Its names.
        folder: Where they are; set when they were looked for.
    """

    pictures: PictureNames
    folder: PictureFolder = field(default_factory=lambda: PictureFolder(""))

    def path(self, row: int) -> str:
        """Full path of a row's picture."""
        return self.folder.path(self.pictures.names[self.pictures.codes[row]])


def share_of_rows(rows: np.ndarray, below: float) -> np.ndarray:
    """The same for rows without pictures, by their numbers."""
    return np.array([_share_of(str(row)) < below for row in rows.tolist()], dtype=bool)


def _share_of(key: str) -> float:
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


class Found(NamedTuple):
    """Where most of a data set's pictures are, and which are not there."""

    folder: PictureFolder
    missing: list[str]


def look_for(rows: np.ndarray, pictures: PictureNames, spec: RecordSpec) -> Found:
    """Look for the pictures of some rows, each once."""
    roots = picture_roots(spec.image_path, spec.ann_path[0])
    if pictures.root is not None:
        roots.insert(2 if spec.image_path else 0, pictures.root)
    return Found(*locate(pictures.of(rows), roots))


def rows_with_pictures(
    rows: np.ndarray,
    pictures: PictureNames,
    found: Found,
    spec: RecordSpec,
    *,
    name: str,
    training: bool,
) -> np.ndarray:
    """Numbers of the rows whose picture is there.

    Raises:
        DataError: Pictures are missing, and ``on_broken`` does not say to train without them, or
            all are.
    """
    missing = found.missing
    if not missing:
        return rows
    if (faults := _collector.get()) is not None:
        faults.missing += missing
        return rows
    count = len(pictures.of(rows))
    some = training and len(missing) < count
    if some and spec.on_broken == "skip":
        gone = set(missing)
        there = np.array([each not in gone for each in pictures.names], dtype=bool)
        kept: np.ndarray = rows[there[pictures.codes[rows]]]
        logger.warning(
            "%s: %d of %d pictures are missing from %s (%s); %d of %d samples are left out "
            "(on_broken: skip)",
            name, len(missing), count, found.folder.root, first(missing),
            len(rows) - len(kept), len(rows),
        )  # fmt: skip
        return kept
    root = picture_roots(spec.image_path, spec.ann_path[0])[0]
    where = root if Path(root).is_dir() else f"{root}, which is not there"
    remedy = "set build_info.image_path" if training else "set img_path"
    if some:
        remedy += f", or leave them out with datasets.{name}.build_info.on_broken=skip"
    raise DataError(
        f"{name}: {len(missing)} of {count} pictures are missing from {where} "
        f"({first(missing)}); put them there (data/README.md says how) or {remedy}."
    )


def first(items: Sequence[str]) -> str:
    """The first few of a list, and how many more there are."""
    more = f"; and {len(items) - _SHOWN} more" if len(items) > _SHOWN else ""
    return "; ".join(items[:_SHOWN]) + more
