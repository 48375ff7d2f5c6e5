"""What a constraint can be asked, whatever the vocabulary."""

from __future__ import annotations

from typing import Any, Protocol


class Constraint(Protocol):
    """A set of texts, read character by character.

    States are immutable and hashable; from each of them the end of some text can be reached. Equal
    constraints are equal and hash alike.
    """

    start: Any
    """Before the first character; no text begins or ends with white space."""

    def characters(self, state: Any) -> frozenset[str]:
        """Which characters may follow."""

    def step(self, state: Any, character: str) -> Any:
        """The state after a character; None if it may not follow."""

    def is_final(self, state: Any) -> bool:
        """Whether the text may end here."""

    def finish(self, state: Any) -> str:
        """A shortest text that leads to an end; empty where the text may end."""

    @property
    def alphabet(self) -> frozenset[str]:
        """Characters that a vocabulary must be able to spell."""

    def describe(self) -> dict[str, Any]:
        """What tells this constraint from others, as JSON."""
