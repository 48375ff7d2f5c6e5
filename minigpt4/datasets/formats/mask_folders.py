"""Folders of pictures with masks, read as they are: MVTec AD's layout and ``<defect>/Imgs``."""

from __future__ import annotations

from pathlib import Path

from minigpt4.common.errors import ConfigError
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table


def read_masks(path: Path, options: ReaderOptions) -> Table:
    """Every picture with the boxes of its mask, as ``prepare mvtec`` writes them.

    The columns are ``image_path``, ``class``, ``is_broken``, ``bbox`` (0-100), ``defect``.

    Args:
        path: See ``read_tree``.
        options: ``build_info.reader_options`` may hold ``class_name`` (what the pictures of a flat
            layout show) and ``boxes: many`` (one for each connected part of a mask).

    Raises:
        ConfigError: ``boxes`` is neither ``one`` nor ``many``.
        DataError: The folder is of neither layout, or no picture can be used.
    """
    from minigpt4.datasets.prepare.mvtec import find_rows

    boxes = options.extra.get("boxes", "one")
    if boxes not in ("one", "many"):
        raise ConfigError(f"build_info.reader_options.boxes is {boxes!r}: set it to one or many.")
    found = find_rows(path, boxes=boxes, class_name=options.extra.get("class_name"))
    found.report.warn()
    table = Table.from_rows(found.rows, source=str(path))
    table.picture_root = str(path)
    return table
