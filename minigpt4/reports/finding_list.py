"""What a check found: one entry a kind of mistake, its places folded away."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class FindingEntry:
    """One kind of mistake.

    Attributes:
        level: ``error``, ``warning`` or ``note``.
        source: What has it.
        text: What it is.
        advice: What to do.
        places: Where it is, one line each.
        more: Places that are not listed.
    """

    level: str
    source: str
    text: str
    advice: str
    places: Sequence[str] = ()
    more: int = 0


@dataclass(frozen=True, slots=True)
class FindingList:
    """Mistakes in the order in which a reader should know of them."""

    kind: ClassVar[str] = "findings"
    title: str
    entries: Sequence[FindingEntry]
    elsewhere: str = ""
    """Where all places are, said after a list that is not complete."""
