"""Boxes such as ``{<10><20><40><50>}``, several joined by ``<delim>``, each with an area."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from minigpt4.common.boxes import DELIM, GRID

_DIGITS = frozenset("0123456789")
_X1, _Y1, _X2, _Y2 = range(4)


class BoxState(NamedTuple):
    """Where in the boxes of an answer a text stands.

    Attributes:
        number: Boxes that are complete.
        corner: Which of the four numbers of a box comes or is being read; None between boxes.
        text: What was read since the last number or box was complete.
        left: The box's first number, as long as the third must be greater; else -1.
        top: Its second number, as long as the fourth must be greater; else -1.
    """

    number: int = 0
    corner: int | None = _X1
    text: str = ""
    left: int = -1
    top: int = -1


class Boxes:
    """One to ``most`` boxes, right of left and bottom below top.

    Args:
        most: Largest number of boxes.
    """

    def __init__(self, most: int) -> None:
        self.most = most

    def characters(self, state: BoxState) -> frozenset[str]:
        """Which characters may follow."""
        if state.corner is None:
            more = state.number < self.most
            return frozenset(DELIM[len(state.text)]) if more else frozenset()
        opening = _opening(state.corner)
        if len(state.text) < len(opening):
            return frozenset(opening[len(state.text)])
        if state.text.endswith(">"):
            return frozenset("}")
        return _after_digits(state.text[len(opening) :], *_limits(state))

    def step(self, state: BoxState, character: str) -> BoxState | None:
        """The state after a character; None if it may not follow."""
        if character not in self.characters(state):
            return None
        text = state.text + character
        if state.corner is None:
            return BoxState(state.number) if text == DELIM else state._replace(text=text)
        if character == "}":
            return BoxState(state.number + 1, None)
        if character != ">" or state.corner == _Y2:
            return state._replace(text=text)
        value = int(state.text[len(_opening(state.corner)) :])
        after = state._replace(corner=state.corner + 1, text="")
        if state.corner == _X1:
            return after._replace(left=value)
        return after._replace(top=value) if state.corner == _Y1 else after._replace(left=-1)

    def is_final(self, state: BoxState) -> bool:
        """Whether the answer may end here: after a whole box."""
        return state.corner is None and not state.text

    def finish(self, state: BoxState) -> str:
        """The shortest way to the end of a box."""
        written = ""
        while not self.is_final(state):
            piece = self._finish_part(state)
            written += piece
            for character in piece:
                following = self.step(state, character)
                assert following is not None
                state = following
        return written

    def _finish_part(self, state: BoxState) -> str:
        """To the end of this number, of the closing brace, or of the delimiter."""
        if state.corner is None:
            return DELIM[len(state.text) :]
        if state.text.endswith(">"):
            return "}"
        opening = _opening(state.corner)
        digits = state.text[len(opening) :]
        return opening[len(state.text) :] + _shortest(digits, *_limits(state)) + ">"


def _opening(corner: int) -> str:
    return "{<" if corner == _X1 else "<"


def _limits(state: BoxState) -> tuple[int, int]:
    """Smallest and largest number that may stand at this corner."""
    if state.corner in (_X1, _Y1):
        return 0, GRID - 1
    return (state.left if state.corner == _X2 else state.top) + 1, GRID


@cache
def _after_digits(digits: str, low: int, high: int) -> frozenset[str]:
    """What may follow the first digits of a number from ``low`` to ``high``."""
    numbers = [str(value) for value in range(low, high + 1) if str(value).startswith(digits)]
    longer = {number[len(digits)] for number in numbers if number != digits}
    return frozenset(longer | ({">"} if digits in numbers else set()))


@cache
def _shortest(digits: str, low: int, high: int) -> str:
    """The fewest digits that complete a number."""
    numbers = [str(value) for value in range(low, high + 1) if str(value).startswith(digits)]
    return min(numbers, key=len)[len(digits) :]
