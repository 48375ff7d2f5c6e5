"""One pass over a data set: every sample as a few numbers, so that a million of them stay light."""

from __future__ import annotations

import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from minigpt4.common.boxes import parse_boxes
from minigpt4.common.text import normalize
from minigpt4.datasets.schema import CONNECT_SYM, Sample
from minigpt4.doctor.findings import Finding
from minigpt4.doctor.patients import Patient

NO_CODE = -1


class RowCheck(Protocol):
    """What looks at every row as it comes by."""

    def look(self, number: int, row: Mapping[str, Any], sample: Sample) -> None:
        """Look at one sample and the row that it was made of."""

    def findings(self) -> list[Finding]:
        """What was found, after the last row."""


class Codes:
    """Numbers for texts; equal texts have equal numbers."""

    def __init__(self) -> None:
        self._codes: dict[str, int] = {}

    def of(self, text: str) -> int:
        """The number of a text, a new one where it has none."""
        return self._codes.setdefault(text, len(self._codes))

    def texts(self) -> list[str]:
        """All texts; a number is a place in this list."""
        return list(self._codes)

    def __len__(self) -> int:
        return len(self._codes)


@dataclass
class Vocabulary:
    """Codes that all data sets of an examination share, so that they can be compared."""

    pictures: Codes = field(default_factory=Codes)
    questions: Codes = field(default_factory=Codes)
    answers: Codes = field(default_factory=Codes)
    labels: Codes = field(default_factory=Codes)


@dataclass(kw_only=True)
class Facts:
    """The samples of a data set as columns, each of shape (samples,).

    Attributes:
        numbers: Each sample's number in its data set, for ``Patient.place``.
        pictures: Code of its picture's name; ``NO_CODE`` without one.
        questions: Code of all its instructions, in the wording of evaluation.
        answers: Code of all its answers.
        labels: Code of its answer without boxes; ``NO_CODE`` where that is nothing.
        groups: How many samples (of objects: boxes) there are of each ``class`` and ``type``.
        states: How many there are of each class and state (defective or not).
        unusable: Rows that cannot be made a sample, each with the reason.
    """

    numbers: NDArray[np.int64]
    pictures: NDArray[np.int32]
    questions: NDArray[np.int32]
    answers: NDArray[np.int32]
    labels: NDArray[np.int32]
    groups: Mapping[str, Counter[str]]
    states: Counter[tuple[str, bool]]
    unusable: Sequence[tuple[int, str]]

    def __len__(self) -> int:
        return len(self.numbers)


def gather(patient: Patient, vocabulary: Vocabulary, checks: Sequence[RowCheck]) -> Facts:
    """Go over all samples once, showing each to the checks."""
    numbers = array.array("q")
    columns = [array.array("i") for _ in range(4)]
    pictures, questions, answers, labels = columns
    groups: dict[str, Counter[str]] = {"class": Counter(), "type": Counter()}
    states: Counter[tuple[str, bool]] = Counter()
    unusable: list[tuple[int, str]] = []
    missing = set(patient.faults.missing)
    for number, row, sample in patient.walk():
        if isinstance(sample, Exception):
            # What reads a missing picture's size fails with it, which is said elsewhere.
            if not missing:
                unusable.append((number, _reason(sample)))
            continue
        numbers.append(number)
        pictures.append(vocabulary.pictures.of(sample.picture) if sample.picture else NO_CODE)
        questions.append(vocabulary.questions.of(_normal(t.instruction for t in sample.turns)))
        answer = _normal(turn.answer for turn in sample.turns)
        answers.append(vocabulary.answers.of(answer))
        label = "" if patient.names_objects else label_of(answer)
        labels.append(vocabulary.labels.of(label) if label else NO_CODE)
        for name, counter in groups.items():
            if (value := row.get(name)) is not None and isinstance(value, str | int):
                counter[str(value)] += 1
        if patient.names_objects:
            groups["class"].update(map(str, row.get("classes") or ()))
        if isinstance(state := sample.meta.get("is_broken"), bool):
            states[str(sample.meta.get("class", "")), state] += 1
        for check in checks:
            check.look(number, row, sample)
    return Facts(
        numbers=np.array(numbers, dtype=np.int64),
        pictures=np.array(pictures, dtype=np.int32),
        questions=np.array(questions, dtype=np.int32),
        answers=np.array(answers, dtype=np.int32),
        labels=np.array(labels, dtype=np.int32),
        groups=groups,
        states=states,
        unusable=unusable,
    )


def label_of(answer: str) -> str:
    """An answer without its boxes: ``bottle-defect``; empty where boxes are all it holds."""
    if "<" not in answer or "{" not in answer:
        return answer
    return " ".join(each.phrase for each in parse_boxes(answer) if each.phrase)


def _normal(texts: Any) -> str:
    return CONNECT_SYM.join(map(normalize, texts))


def _reason(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no value for {error.args[0]!r}" if error.args else "a value is missing"
    return str(error) or type(error).__name__
