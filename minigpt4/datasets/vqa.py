"""Questions about pictures: ViVQA, and any data set of question and short answer."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from minigpt4.conversation.prompts import VIVQA_EVAL_PROMPT, VIVQA_PROMPTS
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.patterns import fill, pattern_columns
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
            name: rng.choice(value) if rng else value[0]
            for name, value in row.items()
            if isinstance(value, list) and value and isinstance(value[0], str)
        }
        return unicodedata.normalize("NFC", fill(self.spec.answer, {**row, **choices})).strip()

    def _filled_columns(self) -> tuple[str, ...]:
        return ("question", *pattern_columns(self.spec.answer))

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        return {**row, "answer": self._answer(row, None)}

    def _id(self, row: Mapping[str, Any], number: int) -> str:
        return f"{number}-{row['img_id']}" if "img_id" in row else f"{number}"
