"""GRIT: captions whose phrases have boxes, for grounding, referring, identifying and detecting.

A member's JSON holds ``caption`` and, as lists of ``[start, end, x1, y1, x2, y2, score]`` (places
in the caption's characters, shares of the picture's sides), ``noun_chunks`` and ``ref_exps``, the
longer expressions that single a thing out. One of the tasks that a sample allows is drawn for it.
"""

from __future__ import annotations

import json
import math
import random
import unicodedata
from collections import defaultdict
from collections.abc import Mapping
from typing import Any, ClassVar

from minigpt4.common.boxes import Box, format_boxes, labelled, px_to_percent
from minigpt4.conversation.prompts import (
    REC_EVAL_PROMPT,
    TAG_DETECTION,
    TAG_GROUNDING,
    TAG_IDENTIFY,
    TAG_REFER,
    image_instruction,
)
from minigpt4.datasets.patterns import fill
from minigpt4.datasets.schema import Turn
from minigpt4.datasets.streams.dataset import StreamDataset

Span = tuple[int, int]

_EDGE = 0.02
"""Boxes may reach so far beyond the picture, as detectors' do; they are cut there."""
_PROMPTS: Mapping[str, tuple[str, ...]] = {
    "grounding": (
        f"{TAG_GROUNDING} describe this picture and say where each thing is.",
        f"{TAG_GROUNDING} write a caption with the place of everything you name.",
        f"{TAG_GROUNDING} what does the picture show, and where?",
    ),
    "refer": (
        f"{TAG_REFER} {{phrase}}",
        REC_EVAL_PROMPT,
        f"{TAG_REFER} where is {{phrase}}?",
        f"{TAG_REFER} find {{phrase}}",
    ),
    "identify": (
        f"{TAG_IDENTIFY} {{boxes}}",
        f"{TAG_IDENTIFY} what is in {{boxes}}?",
        f"{TAG_IDENTIFY} name the thing at {{boxes}}",
    ),
    "detection": (f"{TAG_DETECTION} {{phrase}}",),
}


class GritDataset(StreamDataset):
    """Captions with boxes for their phrases; ``build_info.tasks`` weighs the four tasks."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "tasks": dict.fromkeys(_PROMPTS, 1.0),
        "prompts": _PROMPTS,
        "min_score": 0.65,  # what GRIT itself kept
    }

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        if not isinstance(row.get("caption"), str) or not row["caption"].strip():
            return "has no caption."
        return None if self._choices(row) else "has no phrase with a usable box for any task."

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        bad = sum(self._boxes(row, key)[1] for key in ("noun_chunks", "ref_exps"))
        return {"unusable_boxes": bad} if bad else {}

    def _turns(self, row: Mapping[str, Any], rng: random.Random) -> list[Turn]:
        choices = self._choices(row)
        assert self.spec.tasks is not None
        weights = [self.spec.tasks[task] for task in choices]
        task = rng.choices(list(choices), weights)[0]
        prompt = rng.choice(self.spec.prompts[task])
        if task == "grounding":
            return [Turn(image_instruction(prompt), choices[task][0][0])]
        phrase, boxes = rng.choice(choices[task])
        written = format_boxes(boxes)
        answers = {"refer": written, "identify": phrase, "detection": labelled(phrase, boxes)}
        instruction = image_instruction(fill(prompt, {"phrase": phrase, "boxes": written}))
        return [Turn(instruction, answers[task])]

    def _choices(self, row: Mapping[str, Any]) -> dict[str, list[tuple[str, list[Box]]]]:
        """What each task can be about: phrases and their boxes, or the whole grounded caption."""
        assert self.spec.tasks is not None
        chunks, _ = self._boxes(row, "noun_chunks")
        expressions, _ = self._boxes(row, "ref_exps")
        phrases = self._by_phrase(row["caption"], chunks)
        # A phrase of several things says nothing about which one is meant.
        singled = _single(self._by_phrase(row["caption"], expressions)) or _single(phrases)
        grounded = self._grounded(row["caption"], chunks)
        found: dict[str, list[tuple[str, list[Box]]]] = {
            "grounding": [(grounded, [])] if grounded else [],
            "refer": singled,
            "identify": singled,
            "detection": list(phrases.items()),
        }
        return {task: each for task, each in found.items() if each and self.spec.tasks.get(task)}

    def _boxes(self, row: Mapping[str, Any], key: str) -> tuple[dict[Span, list[Box]], int]:
        """Boxes of each span that score enough, and how many entries make no sense."""
        entries = row.get(key) or []
        if isinstance(entries, str):  # some writers of shards keep columns as text
            try:
                entries = json.loads(entries)
            except ValueError:
                return {}, 1
        if not isinstance(entries, list):
            return {}, 1
        boxes: dict[Span, list[Box]] = defaultdict(list)
        bad = 0
        for entry in entries:
            read = _entry(entry, len(row["caption"]))
            if read is None:
                bad += 1
            elif read[2] >= self.spec.min_score and read[1] not in boxes[read[0]]:
                boxes[read[0]].append(read[1])
        return {span: found for span, found in sorted(boxes.items()) if found}, bad

    def _by_phrase(self, caption: str, boxes: Mapping[Span, list[Box]]) -> dict[str, list[Box]]:
        phrases: dict[str, list[Box]] = defaultdict(list)
        for (start, end), found in boxes.items():
            phrase = self._text(caption[start:end])
            if phrase:
                phrases[phrase] += [box for box in found if box not in phrases[phrase]]
        return dict(phrases)

    def _grounded(self, caption: str, boxes: Mapping[Span, list[Box]]) -> str:
        """The caption with boxes after its phrases; of phrases that overlap, the first counts."""
        pieces, end = [], 0
        for (start, stop), found in boxes.items():
            phrase = self._text(caption[start:stop])
            if start >= end and phrase:
                pieces += [self._text(caption[end:start]), labelled(phrase, found)]
                end = stop
        if not pieces:
            return ""
        return " ".join(piece for piece in [*pieces, self._text(caption[end:])] if piece)

    def _text(self, text: str) -> str:
        cleaned = self._clean(text) if "caption" in self.spec.process else text
        return unicodedata.normalize("NFC", cleaned).strip()


def _single(phrases: Mapping[str, list[Box]]) -> list[tuple[str, list[Box]]]:
    return [(phrase, boxes) for phrase, boxes in phrases.items() if len(boxes) == 1]


def _entry(entry: Any, length: int) -> tuple[Span, Box, float] | None:
    """Span, box and score of ``[start, end, x1, y1, x2, y2, score]``; None where it is none."""
    if not isinstance(entry, list) or len(entry) not in (6, 7):
        return None
    if any(isinstance(v, bool) or not isinstance(v, int | float) for v in entry):
        return None
    if not all(map(math.isfinite, entry)):
        return None
    start, end, x1, y1, x2, y2 = entry[:6]
    inside = all(-_EDGE <= value <= 1 + _EDGE for value in (x1, y1, x2, y2))
    if not 0 <= start < end <= length or not inside or x1 >= x2 or y1 >= y2:
        return None
    score = entry[6] if len(entry) == 7 else 1.0
    return (int(start), int(end)), px_to_percent((x1, y1, x2, y2), width=1, height=1), score
