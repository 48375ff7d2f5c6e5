"""Where cached features are kept: in memory, or in one memory-mapped file with an index."""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from minigpt4.common.errors import ResourceError
from minigpt4.datasets.feature_folder import DATA, GIB, INDEX
from minigpt4.datasets.feature_format import RowFormat

logger = logging.getLogger(__name__)

_MEMORY_SHARE = 0.8
"""Share of the available memory that features may take."""


class FeatureStore(Protocol):
    """Rows of one shape (N, D) by key, and which key the content of a file has."""

    files: dict[str, tuple[int, int, str]]
    """Size, time of change and key of each file that was read."""

    def __len__(self) -> int: ...

    def __contains__(self, key: str) -> bool: ...

    def get(self, key: str) -> Tensor:
        """One row (N, D)."""

    def reserve(self, count: int, shape: Sequence[int]) -> None:
        """Make room for ``count`` more rows; ``ResourceError`` when there is none."""

    def append(self, keys: Sequence[str], rows: Tensor) -> None:
        """Add rows, packed (len(keys), row bytes), within what was reserved."""

    def save(self) -> None:
        """Make what was added so far last."""

    @property
    def bytes(self) -> int:
        """Size of all rows."""


class MemoryStore:
    """Rows in blocks of memory, one block a call of ``reserve``.

    Args:
        row_format: How features become rows.
    """

    def __init__(self, row_format: RowFormat) -> None:
        self.files: dict[str, tuple[int, int, str]] = {}
        self._format = row_format
        self._shape: tuple[int, ...] = ()
        self._rows: dict[str, tuple[int, int]] = {}
        self._blocks: list[Tensor] = []
        self._used = 0

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    @property
    def bytes(self) -> int:
        """Size of all rows."""
        return sum(block.nbytes for block in self._blocks)

    def get(self, key: str) -> Tensor:
        """One row (N, D), not to be written to."""
        block, row = self._rows[key]
        return self._format.unpack(self._blocks[block][row], self._shape)

    def reserve(self, count: int, shape: Sequence[int]) -> None:
        """Allocate a block for ``count`` rows."""
        import psutil

        size = self._format.row_bytes(shape)
        need = count * size
        free = psutil.virtual_memory().available
        if need > _MEMORY_SHARE * free:
            raise ResourceError(
                f"features of {count} pictures need {need / GIB:.1f} GiB of memory and "
                f"{free / GIB:.1f} GiB are available; set run.feature_cache to disk or off."
            )
        self._shape = tuple(shape)
        self._blocks.append(torch.empty(count, size, dtype=torch.uint8))
        self._used = 0

    def append(self, keys: Sequence[str], rows: Tensor) -> None:
        """Add rows to the newest block."""
        block = len(self._blocks) - 1
        self._blocks[block][self._used : self._used + len(keys)] = rows
        for number, key in enumerate(keys, start=self._used):
            self._rows[key] = (block, number)
        self._used += len(keys)

    def save(self) -> None:
        """Nothing outlives the process."""


class DiskStore:
    """Rows one after another in ``data``, which ``index.json`` makes sense of.

    The index is replaced in one step after the rows are on disk, so an interrupted run leaves a
    shorter store but never a wrong one.

    Args:
        folder: Where both are.
        row_format: How features become rows.
        described: What else the index should say, for people.
    """

    def __init__(self, folder: Path, row_format: RowFormat, *, described: dict[str, str]) -> None:
        self.folder = folder
        self.files: dict[str, tuple[int, int, str]] = {}
        self._described = described
        self._format = row_format
        self._rows: dict[str, int] = {}
        self._shape: tuple[int, ...] = ()
        self._map: Tensor | None = None
        self.load()

    def __getstate__(self) -> dict[str, Any]:
        # A worker process maps the file again instead of receiving its content.
        return {**self.__dict__, "_map": None}

    def __len__(self) -> int:
        return len(self._rows)

    def __contains__(self, key: str) -> bool:
        return key in self._rows

    @property
    def bytes(self) -> int:
        """Size of all rows."""
        return len(self._rows) * self._row_bytes

    @property
    def _row_bytes(self) -> int:
        return self._format.row_bytes(self._shape) if self._shape else 0

    @property
    def _data(self) -> Path:
        return self.folder / DATA

    def load(self) -> None:
        """Read the index again, as another process may have added to it."""
        try:
            index = json.loads((self.folder / INDEX).read_bytes())
        except FileNotFoundError:
            self._rows, self.files, self._map = {}, {}, None
            return
        self._shape = tuple(index["shape"])
        rows = {key: number for number, key in enumerate(index["rows"])}
        there = self._data.stat().st_size if self._data.exists() else 0
        if there < len(rows) * self._row_bytes:
            logger.warning("the feature store %s is cut short; it is made anew", self.folder)
            return
        self._rows = rows
        self.files = {path: (s[0], s[1], s[2]) for path, s in index["files"].items()}
        self._map = None

    def get(self, key: str) -> Tensor:
        """One row (N, D), not to be written to."""
        if self._map is None:
            flat = torch.from_file(str(self._data), shared=True, size=self.bytes, dtype=torch.uint8)
            self._map = flat.view(-1, self._row_bytes)  # (rows, row bytes)
        return self._format.unpack(self._map[self._rows[key]], self._shape)

    @property
    def free(self) -> int:
        """Bytes that are free on the disk."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return shutil.disk_usage(self.folder).free

    def reserve(self, count: int, shape: Sequence[int]) -> None:
        """Check that ``count`` more rows fit on the disk."""
        need, free = count * self._format.row_bytes(shape), self.free
        if need >= free:
            raise ResourceError(
                f"features of {count} pictures need {need / GIB:.1f} GiB and "
                f"{free / GIB:.1f} GiB are free at {self.folder}; make room or "
                "set run.feature_cache to off."
            )
        if not self._rows:
            self._shape = tuple(shape)
        elif self._shape != tuple(shape):
            raise ValueError(f"rows of {tuple(shape)} in a store of {self._shape}")
        with self._data.open("ab") as file:
            # What an interrupted run wrote after its last index is not known to anyone.
            file.truncate(self.bytes)

    def append(self, keys: Sequence[str], rows: Tensor) -> None:
        """Write rows behind the others."""
        with self._data.open("ab") as file:
            file.write(rows.contiguous().numpy().data)
        for key in keys:
            self._rows[key] = len(self._rows)
        self._map = None

    def save(self) -> None:
        """Bring data to the disk, then replace the index."""
        if self._data.exists():
            with self._data.open("rb") as file:
                os.fsync(file.fileno())
        index = {
            **self._described,
            "shape": self._shape,
            "dtype": self._format.name,
            "rows": list(self._rows),
            "files": self.files,
        }
        fresh = self.folder / f"{INDEX}.tmp"
        fresh.write_text(json.dumps(index, ensure_ascii=False), encoding="utf-8")
        fresh.replace(self.folder / INDEX)
