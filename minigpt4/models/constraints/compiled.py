"""A constraint in the tokens of a vocabulary: what may follow, what must, and how it can end."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from torch import Tensor

from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints.base import Constraint
from minigpt4.models.constraints.vocabulary import Node, Vocabulary

_SPACE = ord(" ")
_INNER_BYTES = frozenset(bytes([byte]) for byte in range(0x80, 0xC0))
"""Bytes of a character after its first."""
_TRIED = 16
"""Of the characters that begin with given bytes, how many are tried for a short way to the end."""
IMPOSSIBLE = 1 << 30
"""Tokens to an end that cannot be reached."""


class Position(NamedTuple):
    """How far an answer has come.

    Attributes:
        state: Of the constraint, after the last whole character.
        pending: First bytes of the next character.
        fresh: Nothing was said yet, so that one space may come first; it is no part of the answer.
    """

    state: Any
    pending: bytes = b""
    fresh: bool = False


@dataclass(frozen=True, slots=True)
class Choices:
    """Tokens that may follow.

    Attributes:
        tokens: Their ids (K,).
        costs: How many more each needs to end the answer, the end token included (K,).
    """

    tokens: Tensor
    costs: Tensor

    def within(self, limit: int) -> Tensor:
        """Those after which the answer can still end, if ``limit`` more tokens are left."""
        return self.tokens[self.costs < limit]


class CompiledConstraint:
    """A constraint against a vocabulary; what it works out is kept for each state.

    Args:
        constraint: What answers may be.
        vocabulary: Tokens to say them with.
    Raises:
        ConfigError: The vocabulary cannot spell a character that the constraint asks for.
    """

    def __init__(self, constraint: Constraint, vocabulary: Vocabulary) -> None:
        absent = sorted(c for c in constraint.alphabet if vocabulary.spell(c.encode()) is None)
        if absent:
            raise ConfigError(
                f"The tokenizer of model.llama_model cannot spell {' '.join(absent[:5])!r}, which "
                "the allowed answers hold: use decoding: free or rank, or another language model."
            )
        self.constraint = constraint
        self.vocabulary = vocabulary
        self.start = Position(constraint.start, fresh=True)
        self._choices: dict[Position, Choices] = {}
        self._needs: dict[Position, int] = {}
        self._runs: dict[Position, str] = {}

    def check(self, max_new_tokens: int) -> None:
        """Refuse a limit that holds no answer.

        Raises:
            ConfigError: The shortest answer is longer.
        """
        needed = self.needed(self.start)
        if needed > max_new_tokens:
            raise ConfigError(
                f"The shortest of the allowed answers takes {needed} tokens, but max_new_tokens is "
                f"{max_new_tokens}: set it to {needed} or more."
            )

    def advance(self, position: Position, token: int) -> Position:
        """The position after a token that may follow and does not end the answer."""
        here: Position | None = position
        for byte in self.vocabulary.spelling[token]:
            here = self._read(here, byte) if here is not None else None
        if here is None:
            raise ValueError(f"token {token} may not follow")
        return here

    def choices(self, position: Position) -> Choices:
        """Which tokens may follow."""
        known = self._choices.get(position)
        if known is None:
            walked = self._walk(self.vocabulary.root, position)
            found = {token: self.needed(after) for token, after in walked}
            if not position.pending and self.constraint.is_final(position.state):
                found |= dict.fromkeys(self.vocabulary.end_ids, 0)
            tokens = sorted(token for token, cost in found.items() if cost < IMPOSSIBLE)
            costs = [found[token] for token in tokens]
            known = Choices(torch.tensor(tokens).long(), torch.tensor(costs).long())
            self._choices[position] = known
        return known

    def needed(self, position: Position) -> int:
        """Tokens of a short way to the end, the end token included."""
        path: list[Position] = []
        here = position
        while here not in self._needs:
            path.append(here)
            rest = self._finish(here)
            token = self.vocabulary.longest(rest) if rest else None
            if token is None:  # the end token alone, or bytes without a token
                self._needs[path.pop()] = IMPOSSIBLE if rest else 1
            else:
                here = self.advance(here, token)
        needed = self._needs[here]
        for each in reversed(path):
            needed = min(needed + 1, IMPOSSIBLE)
            self._needs[each] = needed
        return needed

    def forced(self, position: Position, tokens: Sequence[int], limit: int) -> list[int]:
        """Tokens that must follow, cut as the tokenizer cuts the whole answer.

        Args:
            position: Where the answer stands.
            tokens: The answer so far.
            limit: Tokens that are left, the end token included.
        Returns:
            The tokens, without an end token.
        """
        forced: list[int] = []
        while following := self._following(position, [*tokens, *forced], limit - len(forced)):
            forced += following
            for token in following:
                position = self.advance(position, token)
        return forced

    def _following(self, position: Position, tokens: Sequence[int], left: int) -> list[int]:
        """The next tokens that must follow, or none."""
        canonical = self._canonical(position, tokens)
        if canonical:
            after = position
            for token in canonical:
                after = self.advance(after, token)
            if len(canonical) + self.needed(after) <= left:
                return canonical
        allowed = self.choices(position).within(left).tolist()
        return allowed if len(allowed) == 1 and allowed[0] not in self.vocabulary.end_ids else []

    def _canonical(self, position: Position, tokens: Sequence[int]) -> list[int]:
        """Whole tokens of the text that must follow."""
        if position.pending:
            return []
        text = self._run(position)
        if not text:
            return []
        said = b"".join(self.vocabulary.spelling[token] for token in tokens).decode()
        return (
            self.vocabulary.canonical(said.removeprefix(" "), text, fresh=position.fresh)
            or self.vocabulary.spell(text.encode())
            or []
        )

    def _run(self, position: Position) -> str:
        """The only text that can follow, up to where every way to spell the answer has a cut."""
        known = self._runs.get(position)
        if known is None:
            known, state = "", position.state
            while not self.constraint.is_final(state):
                following = self.constraint.characters(state)
                if len(following) > 1:
                    break
                (character,) = following
                known += character
                state = self.constraint.step(state, character)
            known = self._up_to_a_cut(known.encode(), position).decode()
            self._runs[position] = known
        return known

    def _up_to_a_cut(self, text: bytes, position: Position) -> bytes:
        """The longest beginning of ``text`` over whose end no token that may follow reaches.

        Tokens that cross it would be spelled otherwise with what comes after.
        """
        reaches = [0] * len(text)  # the farthest end of a token that begins at each byte
        here = position
        for place, byte in enumerate(text):
            for token, _ in self._walk(self.vocabulary.root, here):
                spelled = self.vocabulary.spelling[token]
                space = here.fresh and spelled.startswith(b" ")
                reaches[place] = max(reaches[place], place + len(spelled) - space)
            after = self._read(here, byte)
            assert after is not None
            here = after
        cut = len(text)
        while max(reaches[:cut], default=0) > cut or text[cut : cut + 1] in _INNER_BYTES:
            cut -= 1
        return text[:cut]

    def _walk(self, node: Node, position: Position) -> Iterator[tuple[int, Position]]:
        """Tokens that begin with the bytes of ``node`` and go on from ``position``."""
        for byte, child in node.children.items():
            after = self._read(position, byte)
            if after is not None:
                for token in child.tokens:
                    yield token, after
                yield from self._walk(child, after)

    def _read(self, position: Position, byte: int) -> Position | None:
        """The position one byte on; None if it may not follow."""
        if position.fresh and byte == _SPACE:
            return Position(position.state)
        text = position.pending + bytes([byte])
        if len(text) < _length(text[0]):
            may = text in _by_beginning(self.constraint.characters(position.state))
            return Position(position.state, text) if may else None
        try:
            character = text.decode()
        except UnicodeDecodeError:
            return None
        after = self.constraint.step(position.state, character)
        return None if after is None else Position(after)

    def _finish(self, position: Position) -> bytes:
        """Bytes of a short way to the end."""
        state, pending = position.state, position.pending
        if not pending:
            return self.constraint.finish(state).encode()
        # Where there are very many, as in free names, they end alike.
        characters = _by_beginning(self.constraint.characters(state))[pending][:_TRIED]
        rests = (c + self.constraint.finish(self.constraint.step(state, c)) for c in characters)
        return min(rests, key=len).encode()[len(pending) :]


def _length(first: int) -> int:
    """Bytes of a UTF-8 character by its first."""
    return 1 if first < 0xC0 else 2 if first < 0xE0 else 3 if first < 0xF0 else 4


@lru_cache(maxsize=256)
def _by_beginning(characters: frozenset[str]) -> dict[bytes, list[str]]:
    """Characters by each of the incomplete beginnings of their bytes."""
    found: dict[bytes, list[str]] = defaultdict(list)
    for character in sorted(characters):
        spelled = character.encode()
        for end in range(1, len(spelled)):
            found[spelled[:end]].append(character)
    return dict(found)
