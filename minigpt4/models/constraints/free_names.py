"""Names of objects that are not known beforehand, with a label that can be told from the name.

A phrase is ``{name}-defect`` or ``{name}-not-defect``. A name whose last word is ``not`` would make
the first read as the second; any that ends in these letters can only be called not defective.
"""

from __future__ import annotations

import unicodedata
from collections import deque
from functools import cache
from typing import NamedTuple

OPEN, CLOSE = "<p>", "</p>"
LABELS = ("-not-defect", "-defect")
_MISLEADING = "not-defect"
"""A label that reads as not defective, where ``not`` belongs to the name."""
LONGEST_NAME = 40
"""Characters after which a name goes no further."""
_SEPARATORS = frozenset(" -")
_PUNCTUATION = frozenset("_.,&/+'()")


class NameState(NamedTuple):
    """What of a phrase matters for what may follow.

    Attributes:
        length: Characters so far.
        tail: The longest end of it that begins a label (or is a space).
    """

    length: int = 0
    tail: str = ""


class Bracket(NamedTuple):
    """Within ``<p>`` or ``</p>``: what of it is still to come, and whether it opens."""

    rest: str
    opens: bool


FreeState = Bracket | NameState


class FreeNames:
    """``<p>``, a phrase about any object, ``</p>``.

    Names are words of letters, digits and marks of any script, with a single space or hyphen
    between them.
    """

    start: FreeState = Bracket(OPEN, opens=True)

    def characters(self, state: FreeState) -> frozenset[str]:
        """Which characters may follow."""
        if isinstance(state, Bracket):
            return frozenset(state.rest[:1])
        if state.length >= LONGEST_NAME:
            return frozenset((_rest(state.tail) + CLOSE)[0])
        if state.length == 0:
            return _letters()
        if state.tail[-1:] in _SEPARATORS:
            return _ordinary()
        return _last() if state.tail in LABELS else _inner()

    def step(self, state: FreeState, character: str) -> FreeState | None:
        """The state after a character; None if it may not follow."""
        if character not in self.characters(state):
            return None
        if isinstance(state, Bracket):
            rest = state.rest[1:]
            return Bracket(rest, state.opens) if rest or not state.opens else NameState()
        if character == CLOSE[0]:
            return Bracket(CLOSE[1:], opens=False)
        return NameState(min(state.length + 1, LONGEST_NAME), _tail(state.tail, character))

    def is_final(self, state: FreeState) -> bool:
        """Whether the phrase is closed."""
        return state == Bracket("", opens=False)

    def finish(self, state: FreeState) -> str:
        """A shortest way to the end."""
        written = ""
        if isinstance(state, Bracket):
            if not state.opens:
                return state.rest
            written, state = state.rest, NameState()
        return written + (_rest(state.tail) if state.length else "a" + _rest("")) + CLOSE


@cache
def _beginnings() -> frozenset[str]:
    """Every beginning of a label, and a space, after which no hyphen may stand."""
    return frozenset(
        label[:end] for label in (*LABELS, _MISLEADING) for end in range(len(label) + 1)
    ) | {" "}


@cache
def _tail(tail: str, character: str) -> str:
    longer = tail + character
    return next(longer[i:] for i in range(len(longer) + 1) if longer[i:] in _beginnings())


@cache
def _rest(tail: str) -> str:
    """A shortest text after which ``tail`` has become a label."""
    letters = sorted(set("".join(LABELS)) | {"a"})
    waiting, seen = deque([(tail, "")]), {tail}
    while waiting:
        here, path = waiting.popleft()
        if here in LABELS:
            return path
        for letter in letters:
            after = _tail(here, letter)
            if after not in seen and not (letter == "-" and here[-1:] in _SEPARATORS):
                seen.add(after)
                waiting.append((after, path + letter))
    raise AssertionError(f"no label can follow {tail!r}")


@cache
def _letters() -> frozenset[str]:
    """Letters, digits and marks of the Basic Multilingual Plane."""
    plane = map(chr, range(0x10000))
    return frozenset(char for char in plane if unicodedata.category(char)[0] in "LNM")


@cache
def _ordinary() -> frozenset[str]:
    return _letters() | _PUNCTUATION


@cache
def _inner() -> frozenset[str]:
    return _ordinary() | _SEPARATORS


@cache
def _last() -> frozenset[str]:
    return _inner() | {"<"}
