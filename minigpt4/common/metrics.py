"""Metrics as plain functions on plain data; the libraries' numbers, our bookkeeping.

Shares lie between 0 and 1. A metric that the data does not define (no picture with that label, only
one class for a ROC curve) is None, never 0 or -1.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

XYXY = Sequence[float]
"""A box: x1, y1, x2, y2."""


@dataclass(frozen=True, slots=True)
class Detections:
    """The boxes of one picture, found or true.

    Attributes:
        boxes: xyxy boxes, all in one unit.
        labels: One class number a box.
        scores: One confidence a box; left empty for true boxes.
    """

    boxes: Sequence[XYXY] = ()
    labels: Sequence[int] = ()
    scores: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class LabelAP:
    """Average precision of one label, with its precision-recall curve.

    Attributes:
        ap: Mean over the thresholds 0.50, 0.55 ... 0.95 of IoU.
        ap_50: At IoU 0.50.
        ap_75: At IoU 0.75.
        precision_50: Interpolated precision at recall 0.00, 0.01 ... 1.00, at IoU 0.50.
    """

    ap: float
    ap_50: float
    ap_75: float
    precision_50: list[float] = field(repr=False)


@dataclass(frozen=True, slots=True)
class DetectionAP:
    """COCO's mean average precision; None where no true box has a label."""

    map: float | None
    map_50: float | None
    map_75: float | None
    per_label: dict[int, LabelAP]


@dataclass(frozen=True, slots=True)
class CocoResult:
    """What COCO's own evaluation gives; -1 wherever there is no true box.

    Attributes:
        labels: Labels of found and true boxes, in the order of axis K.
        precision: By IoU threshold, recall, label, area and most detections a picture:
            (10, 101, K, A, 3); areas are all, or all, small, medium, large; detections 1, 10, 100.
        recall: The same without the axis of recall: (10, K, A, 3).
    """

    labels: list[int]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]


def average_precision(predicted: Sequence[Detections], true: Sequence[Detections]) -> DetectionAP:
    """COCO mean average precision over pictures, every label that occurs in ``true`` counted once.

    Args:
        predicted: What was found in each picture, with scores; no boxes at all is a miss.
        true: What is there, picture by picture.
    Returns:
        The means over labels, and each label's own figures.
    Raises:
        ValueError: the two sequences differ in length.
    """
    result = coco_evaluate(predicted, true)
    per_label = {}
    for k, label in enumerate(result.labels):
        curve = result.precision[:, :, k, 0, -1]  # (10, 101): all areas, 100 detections
        if (curve > -1).all():
            per_label[label] = LabelAP(
                ap=float(curve.mean()),
                ap_50=float(curve[0].mean()),
                ap_75=float(curve[5].mean()),
                precision_50=curve[0].tolist(),
            )
    found = list(per_label.values())
    return DetectionAP(
        map=mean([each.ap for each in found]),
        map_50=mean([each.ap_50 for each in found]),
        map_75=mean([each.ap_75 for each in found]),
        per_label=per_label,
    )


def coco_evaluate(
    predicted: Sequence[Detections],
    true: Sequence[Detections],
    *,
    iou_thresholds: Sequence[float] | None = None,
    recall_thresholds: Sequence[float] | None = None,
    by_area: bool = False,
) -> CocoResult:
    """Run pycocotools on boxes in memory.

    Args:
        predicted: What was found in each picture, with scores.
        true: What is there, picture by picture.
        iou_thresholds: Ten overlaps from which a box is right; None for COCO's.
        recall_thresholds: 101 points at which precision is taken; None for COCO's.
        by_area: Also evaluate small, medium and large boxes by themselves.
    Raises:
        ValueError: the two sequences differ in length.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    if len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} pictures predicted, {len(true)} given")
    labels = sorted({label for each in (*predicted, *true) for label in each.labels})
    with contextlib.redirect_stdout(io.StringIO()):  # it prints as it goes
        gold, found = (_coco(COCO(), each, labels) for each in (true, predicted))
        evaluation = COCOeval(gold, found, iouType="bbox")
        if iou_thresholds is not None:
            evaluation.params.iouThrs = np.array(iou_thresholds)
        if recall_thresholds is not None:
            evaluation.params.recThrs = np.array(recall_thresholds)
        if not by_area:
            evaluation.params.areaRng = evaluation.params.areaRng[:1]
            evaluation.params.areaRngLbl = evaluation.params.areaRngLbl[:1]
        evaluation.evaluate()
        evaluation.accumulate()
    return CocoResult(labels, evaluation.eval["precision"], evaluation.eval["recall"])


def _coco(coco: Any, pictures: Sequence[Detections], labels: Sequence[int]) -> Any:
    """Fill a COCO index; ids begin at 1, since COCO's matching takes 0 for none."""
    annotations: list[dict[str, Any]] = []
    for image, each in enumerate(pictures):
        scores = each.scores or [1.0] * len(each.boxes)
        for (x1, y1, x2, y2), label, score in zip(each.boxes, each.labels, scores, strict=True):
            width, height = x2 - x1, y2 - y1
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image,
                    "category_id": label,
                    "bbox": [x1, y1, width, height],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": score,
                }
            )
    coco.dataset = {
        "images": [{"id": image} for image in range(len(pictures))],
        "annotations": annotations,
        "categories": [{"id": label} for label in labels],
    }
    coco.createIndex()
    return coco


def auroc(positive: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Area under the ROC curve; None unless both classes occur."""
    from sklearn.metrics import roc_auc_score

    if len(set(positive)) < 2:
        return None
    return float(roc_auc_score(positive, scores))


def roc_curve(
    positive: Sequence[bool], scores: Sequence[float]
) -> tuple[list[float], list[float]] | None:
    """False and true positive rates over all thresholds; None unless both classes occur."""
    from sklearn.metrics import roc_curve as curve

    if len(set(positive)) < 2:
        return None
    false_rate, true_rate, _ = curve(positive, scores)
    return false_rate.tolist(), true_rate.tolist()


def f1(positive: Sequence[bool], predicted: Sequence[bool]) -> float | None:
    """F1 of the positive class; None when no sample is positive."""
    from sklearn.metrics import f1_score

    if not any(positive):
        return None
    return float(f1_score(positive, predicted, zero_division=0.0))


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def accuracy_by(groups: Sequence[str], right: Sequence[bool]) -> dict[str, dict[str, Any]]:
    """Accuracy of each group, by the group's name, with its counts.

    Args:
        groups: The group of each sample.
        right: Whether each sample was answered rightly.
    Returns:
        ``{group: {"accuracy", "correct", "count"}}``, groups in sorted order.
    """
    counts: dict[str, list[int]] = {}
    for group, good in zip(groups, right, strict=True):
        tally = counts.setdefault(group, [0, 0])
        tally[0] += good
        tally[1] += 1
    return {
        group: {"accuracy": correct / count, "correct": correct, "count": count}
        for group, (correct, count) in sorted(counts.items())
    }


def percent(share: float | None) -> str:
    """``0.5935`` as ``59.35 %``."""
    return "–" if share is None else f"{share * 100:.2f} %"
