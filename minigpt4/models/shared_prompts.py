"""Prompts that begin alike: what they share is read once.

Several questions about one picture differ only after the picture, which is most of a prompt.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from minigpt4.models.sequence import IGNORE, Layout

_WORTH = 0.15
"""Least share of all positions that has to be saved for a second pass to pay."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Prompts with their pictures.

    Attributes:
        texts: Prompts, or turns of conversations.
        samples: ``image`` or ``image_features`` of each prompt or picture, and ``length``, or None.
        picture_of: Which picture each prompt is about; None: each has its own.
    """

    texts: Sequence[str | Sequence[str]]
    samples: Mapping[str, Any]
    picture_of: Sequence[int] | None = None

    def part(self, begin: int, end: int) -> Asked:
        """The prompts from one number up to another, with the pictures that they are about."""
        texts = self.texts[begin:end]
        if len(texts) == len(self.texts):
            return self
        rows, which = list(range(begin, begin + len(texts))), None
        if self.picture_of is not None:
            about = self.picture_of[begin:end]
            rows = list(dict.fromkeys(about))
            place = {picture: number for number, picture in enumerate(rows)}
            which = [place[picture] for picture in about]
        samples = {
            name: values[rows] if isinstance(values, Tensor) else [values[row] for row in rows]
            for name, values in self.samples.items()
            if values is not None
        }
        return Asked(texts, samples, which)


@dataclass(frozen=True, slots=True)
class SharedPrompts:
    """Prompts cut in two.

    Attributes:
        beginnings: One for each picture.
        pictures: The picture of each beginning.
        rows: The beginning of each prompt.
        rests: What follows in each prompt; at least one position, no picture.
    """

    beginnings: list[Layout]
    pictures: list[int]
    rows: list[int]
    rests: list[Layout]


def share(layouts: Sequence[Layout], picture_of: Sequence[int]) -> SharedPrompts | None:
    """Cut prompts after what those about one picture have in common.

    Args:
        layouts: The prompts.
        picture_of: The picture of each.
    Returns:
        None where sharing saves too little, or prompts of one picture differ before its end.
    """
    members: dict[int, list[int]] = {}
    for row, picture in enumerate(picture_of):
        members.setdefault(picture, []).append(row)
    if len(members) == len(layouts):
        return None
    cuts = {
        picture: _common([layouts[row].ids for row in rows])
        for picture, rows in members.items()
        if len(rows) > 1
    }
    saved = sum(cut * (len(members[picture]) - 1) for picture, cut in cuts.items())
    if saved < _WORTH * sum(len(each.ids) for each in layouts):
        return None
    # A prompt that shares with none may be cut anywhere: where the others are, so that little is
    # filled up.
    usual = max(cuts.values())
    cuts |= {
        picture: min(usual, len(layouts[rows[0]].ids) - 1)
        for picture, rows in members.items()
        if len(rows) == 1
    }
    pictures = list(members)
    number = {picture: place for place, picture in enumerate(pictures)}
    rests = [each.ids[cuts[picture] :] for each, picture in zip(layouts, picture_of, strict=True)]
    if any(slot < 0 for ids in rests for slot in ids):
        return None
    return SharedPrompts(
        beginnings=[_layout(layouts[members[p][0]].ids[: cuts[p]]) for p in pictures],
        pictures=pictures,
        rows=[number[picture] for picture in picture_of],
        rests=[_layout(ids) for ids in rests],
    )


def _common(rows: Sequence[list[int]]) -> int:
    """Length of the longest common beginning that leaves something of each row."""
    shortest = min(len(row) for row in rows) - 1
    first, last = min(rows), max(rows)  # of rows in order, these differ first
    for place in range(shortest):
        if first[place] != last[place]:
            return place
    return shortest


def _layout(ids: Sequence[int]) -> Layout:
    return Layout(list(ids), [IGNORE] * len(ids))
