"""What one gets without looking: constant answers, scored as a model's are.

A model is worth what it adds to these. They know the training answers, the question, and for
defects the kind of object, but no picture.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minigpt4.common.boxes import WHOLE, Box, labelled
from minigpt4.common.text import normalize
from minigpt4.datasets.overlap import answer_of
from minigpt4.scoring.defect_answers import (
    DEFECT,
    LABELS,
    NOT_DEFECT,
    is_broken,
    true_boxes,
)
from minigpt4.scoring.kinds import Kind, ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.overlap import training_samples

if TYPE_CHECKING:
    from minigpt4.datasets.schema import Sample
    from minigpt4.tasks.eval_setup import EvalData

Answerer = Callable[[Prediction], str]
"""Gives an answer; it may look at question and meta, not at the true answer."""

HEADLINES = {
    "vqa": ("accuracy", "soft_accuracy", "anls", "token_f1"),
    "objects": ("map", "map_50", "precision_50", "recall_50", "f1_50", "mean_iou"),
    "detection": ("map", "map_50", "ap_defect", "ap_not_defect", "auroc", "f1", "mean_iou_defect"),
}
"""Figures that a baseline is shown by; other kinds have their primary one."""


def score_baselines(
    data: EvalData, predictions: Sequence[Prediction], *, options: ScoreOptions | None = None
) -> dict[str, dict[str, Any]]:
    """The blind baselines of an evaluation that need no model.

    Args:
        data: The opened entry; its training annotations give the answers, see ``overlap``.
        predictions: What the model answered; only the samples themselves are used.
        options: As the model is scored.
    Returns:
        By name, see ``condense``; empty where there are no training annotations.
    Raises:
        DataError: The training annotations that the entry names cannot be read.
    """
    training = training_samples(data.dataset, data.settings.train_file_path)
    if training is None or not training[1]:
        return {}
    options = options or ScoreOptions()
    kind = get_kind(data.kind)
    make = _detection if data.kind == "detection" else _answers
    return {
        name: condense(kind, kind.score(answered(predictions, answer), options), description)
        for name, (description, answer) in make(training[1]).items()
    }


def condense(kind: Kind, metrics: Mapping[str, Any], description: str) -> dict[str, Any]:
    """What is shown of a baseline.

    Returns:
        ``description``, the kind's headline figures that are defined, their ``intervals`` and the
        ``count`` of samples.
    """
    names = HEADLINES.get(kind.name, (kind.primary,))
    shown = {name: metrics[name] for name in names if metrics.get(name) is not None}
    intervals = metrics.get("intervals") or {}
    return {
        "description": description,
        **shown,
        "intervals": {name: intervals[name] for name in shown if name in intervals},
        "count": metrics.get("count"),
    }


def answered(predictions: Sequence[Prediction], answer: Answerer) -> list[Prediction]:
    """The same samples with other answers, of probability 1."""
    return [
        Prediction(
            id=each.id,
            answer=answer(each),
            finished=True,
            probability=1.0,
            question=each.question,
            reference=each.reference,
            image_path=each.image_path,
            picture=each.picture,
            meta=each.meta,
        )
        for each in predictions
    ]


def _answers(training: Sequence[Sample]) -> dict[str, tuple[str, Answerer]]:
    """Commonest answers: of all, of the question's type, of its very wording."""
    overall = _commonest(answer_of(each) for each in training)
    found: dict[str, tuple[str, Answerer]] = {
        "commonest_answer": (f"always the commonest training answer ({overall})", lambda _: overall)
    }
    by_type = _by(training, lambda each: _type(each.meta))
    if len(by_type) > 1:

        def of_type(each: Prediction) -> str:
            return by_type.get(_type(each.meta), overall)

        found["commonest_by_type"] = (
            "the commonest training answer to questions of its type", of_type
        )  # fmt: skip
    by_question = _by(training, lambda each: normalize(each.turns[0].instruction))
    if len(by_question) > 1:

        def of_question(each: Prediction) -> str:
            known = by_question.get(normalize(each.question))
            return by_type.get(_type(each.meta), overall) if known is None else known

        found["commonest_by_question"] = (
            "the commonest training answer to the same question, or else to its type", of_question
        )  # fmt: skip
    return found


def _by(training: Iterable[Sample], group: Callable[[Sample], str]) -> dict[str, str]:
    members: dict[str, list[str]] = defaultdict(list)
    for each in training:
        members[group(each)].append(answer_of(each))
    return {name: _commonest(answers) for name, answers in members.items()}


def _commonest(answers: Iterable[str]) -> str:
    """Of equally common ones the first in the alphabet, whatever the order of the file."""
    counts = Counter(answers)
    return min(counts, key=lambda each: (-counts[each], each))


def _type(meta: Mapping[str, Any]) -> str:
    return str(meta.get("type", "")).strip()


def _detection(training: Sequence[Sample]) -> dict[str, tuple[str, Answerer]]:
    """Commonest label and box, and where the defects of an object's kind usually are."""
    metas = [each.meta for each in training]
    label, box = commonest_label_and_box(metas)
    major = _majority(metas)
    found: dict[str, tuple[str, Answerer]] = {
        "commonest_answer": (
            f"always the commonest training label and box ({LABELS[label]})",
            lambda each: _said(each.meta, label, box),
        )
    }
    if (major, WHOLE) != (label, box):
        found["whole_picture"] = (
            f"always the commonest label ({LABELS[major]}) and the whole picture",
            lambda each: _said(each.meta, major, WHOLE),
        )
    by_class: dict[str, list[Box]] = defaultdict(list)
    for meta in metas:
        if is_broken(meta):
            by_class[_class(meta)] += true_boxes(meta)
    everywhere = [box for boxes in by_class.values() for box in boxes]
    if not everywhere:
        return found
    for name, description, choose in (
        ("commonest_defect_box", "always a defect, in the commonest box of its object", _mode),
        ("mean_defect_box", "always a defect, in the mean box of its object's defects", _mean),
    ):
        places = {each: choose(boxes) for each, boxes in by_class.items()}
        other = choose(everywhere)

        def answer(each: Prediction, places: Any = places, other: Box = other) -> str:
            return _said(each.meta, DEFECT, places.get(_class(each.meta), other))

        found[name] = (description, answer)
    return found


def commonest_label_and_box(metas: Iterable[Mapping[str, Any]]) -> tuple[int, Box]:
    """The commonest answer of training annotations: a label and its first box."""
    counts = Counter(
        (DEFECT if is_broken(meta) else NOT_DEFECT, true_boxes(meta)[0]) for meta in metas
    )
    return min(counts, key=lambda each: (-counts[each], each))


def constant_detection(predictions: Sequence[Prediction], label: int, box: Box) -> list[Prediction]:
    """The same label and box for every picture."""
    return answered(predictions, lambda each: _said(each.meta, label, box))


def _majority(metas: Sequence[Mapping[str, Any]]) -> int:
    broken = sum(is_broken(meta) for meta in metas)
    return DEFECT if 2 * broken > len(metas) else NOT_DEFECT


def _said(meta: Mapping[str, Any], label: int, box: Box) -> str:
    return labelled(f"{meta['class']}-{LABELS[label]}", [box])


def _class(meta: Mapping[str, Any]) -> str:
    return normalize(str(meta["class"]))


def _mode(boxes: Sequence[Box]) -> Box:
    counts = Counter(boxes)
    return min(counts, key=lambda box: (-counts[box], box))


def _mean(boxes: Sequence[Box]) -> Box:
    x1, y1, x2, y2 = (int(edge) for edge in np.rint(np.mean(boxes, axis=0)))
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)
