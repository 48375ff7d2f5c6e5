"""Columns within columns: ``objects.bbox`` of rows whose ``objects`` is a mapping or a list."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from minigpt4.datasets.table import Table


def add_nested(table: Table, names: Iterable[str]) -> None:
    """Add those columns whose dotted name leads into a column that is there.

    A name that is a column itself stays what it is; one that leads nowhere is not added.
    """
    for name in names:
        outer, *path = name.split(".")
        if not path or name in table.names or outer not in table.names:
            continue
        values = [_at(value, path) for (value,) in table.tuples([outer])]
        if any(value is not None for value in values):
            table.add(name, values)


def _at(value: Any, path: list[str]) -> Any:
    """What a path leads to; through a list, the list of what it leads to in each item."""
    for place, key in enumerate(path):
        if isinstance(value, list):
            found = [_at(item, path[place:]) for item in value]
            return found if any(each is not None for each in found) or not value else None
        if not isinstance(value, dict):
            return None
        value = value.get(key)
    return value
