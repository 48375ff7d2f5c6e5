"""Large CSV files, read by all cores without a Python object for each value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from minigpt4.datasets.columns import PackedColumn


def large_csv(path: Path, separator: str, count: int) -> list[PackedColumn] | None:
    """All values as text, column by column, as Python's csv module reads them.

    Args:
        path: A file in UTF-8 whose first line names the columns.
        separator: Between values.
        count: Columns.
    Returns:
        None for a file that is empty, broken, or not the same to both readers: Python's then
        decides and says what is wrong where.
    """
    import pyarrow
    from pyarrow import csv

    if not count:
        return None
    names = [f"{number}" for number in range(count)]
    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(column_names=names, skip_rows_after_names=1),
            parse_options=csv.ParseOptions(delimiter=separator, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(names, pyarrow.large_string()),
                strings_can_be_null=False,
            ),
        )
    except (pyarrow.ArrowInvalid, pyarrow.ArrowKeyError):
        return None
    if not len(table) or table.num_columns != count:
        return None
    columns = []
    for name in names:
        column = _packed(table[name])
        if column is None:
            return None
        columns.append(column)
    del table
    pyarrow.default_memory_pool().release_unused()
    return columns


def _packed(column: Any) -> PackedColumn | None:
    """The strings of an arrow column, which is in parts."""
    data, lengths = [], []
    for part in column.chunks:
        _, bounds, values = part.buffers()
        ends = np.frombuffer(bounds, dtype=np.int64)[part.offset : part.offset + len(part) + 1]
        lengths.append(np.diff(ends))
        if values is not None:
            data.append(np.frombuffer(values, dtype=np.uint8)[ends[0] : ends[-1]])
    joined = np.concatenate(data) if data else np.empty(0, dtype=np.uint8)
    return PackedColumn.of_run(joined, np.concatenate(lengths))
