"""Questions about pictures: ViVQA, and any data set of question and short answer."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from minigpt4.conversation.prompts import VIVQA_EVAL_PROMPT, VIVQA_PROMPTS
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.opening import EMPTY
from minigpt4.datasets.patterns import compiled, fill, pattern_columns
from minigpt4.datasets.schema import Turn


class VQADataset(RecordDataset):
    """One question a row; the answer is one string, or one drawn from a list of them."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "prompts": VIVQA_PROMPTS,
        "eval_prompt": VIVQA_EVAL_PROMPT,
        "process": ("question",),
        "answer": "{answer}",
    }

    def _turns(self, row: Mapping[str, Any], rng: random.Random | None) -> list[Turn]:
        return [Turn(self._instruction(row, rng), self._answer(row, rng))]

    def _answer(self, row: Mapping[str, Any], rng: random.Random | None) -> str:
        choices = {
            name: rng.choice(texts) if rng else texts[0]
            for name in compiled(self.spec.answer).whole_columns
            if (texts := _texts_of(row.get(name)))
        }
        return unicodedata.normalize("NFC", fill(self.spec.answer, {**row, **choices})).strip()

    def _filled_columns(self) -> tuple[str, ...]:
        return ("question", *pattern_columns(self.spec.answer))

    def _checked_columns(self) -> tuple[str, ...]:
        answers = compiled(self.spec.answer).whole_columns
        checked = [] if self._table.is_text("question") else ["question"]
        return (*checked, *(name for name in answers if not self._table.is_filled_text(name)))

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        if isinstance(row.get("question"), list | dict):
            return f"question is no text ({row['question']}); write a row for each question"
        for name, value in row.items():
            if isinstance(value, list | dict) and not _texts_of(value):
                if not isinstance(value, list) or any(isinstance(v, list | dict) for v in value):
                    return (
                        f"{name} is no text and no list of texts ({value}); name them with fields"
                    )
                return f"{name}{EMPTY}"
        return None

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "answer": self._answer(row, None)}

    def _id(self, row: Mapping[str, Any], number: int) -> str:
        return f"{number}-{row['img_id']}" if "img_id" in row else f"{number}"


def _texts_of(value: Any) -> list[str]:
    """The answers in a list of them, as often as they were given; empty where it is none."""
    if not isinstance(value, list) or not all(
        each is None or isinstance(each, str | int | float) for each in value
    ):
        return []
    return [text for each in value if each is not None and (text := str(each)).strip()]
