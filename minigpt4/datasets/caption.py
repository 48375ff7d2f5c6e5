"""Pictures with a description: plain captions and captions with boxes in them."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Mapping
from typing import Any, ClassVar

from minigpt4.conversation.prompts import TAG_CAPTION, TAG_GROUNDING
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.patterns import fill, pattern_columns
from minigpt4.datasets.schema import Turn

_CAPTION_PROMPTS = (
    f"{TAG_CAPTION} describe this picture in one sentence.",
    f"{TAG_CAPTION} what does the picture show?",
    f"{TAG_CAPTION} say briefly what can be seen here.",
    f"{TAG_CAPTION} write a short caption.",
)
_GROUNDING_PROMPTS = (
    f"{TAG_GROUNDING} describe this picture and say where each thing is.",
    f"{TAG_GROUNDING} write a caption with the place of everything you name.",
    f"{TAG_GROUNDING} what does the picture show, and where?",
)


class CaptionDataset(RecordDataset):
    """One description a row; the column ``grounded_caption`` holds boxes already written out."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "prompts": _CAPTION_PROMPTS,
        "answer": "{caption}",
        "process": ("caption",),
    }

    @classmethod
    def _defaults(cls, build_info: Mapping[str, Any]) -> Mapping[str, Any]:
        if build_info.get("task") == "grounding":
            return {"prompts": _GROUNDING_PROMPTS, "answer": "{grounded_caption}"}
        return cls.defaults

    def _filled_columns(self) -> tuple[str, ...]:
        return pattern_columns(self.spec.answer)

    def _turns(self, row: Mapping[str, Any], rng: random.Random | None) -> list[Turn]:
        answer = unicodedata.normalize("NFC", fill(self.spec.answer, row)).strip()
        return [Turn(self._instruction(row, rng), answer)]
