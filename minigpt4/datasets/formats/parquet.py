"""Parquet files, with the pictures in a column or beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt4.common.errors import DataError
from minigpt4.datasets.formats.arrow_rows import BATCH, arrow_table
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

if TYPE_CHECKING:
    import pyarrow as pa


def read_parquet(path: Path, options: ReaderOptions) -> Table:
    """All rows of a file, or of all ``.parquet`` files in a folder in the order of their names.

    The columns are the file's; see ``arrow_table`` for pictures.

    Raises:
        DataError: There is no such file in the folder, or one is broken.
    """
    files = sorted(path.rglob("*.parquet")) if path.is_dir() else [path]
    if not files:
        raise DataError(f"{path} holds no .parquet files.")
    return Table.concat([arrow_table(_batches(file), source=str(file)) for file in files])


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as content:
            yield from content.iter_batches(batch_size=BATCH)
    except (pa.ArrowException, OSError) as error:
        line = str(error).splitlines()[0]
        raise DataError(f"{file} is not a parquet file that can be read ({line}).") from error
