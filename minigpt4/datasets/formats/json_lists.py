"""JSON files that hold a list of entries, and JSON lines."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from minigpt4.common.errors import DataError
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It is not valid JSON; says the line.
    """
    try:
        return json.loads(path.read_bytes())
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON (line {error.lineno}: {error.msg}).") from error


def read_json(path: Path, options: ReaderOptions) -> Table:
    """A list of mappings, at the top level or under the key ``options.records``."""
    content = load_json(path)
    if options.records is not None:
        if not isinstance(content, dict) or options.records not in content:
            raise DataError(f"{path} has no list under {options.records!r} (build_info.records).")
        content = content[options.records]
    return _table_of(content, path)


def read_jsonl(path: Path, options: ReaderOptions) -> Table:
    """One mapping a line."""
    rows = []
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                rows.append(json.loads(line))
            except json.JSONDecodeError as error:
                raise DataError(f"{path}, line {number} is not valid JSON: {error.msg}.") from error
    return _table_of(rows, path)


def _table_of(content: Any, path: Path) -> Table:
    if not isinstance(content, list):
        keys = ", ".join(list(content)[:5]) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{path} must hold a list of entries, but its top level is {keys}; name the key of the "
            "list in build_info.records."
        )
    for number, row in enumerate(content):
        if not isinstance(row, dict):
            raise DataError(f"{path}, row {number} is not a mapping but {type(row).__name__}.")
    return Table.from_rows(content, source=str(path))
