"""Samples token by token, with what a model learns to say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Token:
    """One token, or a run of positions that hold a picture.

    Attributes:
        text: As the vocabulary spells it.
        id: Its number in the vocabulary; None for a picture.
        in_loss: Whether it counts in the loss.
    """

    text: str
    id: int | None
    in_loss: bool

    @property
    def shown_text(self) -> str:
        """The text with what would not be seen."""
        return self.text.replace("\n", "\u21b5") or "\u2205"


@dataclass(frozen=True, slots=True)
class Strip:
    """One sample's tokens under a title."""

    title: str
    tokens: Sequence[Token]

    @property
    def learned(self) -> int:
        """Tokens that count in the loss."""
        return sum(token.in_loss for token in self.tokens)


@dataclass(frozen=True, slots=True)
class TokenStrips:
    """Samples as the language model sees them."""

    kind: ClassVar[str] = "tokens"
    title: str
    strips: Sequence[Strip]
    note: str = ""
