"""A closed set of texts as a trie."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable


class Trie:
    """Texts by their beginnings; a state is the beginning that has been read.

    Args:
        texts: At least one; none empty.
    """

    start = ""

    def __init__(self, texts: Iterable[str]) -> None:
        following: dict[str, set[str]] = defaultdict(set)
        self._rest: dict[str, str] = {}  # a shortest way from a beginning to an end
        self.texts = frozenset(texts)
        for text in sorted(self.texts, key=lambda text: (len(text), text)):
            for place in range(len(text) + 1):
                beginning = text[:place]
                known = self._rest.get(beginning)
                if known is None or len(text) - place < len(known):
                    self._rest[beginning] = text[place:]
                if place < len(text):
                    following[beginning].add(text[place])
        self._following = {state: frozenset(chars) for state, chars in following.items()}

    def characters(self, state: str) -> frozenset[str]:
        """Which characters may follow."""
        return self._following.get(state, frozenset())

    def step(self, state: str, character: str) -> str | None:
        """The beginning one character longer, or None."""
        longer = state + character
        return longer if longer in self._rest else None

    def is_final(self, state: str) -> bool:
        """Whether a text ends here; others may go on."""
        return state in self.texts

    def finish(self, state: str) -> str:
        """The shortest rest."""
        return self._rest[state]
