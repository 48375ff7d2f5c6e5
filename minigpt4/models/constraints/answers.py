"""A closed set of answers."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints.trie import Trie
from minigpt4.models.generation import clean_text


class AnswerSet:
    """One of given answers and nothing else.

    An answer that begins another may end or go on.

    Args:
        answers: Brought to NFC, stripped of white space around; those that are then equal count
            once.
    Raises:
        ConfigError: There is none, or one that no model could give: empty, or with a symbol that
            ends answers.
    Example:
        >>> AnswerSet(["đỏ", "đỏ tươi"]).finish("đỏ t")
        'ươi'
    """

    start = ""

    def __init__(self, answers: Sequence[str]) -> None:
        once = dict.fromkeys(unicodedata.normalize("NFC", answer).strip() for answer in answers)
        if not once:
            raise ConfigError(
                "The closed set of answers is empty: name a file with one answer a line."
            )
        for number, answer in enumerate(once, start=1):
            if not answer or clean_text(answer) != answer:
                raise ConfigError(
                    f"Answer {number} of the closed set is {answer!r}, which no model can give: "
                    "remove it from the file of answers."
                )
        self.answers = tuple(once)
        self._trie = Trie(self.answers)

    def characters(self, state: str) -> frozenset[str]:
        """Which characters may follow."""
        return self._trie.characters(state)

    def step(self, state: str, character: str) -> str | None:
        """The state after a character; None if it may not follow."""
        return self._trie.step(state, character)

    def is_final(self, state: str) -> bool:
        """Whether an answer ends here."""
        return self._trie.is_final(state)

    def finish(self, state: str) -> str:
        """The rest of the shortest answer that begins so."""
        return self._trie.finish(state)

    @property
    def alphabet(self) -> frozenset[str]:
        """Every character of the answers."""
        return frozenset().union(*self.answers)

    def describe(self) -> dict[str, Any]:
        """Number and digest of the answers, whatever their order."""
        joined = "\n".join(sorted(self.answers)).encode()
        return {
            "constraint": "answers",
            "count": len(self.answers),
            "sha256": hashlib.sha256(joined).hexdigest(),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, AnswerSet) and self._trie.texts == other._trie.texts

    def __hash__(self) -> int:
        return hash(self._trie.texts)
