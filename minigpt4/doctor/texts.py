"""Texts: what the processor takes away, what is cut, stray spaces, decomposed letters."""

from __future__ import annotations

import copy
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from minigpt4.datasets.patterns import pattern_columns
from minigpt4.datasets.schema import Sample
from minigpt4.doctor.findings import Finding, Place, some
from minigpt4.doctor.patients import Patient

_SHOWN = 60
_ENDLESS = 10**9
_REMEMBERED = 1 << 16


@dataclass(frozen=True, slots=True)
class Change:
    """What a text processor does to a text besides its case.

    Attributes:
        result: The text afterwards.
        lost: Characters that it no longer has, but for white space.
        changed: Whether it differs in more than case.
        words: Words that are cut off.
    """

    result: str
    lost: str
    changed: bool
    words: int


class TextChanges:
    """Compares texts with what a processor makes of them."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor
        self._unlimited = copy.copy(processor)
        if hasattr(processor, "max_words"):
            self._unlimited.max_words = _ENDLESS

    def of(self, text: str) -> Change:
        """What becomes of a text."""
        result = self._processor(text)
        if result == text.lower():
            return Change(result, "", changed=False, words=0)
        uncut = self._unlimited(text)
        lost = Counter(text.lower()) - Counter(uncut)
        return Change(
            result,
            "".join(sorted(char for char in lost if not char.isspace())),
            changed=True,
            words=len(uncut.split(" ")) - len(result.split(" ")) if uncut != result else 0,
        )


def has_stray_spaces(text: str) -> bool:
    """White space at an end, or several spaces in a row (but where lines are indented)."""
    return text != text.strip() or ("  " in text and "\n" not in text)


class TextCheck:
    """Looks at the texts that a data set's rows hold, before and after the text processor."""

    def __init__(self, patient: Patient) -> None:
        self._patient = patient
        self._processed = tuple(getattr(patient.dataset.spec, "process", ()))
        self._answers = _answer_columns(patient)
        self._places: dict[str, list[Place]] = {
            "text_cut": [], "text_gone": [], "stray_spaces": [], "decomposed": []
        }  # fmt: skip
        self._changed: list[Place] = []
        self._lost: Counter[str] = Counter()
        self._change = lru_cache(_REMEMBERED)(TextChanges(patient.text_processor).of)
        self._stray = lru_cache(_REMEMBERED)(has_stray_spaces)

    def look(self, number: int, row: Mapping[str, Any], sample: Sample) -> None:
        """Look at one row's texts."""
        cleaned = [text for column in self._processed for text in _texts(row, column, ask=True)]
        if self._patient.text_processor is not None:
            self._look_at_cleaned(number, cleaned)
        answers = [text for column in self._answers for text in _texts(row, column, ask=False)]
        for text in answers:
            if self._stray(text):
                self._note("stray_spaces", number, repr(_short(text)))
                break
        for text in (*cleaned, *answers):
            if not text.isascii() and not unicodedata.is_normalized("NFC", text):
                self._note("decomposed", number, repr(_short(text)))
                break

    def _look_at_cleaned(self, number: int, texts: list[str]) -> None:
        changes = [self._change(text) for text in texts]
        for text, change in zip(texts, changes, strict=True):
            if change.words:
                what = f"{some(change.words, 'word')} of {_short(text)!r}"
                self._note("text_cut", number, what)
            if not change.result.strip():
                self._note("text_gone", number, repr(_short(text)))
        altered = [(t, c) for t, c in zip(texts, changes, strict=True) if c.changed]
        if altered:
            text, change = altered[0]
            self._changed.append(
                self._patient.place(number, f"{_short(text)!r} becomes {_short(change.result)!r}")
            )
            self._lost.update(char for _, each in altered for char in each.lost)

    def _note(self, code: str, number: int, what: str) -> None:
        self._places[code].append(self._patient.place(number, what))

    def findings(self) -> list[Finding]:
        """What was found."""
        found = [
            Finding(
                code=code,
                severity=self._patient.severity("note" if code == "decomposed" else "warning"),
                dataset=self._patient.label,
                summary=f"{some(len(places), *_SAID[code][0])}.",
                remedy=_SAID[code][1],
                places=places,
                figures={"rows": len(places)},
            )
            for code, places in self._places.items()
            if places
        ]
        return found + self._stripped()

    def _stripped(self) -> list[Finding]:
        if not self._changed:
            return []
        lost = ", ".join(f"{char} ({count:,})" for char, count in self._lost.most_common(12))
        return [
            Finding(
                code="text_changed",
                severity="note",
                dataset=self._patient.label,
                summary=f"{some(len(self._changed), 'row')} change in more than case on the way "
                f"into the prompt{f'; taken out: {lost}' if lost else ''}.",
                remedy="That is how the text processor works; take the column out of "
                "build_info.process to keep its texts as they are.",
                places=self._changed,
                figures={"rows": len(self._changed), **dict(self._lost)},
            )
        ]


_SAID = {
    "text_cut": (
        ("text is cut by the text processor", "texts are cut by the text processor"),
        "Raise text_processor's max_words, shorten them, or take the column out of "
        "build_info.process.",
    ),
    "text_gone": (
        ("text is empty after the text processor", "texts are empty after the text processor"),
        "They hold nothing but punctuation: correct them or take them out.",
    ),
    "stray_spaces": (
        ("answer has stray spaces", "answers have stray spaces"),
        "Take them out: spaces at the ends are stripped in training, but the same answer counts "
        "as another one elsewhere; spaces inside are trained on.",
    ),
    "decomposed": (
        ("row has letters and marks as separate characters",
         "rows have letters and marks as separate characters"),
        "Training and evaluation compose them; write the file in Unicode form NFC where other "
        "tools read it too, for which the same word in another form is another word.",
    ),
}  # fmt: skip


def _answer_columns(patient: Patient) -> tuple[str, ...]:
    """Columns that answers are made of."""
    spec: Any = patient.dataset.spec
    patterns = [spec.answer]
    for by_value in (getattr(spec, "answers", None) or {}).values():
        patterns += by_value.values()
    columns = [column for pattern in patterns for column in pattern_columns(pattern)]
    return tuple(dict.fromkeys([*columns, "conversations"]))


def _texts(row: Mapping[str, Any], column: str, *, ask: bool) -> Iterator[str]:
    """The texts of a column: one, those of a list, or one side of a conversation."""
    if column == "instruction" and "conversations" in row:
        column = "conversations"
    value = row.get(column)
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        if column == "conversations":
            for turn in value[0 if ask else 1 :: 2]:
                if isinstance(turn, dict) and isinstance(turn.get("value"), str):
                    yield turn["value"]
            return
        yield from (item for item in value if isinstance(item, str))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"
