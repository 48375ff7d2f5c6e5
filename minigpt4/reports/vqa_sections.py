"""The report of questions and answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from minigpt4.common.text import normalize
from minigpt4.reports.gallery import Card, Verdict, composed, gallery_of, language_of, picture_of
from minigpt4.reports.page import Figure, Headline, Plots, Section, Table
from minigpt4.reports.shared import (
    asking_figures,
    baseline_sections,
    confidence_plot,
    confusion,
    group_plot,
    group_table,
    overlap_section,
    reliability_plot,
    share_figure,
    verdict_of,
)
from minigpt4.scoring import vqa
from minigpt4.scoring.answers import MEASURES
from minigpt4.scoring.kinds import get_kind
from minigpt4.scoring.prediction import Prediction

_MISTAKES = 12
_EMPTY = "(empty)"
_SHARES = {
    "accuracy": "accuracy",
    "soft_accuracy": "soft accuracy",
    "anls": "ANLS",
    "token_f1": "token F1",
}
_MEASURED = {
    "exact": "equal but for case and white space",
    "vqa": "each by how many people agree (VQA challenge)",
    "vizwiz": "each by how many people agree (VizWiz)",
    "anls": "each by the likeness of its letters (ANLS)",
}
_COLUMNS = {"accuracy": "accuracy", "correct": "right", "count": "questions"}
_OVERLAPS = {"": "not in training", "picture": "picture in training", "pair": "pair in training"}


def vqa_sections(
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    *,
    overlap: Mapping[str, Any] | None = None,
) -> list[Section]:
    """Accuracy, by type, frequency and source; mistakes; confidence; samples.

    Args:
        metrics: As scoring gave them.
        predictions: What was scored.
        overlap: What evaluation and training share.
    """
    # Where samples have measures of their own, each is judged by its own.
    metric = metrics["metric"] if metrics.get("metric") in MEASURES else None
    kind = get_kind("vqa", metric=metric)
    verdicts = [verdict_of(kind, each) for each in predictions]
    sections: list[Section] = [Headline(_figures(metrics))]
    sections += baseline_sections(metrics, _SHARES)
    sections += group_table(metrics, "by_type", "By question type", _COLUMNS)
    sections += group_table(
        metrics,
        "by_frequency",
        "By how often the answer occurs in training",
        _COLUMNS,
        note="Bands of the reference's count among the training answers.",
    )
    sections += group_table(metrics, "by_source", "By source", _COLUMNS)
    sections += overlap_section(metrics, overlap)
    drawn = [
        *group_plot(metrics, "by_type", "Accuracy by question type"),
        *group_plot(metrics, "by_frequency", "Accuracy by frequency in training"),
        *reliability_plot(metrics, "answers"),
        *confidence_plot(
            [each.probability for each in predictions], verdicts, "the answer's probability"
        ),
    ]
    if drawn:
        sections.append(Plots("Plots", drawn))
    sections += _mistakes(predictions, verdicts)
    sections.append(gallery_of(predictions, verdicts, partial(vqa_card, metric=metric)))
    return sections


def _figures(metrics: Mapping[str, Any]) -> list[Figure]:
    figures = share_figure(metrics, "accuracy", "Accuracy", _accuracy_note(metrics))
    figures += share_figure(
        metrics, "soft_accuracy", "Soft accuracy", "an answer counts as people agree with it"
    )
    figures += share_figure(metrics, "anls", "ANLS", "likeness of letters; below a half counts 0")
    figures += share_figure(
        metrics, "token_f1", "Token F1", "words that answer and reference share"
    )
    binary = metrics.get("binary") or {}
    figures += share_figure(
        binary, "auroc", "AUROC", f"of {binary.get('positive')} against {binary.get('negative')}"
    )
    figures += share_figure(binary, "f1", "F1", f"of {binary.get('positive')}")
    original = metrics.get("original_protocol") or {}
    figures += share_figure(
        original, "accuracy", "Original protocol", "lower-cased strings, compared as they are"
    )
    calibration = metrics.get("calibration") or {}
    figures += share_figure(
        calibration, "ece", "Calibration error", "how far probabilities are from being true"
    )
    for key, label, note in (
        ("unparsed", "Empty answers", "counted as misses"),
        ("unfinished", "Cut answers", "reached max_new_tokens"),
    ):
        figures.append(Figure(label, str(metrics.get(key, "–")), note))
    return [*figures, *asking_figures(metrics)]


def _accuracy_note(metrics: Mapping[str, Any]) -> str:
    names = str(metrics.get("metric") or "exact").split(" or ")
    measured = " or ".join(_MEASURED.get(name, name) for name in names)
    counted = "" if "correct" not in metrics else f"{metrics['correct']} of {metrics['count']}, "
    return f"{counted}{measured}"


def _mistakes(predictions: Sequence[Prediction], verdicts: Sequence[Verdict]) -> list[Section]:
    pairs = [
        (normalize(_commonest(vqa.references(each))), normalize(each.answer) or _EMPTY)
        for each in predictions
    ]
    wrong = Counter(
        pair for pair, verdict in zip(pairs, verdicts, strict=True) if verdict != "right"
    )
    if not wrong:
        return []
    rows = [[true, said, count] for (true, said), count in wrong.most_common(_MISTAKES)]
    language = language_of(
        [*(text for pair in pairs for text in pair), *map(_question, predictions)]
    )
    return [
        *confusion(
            pairs,
            "Confusion of answers",
            note="The answers that take part in most mistakes; each row shaded by its shares, "
            "right answers in another colour.",
            language=language,
        ),
        Table("Commonest mistakes", ["reference", "answer", "times"], rows, language=language),
    ]


def _question(prediction: Prediction) -> str:
    return composed(str(prediction.meta.get("question", prediction.question)))


def _commonest(references: Sequence[str]) -> str:
    return Counter(references).most_common(1)[0][0]


def vqa_card(
    prediction: Prediction, verdict: Verdict, order: int = 0, *, metric: str | None = None
) -> Card:
    """A question under its picture.

    Args:
        prediction: The answer.
        verdict: What it is worth.
        order: Its place in the data.
        metric: By which an answer may be right in part.
    """
    answers = Counter(composed(each) for each in vqa.references(prediction))
    reference = ", ".join(
        f"{name} ×{count}" if count > 1 else name for name, count in answers.most_common()
    )
    groups = {"type": vqa.type_name(prediction)}
    for name in ("source", "split"):
        if prediction.meta.get(name):
            groups[name] = str(prediction.meta[name])
    if "overlap" in prediction.meta:
        overlap = str(prediction.meta["overlap"])
        groups["training"] = _OVERLAPS.get(overlap, overlap)
    facts = {}
    share = vqa.share_right(prediction, metric=metric)
    if 0 < share < 1:
        facts["right"] = f"{share:.0%}"
    if not prediction.finished:
        facts["cut"] = "at the length limit"
    if prediction.tries:
        facts["asked again"] = f"{prediction.tries} times"
    return Card(
        picture=picture_of(prediction),
        question=_question(prediction),
        answer=composed(prediction.answer),
        reference=reference,
        verdict=verdict,
        groups=groups,
        confidence=prediction.probability,
        facts=facts,
        order=order,
    )
