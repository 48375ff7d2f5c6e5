"""``kind: detection``: defects of parts, or objects of any classes, as the annotations are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.errors import DataError
from minigpt4.datasets.grounding import GroundingDataset
from minigpt4.datasets.object_rows import CORNERS
from minigpt4.datasets.objects import ObjectDataset
from minigpt4.datasets.readers import READERS
from minigpt4.datasets.table import Table

DEFECTS, OBJECTS = "detection", "objects"
_STATE = "is_broken"
"""The column that annotations of defects have and others do not."""


def open_detection(build_info: Mapping[str, Any], **options: Any) -> GroundingDataset:
    """Open a detection data set.

    It is one of defects where its rows have ``is_broken`` (or the entry says how to answer), and
    one of objects where they have classes and boxes instead; ``task`` decides beforehand.

    Args:
        build_info: See ``RecordSpec``.
        options: See ``RecordDataset``.
    """
    reader = READERS.get(build_info.get("reader", "auto"))
    task = build_info.get("task") or (reader.form.get("task") if reader is not None else None)
    if task == OBJECTS:
        return ObjectDataset({**build_info, "task": OBJECTS}, **options)
    defects = {**build_info, "task": task or DEFECTS}
    if task is not None or "answer" in build_info or "answers" in build_info:
        return GroundingDataset(defects, **options)
    try:
        return _DefectDataset(defects, **options)
    except _NoDefectsError:
        return ObjectDataset({**build_info, "task": OBJECTS}, **options)


class _NoDefectsError(DataError):
    """The rows are of objects, not of defects."""


class _DefectDataset(GroundingDataset):
    """Defects, unless the file turns out to hold objects."""

    def _read(self, paths: Sequence[str], split: str) -> Table:
        table = super()._read(paths, split)
        names = set(table.names)
        boxed = names & {"boxes", "bbox"} or names >= set(CORNERS)
        if _STATE not in names and (not boxed or names & {"class", "classes"}):
            raise _NoDefectsError(f"{', '.join(paths)} has no column {_STATE}.")
        return table
