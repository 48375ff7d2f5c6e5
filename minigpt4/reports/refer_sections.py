"""The report of phrases and the boxes they refer to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.reports import plots
from minigpt4.reports.gallery import Card, DrawnBox, Verdict, composed, gallery_of, picture_of
from minigpt4.reports.page import Figure, Headline, Plot, Plots, Section
from minigpt4.reports.shared import (
    asking_figures,
    baseline_sections,
    confidence_plot,
    group_plot,
    group_table,
    overlap_section,
    reliability_plot,
    share_figure,
    verdict_of,
)
from minigpt4.scoring import refer
from minigpt4.scoring.kinds import get_kind
from minigpt4.scoring.prediction import Prediction

_SHARES = {"accuracy": "accuracy", "accuracy_75": "at IoU 0.75", "mean_iou": "mean IoU"}
_COLUMNS = {**_SHARES, "correct": "right", "count": "phrases"}
_GROUPS = {"split": "By split", "type": "By type", "source": "By source"}


def refer_sections(
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    *,
    overlap: Mapping[str, Any] | None = None,
) -> list[Section]:
    """Accuracy at IoU 0.5, by split; overlaps; samples with their boxes.

    Args:
        metrics: As scoring gave them.
        predictions: What was scored.
        overlap: What evaluation and training share.
    """
    kind = get_kind("refer")
    verdicts = [verdict_of(kind, each) for each in predictions]
    sections: list[Section] = [Headline(_figures(metrics))]
    sections += baseline_sections(metrics, _SHARES)
    for name, title in _GROUPS.items():
        sections += group_table(metrics, f"by_{name}", title, _COLUMNS)
    sections += overlap_section(metrics, overlap)
    drawn = [
        *_overlaps([refer.overlap(each) for each in predictions]),
        *group_plot(metrics, "by_split", "Accuracy by split"),
        *reliability_plot(metrics, "answers"),
        *confidence_plot(
            [each.probability for each in predictions], verdicts, "the answer's probability"
        ),
    ]
    if drawn:
        sections.append(Plots("Plots", drawn))
    sections.append(gallery_of(predictions, verdicts, refer_card))
    return sections


def _figures(metrics: Mapping[str, Any]) -> list[Figure]:
    note = f"{metrics['correct']} of {metrics['count']} phrases" if "correct" in metrics else ""
    return [
        *share_figure(metrics, "accuracy", "Accuracy at IoU 0.5", note),
        *share_figure(metrics, "accuracy_75", "Accuracy at IoU 0.75"),
        *share_figure(metrics, "mean_iou", "Mean IoU", "an answer without a box counts 0"),
        *share_figure(
            metrics.get("original_protocol") or {},
            "accuracy",
            "Original protocol",
            "a pixel added to each side; rows of one key share a box",
        ),
        Figure("Without a box", str(metrics.get("unparsed", "–")), "counted as misses"),
        *asking_figures(metrics),
    ]


def _overlaps(overlaps: Sequence[float]) -> list[Plot]:
    if not overlaps:
        return []
    thresholds = [i / 100 for i in range(101)]
    reached = [sum(each >= least for each in overlaps) / len(overlaps) for least in thresholds]
    drawn = plots.curves(
        {"phrases": (thresholds, reached)},
        x="IoU of at least", y="share of phrases", x_range=(0, 1), y_range=(0, 1),
    )  # fmt: skip
    return [Plot(drawn, "How exact the boxes are", "At 0.5 stands the accuracy.")]


def refer_card(prediction: Prediction, verdict: Verdict, order: int = 0) -> Card:
    """A phrase under its picture, with the true and the answered box."""
    meta = prediction.meta
    answered = refer.answered_box(prediction.answer)
    true = refer.true_boxes(meta)
    boxes = [DrawnBox(box, "true", true=True) for box in true]
    raw = said = composed(prediction.answer)
    if answered is not None:
        boxes.append(DrawnBox(answered, "answer", true=False))
        said = " ".join(str(edge) for edge in answered)
    overlap = refer.overlap(prediction)
    phrase = meta.get("phrase") or meta.get("sentence") or prediction.question
    return Card(
        picture=picture_of(prediction),
        question=composed(str(phrase)),
        answer=said,
        reference="; ".join(" ".join(str(edge) for edge in box) for box in true),
        verdict=verdict,
        groups={name: str(meta[name]) for name in _GROUPS if meta.get(name)},
        confidence=prediction.probability,
        boxes=boxes,
        facts={"IoU": f"{overlap:.2f}"},
        raw=raw if raw != said else "",
        overlap=overlap,
        order=order,
    )
