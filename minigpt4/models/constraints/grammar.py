"""Answers about defects, such as ``<p>bottle-defect</p>{<10><20><40><50>}``."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

from minigpt4.common.boxes import DELIM
from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints.boxes import Boxes, BoxState
from minigpt4.models.constraints.free_names import CLOSE, LABELS, OPEN, FreeNames
from minigpt4.models.constraints.trie import Trie

_MISLEADING = re.compile(r"\bnot\s*$")
"""A name that makes ``{name}-defect`` read as not defective."""


class DefectGrammar:
    """A labelled object with its boxes; every text of it can be read.

    Args:
        classes: Names of objects, brought to NFC; None for any name of letters, digits, single
            spaces and hyphens.
        max_boxes: Largest number of boxes.
    Raises:
        ConfigError: A name that cannot stand in such an answer, no name, or no box.
    """

    def __init__(self, classes: Sequence[str] | None, max_boxes: int = 1) -> None:
        if max_boxes < 1:
            raise ConfigError(f"Answers need at least one box, not {max_boxes} (max_boxes).")
        self.max_boxes = max_boxes
        self.classes = None if classes is None else _checked(classes)
        self._boxes = Boxes(max_boxes)
        self._head: Any = FreeNames()
        if self.classes is not None:
            self._head = Trie(
                f"{OPEN}{name}{label}{CLOSE}" for name in self.classes for label in LABELS
            )
        self.start = self._head.start

    def characters(self, state: Any) -> frozenset[str]:
        """Which characters may follow."""
        return self._part(state).characters(state)

    def step(self, state: Any, character: str) -> Any:
        """The state after a character; None if it may not follow."""
        part = self._part(state)
        after = part.step(state, character)
        if after is not None and part is self._head and part.is_final(after):
            return BoxState()
        return after

    def is_final(self, state: Any) -> bool:
        """Whether the answer may end here: after a whole box."""
        return isinstance(state, BoxState) and self._boxes.is_final(state)

    def finish(self, state: Any) -> str:
        """A shortest way to an end."""
        if isinstance(state, BoxState):
            return self._boxes.finish(state)
        return self._head.finish(state) + self._boxes.finish(BoxState())

    @property
    def alphabet(self) -> frozenset[str]:
        """Every character but those of free names."""
        return frozenset().union(
            OPEN, CLOSE, *LABELS, DELIM, "{}<>0123456789", *(self.classes or ())
        )

    def describe(self) -> dict[str, Any]:
        """The grammar's settings."""
        return {
            "constraint": "defect grammar",
            "classes": None if self.classes is None else sorted(self.classes),
            "max_boxes": self.max_boxes,
        }

    def _part(self, state: Any) -> Any:
        return self._boxes if isinstance(state, BoxState) else self._head

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DefectGrammar) and self._key() == other._key()

    def __hash__(self) -> int:
        return hash(self._key())

    def _key(self) -> tuple[frozenset[str] | None, int]:
        return None if self.classes is None else frozenset(self.classes), self.max_boxes


def _checked(classes: Sequence[str]) -> tuple[str, ...]:
    """The names in NFC, each once."""
    names = tuple(dict.fromkeys(unicodedata.normalize("NFC", name) for name in classes))
    if not names:
        raise ConfigError(
            "The grammar of answers has an empty list of classes: name at least one, or allow any."
        )
    for name in names:
        if not name or name != name.strip() or set(name) & set("<>\r\n"):
            raise ConfigError(
                f"The class {name!r} cannot stand in an answer such as <p>bottle-defect</p>: use "
                "a name without <, >, line breaks and space around it, or decoding: free."
            )
        if _MISLEADING.search(name):
            raise ConfigError(
                f"The class {name!r} ends in 'not', so that '{name}-defect' reads as not "
                "defective: rename it in the annotations, or use decoding: free."
            )
    return names
