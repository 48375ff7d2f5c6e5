"""The pictures of a data set's rows: what they are called, where they are, which are missing."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from minigpt4.common.errors import DataError
from minigpt4.datasets.opening import collected_faults, first, share_of
from minigpt4.datasets.patterns import compiled
from minigpt4.datasets.pictures import BLANK, PictureFolder, locate, picture_roots
from minigpt4.datasets.spec import RecordSpec
from minigpt4.datasets.table import Table

logger = logging.getLogger(__name__)


class PictureNames:
    """The picture of each row, every distinct name once.

    Args:
        table: The rows.
        columns: Columns that the name depends on.
        name_of: A row's picture; raises where its values give none.

    Attributes:
        names: Distinct names in the order of first use.
        codes: Shape (rows,): each row's place in ``names``, -1 where no name can be made.
    """

    def __init__(
        self, table: Table, columns: Sequence[str], name_of: Callable[[Mapping[str, Any]], str]
    ) -> None:
        combinations, rows = table.distinct(columns)
        numbers: dict[str, int] = {}
        found = [-1] * len(rows)
        for place, row in enumerate(rows):
            if None in row.values():
                continue
            try:
                found[place] = numbers.setdefault(name_of(row), len(numbers))
            except (KeyError, IndexError, TypeError, ValueError):
                continue
        self.names = list(numbers)
        self.codes: np.ndarray = np.array(found, dtype=np.int32)[combinations]

    def share(self, rows: np.ndarray, below: float) -> np.ndarray:
        """Which of some rows belong to a fixed share of the pictures, shape of ``rows``."""
        chosen = np.array([share_of(name) < below for name in self.names], dtype=bool)
        found: np.ndarray = chosen[self.codes[rows]]
        return found

    def of(self, rows: np.ndarray) -> list[str]:
        """Distinct names of some rows, in the order of first use."""
        return [self.names[code] for code in np.unique(self.codes[rows]).tolist()]


class RowPictures:
    """The pictures of every row: none, one, or as many as ``more_images`` says.

    Args:
        spec: How they are called and where they should be.
        table: The rows.
        blank: Whether plain grey ones are shown instead.

    Attributes:
        repeated: Whether rows share a first picture, as ``names`` finds.
    """

    def __init__(self, spec: RecordSpec, table: Table, *, blank: bool) -> None:
        patterns = () if spec.image is None else (spec.image, *spec.more_images)
        self._slots = [_Slot(pattern, name_only=spec.image_name_only) for pattern in patterns]
        self._spec = spec
        self._table = table
        self._blank = blank
        self.repeated = False

    @property
    def count(self) -> int:
        """Pictures of a row."""
        return len(self._slots)

    def name(self, row: Mapping[str, Any]) -> str:
        """What the row's first picture is called; empty for text only."""
        return self._slots[0].name(row) if self._slots else ""

    def path(self, picture: str | Mapping[str, Any]) -> str:
        """Full path of a first picture, by its name or by its row."""
        slot = self._slots[0]
        return slot.folder.path(picture if isinstance(picture, str) else slot.name(picture))

    def paths(self, row: Mapping[str, Any]) -> list[str]:
        """What is to be shown of a row, in order."""
        if self._blank:
            return [BLANK] * self.count
        return [slot.folder.path(slot.name(row)) for slot in self._slots]

    def every(self, rows: np.ndarray) -> list[str]:
        """What is to be shown of some rows: each path once, in the order of first use."""
        if self._blank:
            return [BLANK] if self._slots else []
        paths = (
            slot.folder.path(name)
            for slot in self._slots
            for name in slot.names(self._table).of(rows)
        )
        return list(dict.fromkeys(paths))

    def names(self) -> list[PictureNames]:
        """The names of each of the rows' pictures; needed while a data set opens."""
        names = [slot.names(self._table) for slot in self._slots]
        self.repeated = bool(names) and len(names[0].names) < len(self._table)
        return names

    def unnamed(self, names: Sequence[PictureNames]) -> dict[int, str]:
        """Rows that a picture's name cannot be made of, each with what is wrong."""
        mistakes: dict[int, str] = {}
        for slot, found in zip(self._slots, names, strict=True):
            for row in np.flatnonzero(found.codes < 0).tolist():
                values = ", ".join(f"{c}={self._table.value(row, c)!r}" for c in slot.columns)
                mistakes.setdefault(row, f"no picture name can be made of {values}")
        return mistakes

    def look_for(
        self, rows: np.ndarray, names: Sequence[PictureNames], *, name: str, training: bool
    ) -> np.ndarray:
        """Find the folder of the pictures of some rows.

        Args:
            rows: Their numbers.
            names: See ``names``.
            name: The data set's, for messages.
            training: Whether ``on_broken`` may leave rows out.

        Returns:
            Numbers of the rows whose pictures are all there.

        Raises:
            DataError: Pictures are missing, and ``on_broken`` does not say to train without them,
                or all are.
        """
        for slot, called in zip(self._slots, names, strict=True):
            missing = slot.look_for(rows, called, self._table, self._spec)
            if missing and not self._blank:
                folder = slot.folder.root
                rows = self._with_pictures(
                    rows, called, missing, folder=folder, name=name, training=training
                )
        return rows

    def _with_pictures(
        self,
        rows: np.ndarray,
        names: PictureNames,
        missing: Sequence[str],
        *,
        folder: str,
        name: str,
        training: bool,
    ) -> np.ndarray:
        if (faults := collected_faults()) is not None:
            faults.missing += missing
            return rows
        count = len(names.of(rows))
        some = training and len(missing) < count
        if some and self._spec.on_broken == "skip":
            gone = set(missing)
            there = np.array([each not in gone for each in names.names], dtype=bool)
            kept: np.ndarray = rows[there[names.codes[rows]]]
            logger.warning(
                "%s: %d of %d pictures are missing from %s (%s); %d of %d samples are left out "
                "(on_broken: skip)",
                name, len(missing), count, folder, first(missing),
                len(rows) - len(kept), len(rows),
            )  # fmt: skip
            return kept
        roots = picture_roots(self._spec.image_path, self._spec.ann_path[0])
        root = folder if some else roots[0]
        where = root if Path(root).is_dir() else f"{root}, which is not there"
        remedy = "set build_info.image_path" if training else "set img_path"
        if some:
            remedy += f", or leave them out with datasets.{name}.build_info.on_broken=skip"
        raise DataError(
            f"{name}: {len(missing)} of {count} pictures are missing from {where} "
            f"({first(missing)}); put them there (data/README.md says how) or {remedy}."
        )


class _Slot:
    """One picture of every row."""

    def __init__(self, pattern: str, *, name_only: bool) -> None:
        self._pattern = compiled(pattern)
        self._name_only = name_only
        self.columns = self._pattern.columns
        self.folder = PictureFolder("")

    def name(self, row: Mapping[str, Any]) -> str:
        name = self._pattern.fill(row)
        return name.rpartition("/")[2] if self._name_only else name

    def names(self, table: Table) -> PictureNames:
        return PictureNames(table, self.columns, self.name)

    def look_for(
        self, rows: np.ndarray, names: PictureNames, table: Table, spec: RecordSpec
    ) -> list[str]:
        """Settle on a folder; the names that are missing from it."""
        self.folder, missing = _locate(names.of(rows), table, spec)
        if missing and self._name_only:
            # Perhaps the folders that the annotations name (train2014/x.jpg) are there as well.
            whole = _Slot(self._pattern.text, name_only=False)
            folder, still_missing = _locate(whole.names(table).of(rows), table, spec)
            if not still_missing:
                self.folder, self._name_only, missing = folder, False, []
        return missing


def _locate(
    names: Sequence[str], table: Table, spec: RecordSpec
) -> tuple[PictureFolder, list[str]]:
    roots = picture_roots(spec.image_path, spec.ann_path[0])
    if table.picture_root is not None:
        roots.insert(2 if spec.image_path else 0, table.picture_root)
    return locate(names, roots)
