"""What picture columns are usually called, for files whose entry does not say it."""

from __future__ import annotations

import dataclasses

from minigpt4.datasets.patterns import pattern_columns
from minigpt4.datasets.spec import RecordSpec
from minigpt4.datasets.table import Table

_KINDS = "{image}"
"""What every kind has where nobody says anything else."""
_OTHERS = ("{image_path}", "{file_name}", "{filename}", "{img_id:012d}.jpg")


def with_usual_picture(spec: RecordSpec, table: Table) -> RecordSpec:
    """The same with a picture pattern whose columns are there.

    Only the kinds' own pattern is replaced: one that somebody wrote down stays, and its missing
    column is an error.
    """
    if spec.image != _KINDS or set(spec.image_columns) <= set(table.names):
        return spec
    fits = (each for each in _OTHERS if set(pattern_columns(each)) <= set(table.names))
    return dataclasses.replace(spec, image=next(fits, spec.image))
