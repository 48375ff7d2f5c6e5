"""A tokenizer's pieces by their bytes, as a trie to be walked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from minigpt4.common.errors import ConfigError
from minigpt4.models.tokenizer import LlmTokenizer


@dataclass(slots=True, eq=False)
class Node:
    """Where some bytes lead: tokens that are spelled so, and what may follow."""

    children: dict[int, Node] = field(default_factory=dict)
    tokens: list[int] = field(default_factory=list)


class Vocabulary:
    """What each token adds to an answer.

    Args:
        tokenizer: The language model's.
        end_ids: Tokens that end an answer.
    Raises:
        ConfigError: It is not known how the tokenizer spells text.
    """

    def __init__(self, tokenizer: LlmTokenizer, end_ids: Iterable[int]) -> None:
        self.tokenizer = tokenizer
        self.end_ids = tuple(sorted(end_ids))
        self.root = Node()
        self.spelling: dict[int, bytes] = {}
        for token in range(len(tokenizer)):
            spelling = tokenizer.spelling(token)
            if spelling and token not in self.end_ids:
                self.spelling[token] = spelling
                self._insert(spelling, token)
        if not self.spelling:
            raise ConfigError(
                "Answers cannot be constrained with the tokenizer of model.llama_model, which "
                "spells text in no known way: use decoding: free or rank."
            )

    def find(self, text: bytes, node: Node | None = None) -> Node | None:
        """Where bytes lead from ``node`` (the root); None if no token begins so."""
        node = node or self.root
        for byte in text:
            following = node.children.get(byte)
            if following is None:
                return None
            node = following
        return node

    def longest(self, text: bytes) -> int | None:
        """The token with the longest spelling that begins ``text``; None if there is none."""
        node, best = self.root, None
        for byte in text:
            following = node.children.get(byte)
            if following is None:
                break
            node = following
            best = node.tokens[0] if node.tokens else best
        return best

    def spell(self, text: bytes) -> list[int] | None:
        """Tokens of ``text``, each the longest that fits; None if it cannot be spelled so."""
        tokens: list[int] = []
        while text:
            token = self.longest(text)
            if token is None:
                return None
            tokens.append(token)
            text = text[len(self.spelling[token]) :]
        return tokens

    def canonical(self, said: str, text: str, *, fresh: bool) -> list[int] | None:
        """Tokens of ``text`` after ``said``, cut as the tokenizer cuts the two together.

        Args:
            said: The answer so far.
            text: What follows.
            fresh: Nothing was said, so that the space that a tokenizer puts first belongs to it.
        Returns:
            None when a token of the whole lies on both sides, or is no plain text.
        """
        tokens = self.tokenizer.encode(said + text)
        pieces = [self.spelling.get(token, b"") for token in tokens]
        whole = (said + text).encode()
        lead = len(b"".join(pieces)) - len(whole)
        if not all(pieces) or b"".join(pieces) != b" " * lead + whole:
            return None
        begin = 0 if fresh else lead + len(said.encode())
        place = 0
        for number, piece in enumerate(pieces):
            if place == begin:
                return tokens[number:]
            place += len(piece)
        return None

    def _insert(self, spelling: bytes, token: int) -> None:
        node = self.root
        for byte in spelling:
            node = node.children.setdefault(byte, Node())
        # A byte that is also a piece of its own: the piece is how the tokenizer spells it.
        is_byte = self.tokenizer.piece(token).startswith("<0x") and len(spelling) == 1
        node.tokens.insert(len(node.tokens) if is_byte else 0, token)
