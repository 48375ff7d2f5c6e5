"""The report of objects: classes and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.boxes import Box, px_to_percent
from minigpt4.reports import plots
from minigpt4.reports.detection_sections import size_ranges
from minigpt4.reports.gallery import Card, DrawnBox, Verdict, composed, gallery_of, picture_of
from minigpt4.reports.page import Figure, Headline, Note, Plot, Plots, Section
from minigpt4.reports.shared import (
    asking_figures,
    baseline_sections,
    confidence_plot,
    group_table,
    overlap_section,
    reliability_plot,
    share_figure,
    verdict_of,
)
from minigpt4.scoring.kinds import get_kind
from minigpt4.scoring.object_answers import answered, can_read, object_score, true_objects
from minigpt4.scoring.object_pictures import pictures_of
from minigpt4.scoring.objects import precision_curves
from minigpt4.scoring.prediction import Prediction

_RECALLS = [i / 100 for i in range(101)]
_CURVES = 6
"""Classes of a plot: those with most objects."""
_BASELINES = {"map": "mAP", "map_50": "mAP 50", "f1_50": "F1", "mean_iou": "mean IoU"}


def object_sections(
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    *,
    overlap: Mapping[str, Any] | None = None,
) -> list[Section]:
    """mAP, AP by class and size; curves; samples with their boxes.

    Args:
        metrics: As scoring gave them.
        predictions: What was scored.
        overlap: What evaluation and training share.
    """
    kind = get_kind("objects")
    verdicts = [verdict_of(kind, each) for each in predictions]
    sections: list[Section] = [Headline(_figures(metrics))]
    sections += baseline_sections(metrics, _BASELINES)
    sections += group_table(
        metrics,
        "by_class",
        "By class",
        {
            "ap": "AP",
            "ap_50": "AP 50",
            "ap_75": "AP 75",
            "recall": "recall",
            "precision": "precision",
            "count": "objects",
            "pictures": "pictures",
        },
        note="Recall and precision are of all boxes as answered, at IoU 0.50.",
        fewest=1,
    )
    sections += group_table(
        metrics,
        "by_size",
        "By size of the object",
        {"ap": "AP", "ap_50": "AP 50", "mean_iou": "mean IoU", "count": "objects"},
        note=f"By the share of the picture that a box covers: {size_ranges()}.",
        fewest=1,
    )
    sections += _other_names(metrics)
    sections += overlap_section(metrics, overlap)
    sections += _curves(metrics, predictions, verdicts)
    sections.append(gallery_of(predictions, verdicts, object_card))
    return sections


def _figures(metrics: Mapping[str, Any]) -> list[Figure]:
    empty = metrics.get("empty") or {}
    return [
        *share_figure(metrics, "map", "mAP", "IoU 0.50 to 0.95, over the classes of the data"),
        *share_figure(metrics, "map_50", "mAP 50", "boxes right from an IoU of 0.50"),
        *share_figure(metrics, "precision_50", "Precision", "of all boxes as answered, IoU 0.50"),
        *share_figure(metrics, "recall_50", "Recall", "of all objects, IoU 0.50"),
        *share_figure(metrics, "f1_50", "F1", "of both"),
        *share_figure(metrics, "mean_iou", "Mean IoU", "over objects; a miss counts 0"),
        *share_figure(
            metrics.get("class_agnostic") or {}, "map", "mAP of boxes", "whatever their class"
        ),
        *share_figure(
            metrics, "grid_ceiling", "At most", "mAP that boxes of whole hundredths can reach"
        ),
        *(
            [Figure("Empty pictures", f"{empty['said_empty']} of {empty['count']}", "called so")]
            if empty.get("count")
            else []
        ),
        Figure("Unread answers", str(metrics.get("unparsed", "–")), "find nothing"),
        *asking_figures(metrics),
    ]


def _other_names(metrics: Mapping[str, Any]) -> list[Section]:
    unknown = metrics.get("unknown") or {}
    if not unknown.get("count"):
        return []
    names = ", ".join(f"{name} ({count})" for name, count in unknown["names"].items())
    return [
        Note(
            "Classes that the data do not have",
            f"{unknown['count']} boxes were given other names: {names}. They lower precision, not "
            "the average precision of the data's classes.",
        )
    ]


def _curves(
    metrics: Mapping[str, Any], predictions: Sequence[Prediction], verdicts: Sequence[Verdict]
) -> list[Section]:
    score = metrics.get("score", "confidence")
    curves = precision_curves(predictions, score=score)
    if not curves:
        return [Note("Curves", "No picture holds an object, so there is nothing to draw.")]
    counts = {name: row["count"] for name, row in (metrics.get("by_class") or {}).items()}
    most = sorted(curves, key=lambda name: (-counts.get(name, 0), name))[:_CURVES]
    drawn = [
        Plot(
            plots.curves(
                {name: (_RECALLS, curves[name]) for name in most},
                x="recall", y="precision", x_range=(0, 1), y_range=(0, 1),
            ),
            "Precision and recall",
            "Boxes are right from an IoU of 0.50; the classes with most objects.",
        )
    ]  # fmt: skip
    drawn += reliability_plot(metrics, "boxes")
    sure = [_confidence(each) for each in predictions]
    drawn += confidence_plot(sure, verdicts, "score of the least sure box")
    return [Plots("Curves", drawn)]


def _confidence(prediction: Prediction) -> float | None:
    """The score of the least sure box; that of the answer where it has none."""
    scores = [
        object_score(prediction, place, each.phrase)
        for place, each in enumerate(answered(prediction))
    ]
    return min(scores) if scores else prediction.probability


def object_card(prediction: Prediction, verdict: Verdict, order: int = 0) -> Card:
    """A picture with its true and its answered boxes."""
    (picture,) = pictures_of([prediction], score="confidence")
    true = true_objects(prediction.meta)
    boxes = [DrawnBox(_grid(each.box), composed(each.name), true=True) for each in true]
    boxes += [DrawnBox(each.box, composed(each.name or "?"), true=False) for each in picture.found]
    said = composed(prediction.answer)
    readable = _readable([(each.name, each.box) for each in picture.found])
    overlaps = [picture.best_overlap(each) for each in true]
    facts = {"objects": f"{len(picture.found)} of {len(true)}"} if true else {}
    if overlaps:
        facts["mean IoU"] = f"{sum(overlaps) / len(overlaps):.2f}"
    if prediction.tries:
        facts["asked again"] = f"{prediction.tries} times"
    return Card(
        picture=picture_of(prediction),
        question=composed(prediction.question),
        answer=readable or said,
        reference=_readable([(each.name, _grid(each.box)) for each in true])
        or composed(prediction.reference),
        verdict=verdict,
        groups={"classes": ", ".join(sorted({composed(each.name) for each in true})) or "none"},
        confidence=_confidence(prediction) if can_read(prediction) else None,
        boxes=boxes,
        facts=facts,
        raw=said if readable else "",
        overlap=sum(overlaps) / len(overlaps) if overlaps else None,
        order=order,
    )


def _grid(box: Sequence[float]) -> Box:
    return px_to_percent(box, width=100, height=100)


def _readable(found: Sequence[tuple[str, Box]]) -> str:
    return "; ".join(
        f"{composed(name or '?')} [{' '.join(str(edge) for edge in box)}]" for name, box in found
    )
