"""Several turns about a picture, and instructions without one."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from minigpt4.conversation.prompts import image_instruction
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.patterns import fill
from minigpt4.datasets.schema import CONNECT_SYM, Turn

_PLACEHOLDER = "<image>"
"""How LLaVA's files mark the picture within the first question."""

_SPEAKERS = (("human", "user"), ("gpt", "assistant"))
"""Who speaks in turns 0, 2, 4 ... and who in 1, 3, 5 ..."""


class ConversationDataset(RecordDataset):
    """Rows with ``conversations`` (``[{from, value}]``, human first) or an instruction and output.

    Without an ``image`` pattern the samples are text only. The text processor cleans the human's
    turns where ``process`` names ``instruction``.
    """

    defaults: ClassVar[Mapping[str, Any]] = {
        "prompts": ("{instruction}",),
        "answer": "{output}",
    }

    def _turns(self, row: Mapping[str, Any], rng: random.Random | None) -> list[Turn]:
        if not self._has_turns():
            pairs = [(self._prompt(row, rng), fill(self.spec.answer, row))]
        else:
            texts = [turn["value"] for turn in row["conversations"]]
            pairs = list(zip(texts[::2], texts[1::2], strict=True))[: self.spec.turns]
        turns = []
        for number, (question, answer) in enumerate(pairs):
            question = self._question(question)
            if self.spec.image is not None:
                slots = self.spec.pictures
                question = f"{question} " if number else image_instruction(question, pictures=slots)
            turns.append(Turn(question, unicodedata.normalize("NFC", answer).strip()))
        return turns

    def _question(self, text: str) -> str:
        text = unicodedata.normalize("NFC", text.replace(_PLACEHOLDER, "")).strip()
        if self._has_turns() and self._text_processor and "instruction" in self.spec.process:
            text = self._text_processor(text)
        return text

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in row.items() if name != "conversations"}

    def _id(self, row: Mapping[str, Any], number: int) -> str:
        return f"{number}-{row['id']}" if "id" in row else str(number)

    def _has_turns(self) -> bool:
        return "conversations" in self._table.names

    def _computed(self) -> tuple[str, ...]:
        # With turns in the file, the patterns of a single instruction are not used.
        return ("instruction", "output") if self._has_turns() else ()

    def _checked_columns(self) -> tuple[str, ...]:
        return ("conversations",) if self._has_turns() else self.spec.columns

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        return _turns_mistake(row["conversations"]) if self._has_turns() else self._unfilled(row)

    def _unfilled(self, row: Mapping[str, Any]) -> str | None:
        for pattern in (self.spec.answer, *self.spec.prompts):
            try:
                if not fill(pattern, row).strip():
                    return f"nothing is left of {pattern!r}"
            except (KeyError, IndexError, TypeError, ValueError):
                return f"{pattern!r} cannot be filled in"
        return None


def _turns_mistake(turns: Any) -> str | None:
    if not isinstance(turns, list) or len(turns) < 2:
        return "conversations holds no question and answer"
    if len(turns) % 2:
        return f"the last of its {len(turns)} turns has no answer"
    for number, turn in enumerate(turns):
        if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
            return "a turn of conversations has no value"
        if turn.get("from") in _SPEAKERS[1 - number % 2]:
            return f"turn {number} is from {turn['from']}, but a human and a model take turns"
        if number % 2 and not turn["value"].strip():
            return f"turn {number} is an empty answer"
        if CONNECT_SYM in turn["value"]:
            return f"a turn holds {CONNECT_SYM}, which separates turns"
    return None
