"""Folders and files of results, written whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ResourceError


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


def write_json(path: Path, data: Any) -> None:
    """Write a JSON file whole or not at all."""
    from minigpt4.common.checkpoint import save_atomic

    make_folder(path.parent)
    text = json.dumps(data, ensure_ascii=False, indent=2) + "\n"
    save_atomic(path, lambda temporary: write_text(temporary, text))


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 file."""
    path.write_text(text, encoding="utf-8")
