"""How an entry's answers are found: ``evaluation_datasets.<name>.decoding``."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.grounding import boxes_of
from minigpt4.models.generation import GenerationOptions

if TYPE_CHECKING:
    from minigpt4.datasets.schema import Sample
    from minigpt4.models.constraints import Constraint
    from minigpt4.tasks.eval_setup import EvalData

FREE, GRAMMAR, ANSWERS, RANK = "free", "grammar", "answers", "rank"
_KIND = {GRAMMAR: "detection", ANSWERS: "vqa", RANK: "vqa"}
"""What each way is for; ``free`` is for everything."""
_LONG = 64
"""Tokens from which on answers may differ so much in length that freed places are worth filling."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerPlan:
    """How answers are found.

    Attributes:
        search: How tokens are searched.
        mode: ``free``, ``grammar``, ``answers`` or ``rank``.
        constraint: What answers must be, for ``grammar`` and ``answers``.
        candidates: What ``rank`` chooses from; None for each sample's own ``choices``.
    """

    search: GenerationOptions
    mode: str = FREE
    constraint: Constraint | None = None
    candidates: Sequence[str] | None = None

    def describe(self) -> dict[str, Any]:
        """What answers depend on, in plain values."""
        described: dict[str, Any] = {"mode": self.mode, **dataclasses.asdict(self.search)}
        if self.constraint is not None:
            described["constraint"] = self.constraint.describe()
        if self.candidates is not None:
            described["candidates"] = list(self.candidates)
        return described

    @property
    def refills(self) -> bool:
        """Whether prompts should take the places of answered ones before a batch is done."""
        is_single = self.search.num_beams == 1
        return self.mode == FREE and is_single and self.search.max_new_tokens >= _LONG

    def choices(self, meta: Mapping[str, Any]) -> list[str]:
        """The candidates of a sample that is ranked."""
        return list(meta["choices"] if self.candidates is None else self.candidates)


def plan_answers(data: EvalData, samples: Sequence[Sample]) -> AnswerPlan:
    """The plan of an entry.

    Args:
        data: The opened entry.
        samples: Its samples, without pictures.
    Raises:
        ConfigError: The way does not suit the kind, or has nothing to choose from.
        DataError: The file of answers is missing or empty.
    """
    mode = data.settings.decoding
    search = GenerationOptions(max_new_tokens=data.settings.max_new_tokens)
    if mode == FREE:
        return AnswerPlan(search=search)
    if data.kind != _KIND[mode]:
        raise ConfigError(
            f"evaluation_datasets.{data.dataset.name}.decoding is {mode}, which is for kind "
            f"{_KIND[mode]}, but {data.name} is of kind {data.kind}: set it to free."
        )
    if mode == GRAMMAR:
        return AnswerPlan(search=search, mode=mode, constraint=_grammar(data, samples))
    if mode == ANSWERS:
        from minigpt4.models.constraints import AnswerSet

        return AnswerPlan(search=search, mode=mode, constraint=AnswerSet(_closed_set(data)))
    without = [each.id for each in samples if not each.meta.get("choices")]
    own = not without and data.settings.answers_file is None
    return AnswerPlan(search=search, mode=mode, candidates=None if own else _closed_set(data))


def _grammar(data: EvalData, samples: Sequence[Sample]) -> Constraint:
    """Answers about the objects of the data, with as many boxes as training answers have."""
    from minigpt4.models.constraints import DefectGrammar

    classes = sorted({str(each.meta["class"]) for each in samples if each.meta.get("class")})
    boxes = max((len(boxes_of(each.meta)) for each in _training(data)), default=1)
    return DefectGrammar(classes or None, max_boxes=max(boxes, 1))


def _closed_set(data: EvalData) -> list[str]:
    """The answers that may be given: those of a file, else those of training."""
    where = f"evaluation_datasets.{data.dataset.name}"
    if data.settings.answers_file is None:
        answers = [each.turns[-1].answer for each in _training(data)]
        if not answers:
            raise ConfigError(
                f"{where}.decoding is {data.settings.decoding}, but there is nothing to choose "
                f"from: set {where}.answers_file (one answer a line) or train_file_path"
                + (", or give each sample its choices." if data.settings.decoding == RANK else ".")
            )
        return list(dict.fromkeys(answers))
    path = Path(data.settings.answers_file)
    if not path.is_file():
        raise DataError(f"There is no file of answers {path} ({where}.answers_file).")
    lines = unicodedata.normalize("NFC", path.read_text(encoding="utf-8")).splitlines()
    answers = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    if not answers:
        raise DataError(f"{path} ({where}.answers_file) holds no answer.")
    return answers


def _training(data: EvalData) -> Sequence[Sample]:
    from minigpt4.tasks.overlap import training_samples

    found = training_samples(data.dataset, data.settings.train_file_path)
    return found[1] if found is not None else ()
