"""Question answering: answers to accuracy, by the strict and by the original's protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.metrics import accuracy_by, mean, percent
from minigpt4.common.text import normalize
from minigpt4.scoring.prediction import Prediction

TYPE_NAMES = {"0": "object", "1": "number", "2": "colour", "3": "place"}
"""ViVQA's question types."""


def is_right(prediction: Prediction) -> bool:
    """Whether the answer equals the reference but for Unicode form, case and white space."""
    return normalize(prediction.answer) == normalize(str(prediction.meta["answer"]))


def score_vqa(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """All metrics of an evaluation; an empty answer is a miss.

    Returns:
        Nested shares (0 to 1) and counts: ``accuracy``, ``correct``, ``count``, ``unparsed`` (empty
        answers), ``unfinished`` (cut at the length limit), ``by_type``, ``by_source`` when the data
        names sources, and ``original_protocol``.
    """
    right = [is_right(each) for each in predictions]
    metrics: dict[str, Any] = {
        "accuracy": mean(right),
        "correct": sum(right),
        "count": len(predictions),
        "unparsed": sum(not each.answer.strip() for each in predictions),
        "unfinished": sum(not each.finished for each in predictions),
        "by_type": accuracy_by([type_name(each) for each in predictions], right),
    }
    sources = [str(each.meta.get("source") or "") for each in predictions]
    if any(sources):
        metrics["by_source"] = accuracy_by(sources, right)
    metrics["original_protocol"] = {"accuracy": mean([_original(each) for each in predictions])}
    return metrics


def type_name(prediction: Prediction) -> str:
    """The question's type in words; types other than ViVQA's keep their own name."""
    kind = str(prediction.meta.get("type", "")).strip()
    return TYPE_NAMES.get(kind, kind or "other")


def _original(prediction: Prediction) -> bool:
    """The original's comparison: the raw strings in lower case, nothing else made equal."""
    return prediction.answer.lower() == str(prediction.meta["answer"]).lower()


def answers_json(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """``vivqa.json``: the original's ``pred`` and ``gt`` (each sample's own), and the question."""
    return [
        {
            "pred": each.answer.lower(),
            "gt": each.meta["answer"],
            "correct": is_right(each),
            "question": each.meta.get("question", each.question),
            "type": each.meta.get("type"),
            "img_id": each.meta.get("img_id"),
            "id": each.id,
        }
        for each in predictions
    ]


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as lines of text."""
    by_type = ", ".join(
        f"{name} {percent(each['accuracy'])} ({each['correct']}/{each['count']})"
        for name, each in metrics["by_type"].items()
    )
    return [
        f"Accuracy {percent(metrics['accuracy'])} ({metrics['correct']} of {metrics['count']}; "
        f"{metrics['unparsed']} empty and {metrics['unfinished']} cut answers among them)",
        f"By question type: {by_type}",
        "By the original's protocol (lower-cased strings, compared as they are): "
        f"{percent(metrics['original_protocol']['accuracy'])}",
    ]
