"""Folders and files of results, written whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ResourceError, naming


def make_folder(folder: Path) -> None:
    """Make a folder for results.

    Raises:
        ResourceError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResourceError(
            f"The folder {folder} cannot be made ({error.strerror}): choose another with "
            "--options run.save_path=DIR, or --out where that named it."
        ) from None


def save_atomic(path: str | Path, write: Callable[[Path], None]) -> None:
    """Write a file so that it is there whole or not at all.

    Args:
        path: Where the file goes; its folder is made.
        write: Writes to the temporary path it is given, in the same folder.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        with naming(path):
            write(temporary)
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole or not at all."""
    make_folder(path.parent)
    text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    save_atomic(path, lambda temporary: write_text(temporary, text))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file."""
    path.write_text(text, encoding="utf-8")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
