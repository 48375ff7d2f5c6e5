"""Rows of Arrow tables; pictures within them become files that everything else can open.

A picture inside a table is written once to ``<cache>/pictures`` under the hash of its content, so
that data sets, feature caches and reports find it by a name that is the same everywhere.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from minigpt4.datasets.table import Table

BATCH = 256
"""Rows that are Python objects at once: each may hold a picture."""
_PICTURE_KEYS = {"bytes", "path"}
_DIGITS = 32


def pictures_folder() -> Path:
    """Where pictures from within tables are kept: ``$MINIGPT4_CACHE`` or ``~/.cache/minigpt4``."""
    base = os.environ.get("MINIGPT4_CACHE") or Path.home() / ".cache" / "minigpt4"
    return Path(base) / "pictures"


class Batch(Protocol):
    """Some rows; what Arrow's record batches and tables are too."""

    def to_pylist(self) -> list[dict[str, Any]]:
        """The rows as plain values."""
        ...


def arrow_table(batches: Iterable[Batch], *, source: str) -> Table:
    """A table of all rows.

    Pictures (plain bytes of one, or ``{bytes, path}`` as the hub's data sets keep them) become
    their names below ``pictures_folder()``; dates and decimals become text; other bytes are left
    out.

    Args:
        batches: The rows, in parts.
        source: For messages.
    """
    store = _PictureStore(pictures_folder())

    def chunks() -> Iterator[list[dict[str, Any]]]:
        for batch in batches:
            yield [
                {name: _plain(value, store) for name, value in row.items()}
                for row in batch.to_pylist()
            ]

    table = Table.from_chunks(chunks(), source=source)
    table.picture_root = str(store.folder) if store.used else None
    return table


class _PictureStore:
    """Files named after their content.

    Attributes:
        folder: Where they are.
        used: Whether a picture was put there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.used = False

    def put(self, content: bytes, *, sure: bool = False) -> str | None:
        """The name of a picture, relative to the folder.

        Args:
            content: Its bytes.
            sure: Whether they are meant to be one: then what cannot be read is kept as well, for
                broken pictures are met later, as those in files are.

        Returns:
            None for bytes that are no picture.
        """
        try:
            with Image.open(io.BytesIO(content)) as image:
                ending = (image.format or "png").lower()
        except (OSError, ValueError, Image.DecompressionBombError):
            if not sure:
                return None
            ending = "broken"
        digest = hashlib.blake2b(content).hexdigest()[:_DIGITS]
        name = f"{digest[:2]}/{digest}.{ending}"
        path = self.folder / name
        self.used = True
        if not path.is_file() or path.stat().st_size != len(content):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(f"{path.name}.{os.getpid()}.tmp")
            fresh.write_bytes(content)
            fresh.replace(path)
        return name


def _plain(value: Any, store: _PictureStore) -> Any:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, bytes):
        return store.put(value)
    if isinstance(value, Mapping):
        if set(value) == _PICTURE_KEYS:
            return value["path"] if value["bytes"] is None else store.put(value["bytes"], sure=True)
        return {str(key): _plain(item, store) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, store) for item in value]
    return str(value)
