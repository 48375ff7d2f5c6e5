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


class ConversationDataset(RecordDataset):
    """Rows with ``conversations`` (``[{from, value}]``, human first) or an instruction and output.

    Without an ``image`` pattern the samples are text only.
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
            pairs = list(zip(texts[::2], texts[1::2], strict=False))[: self.spec.turns]
        turns = []
        for number, (question, answer) in enumerate(pairs):
            question = question.replace(_PLACEHOLDER, "").strip()
            if self.spec.image is not None:
                question = f"{question} " if number else image_instruction(question)
            turns.append(Turn(question, unicodedata.normalize("NFC", answer).strip()))
        return turns

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
        return ("conversations",) if self._has_turns() else ()

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        if not self._has_turns():
            return None
        turns = row["conversations"]
        if not isinstance(turns, list) or len(turns) < 2:
            return "conversations holds no question and answer"
        for turn in turns:
            if not isinstance(turn, dict) or not isinstance(turn.get("value"), str):
                return "a turn of conversations has no value"
            if CONNECT_SYM in turn["value"]:
                return f"a turn holds {CONNECT_SYM}, which separates turns"
        return None
