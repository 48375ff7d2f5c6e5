"""COCO's average precision, by pycocotools on boxes in memory.

What no true box defines is None, never 0 or -1, once it is summarized.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt4.common.metrics import mean

XYXY = Sequence[float]
"""A box: x1, y1, x2, y2."""
COCO_AREAS = ((0.0, 32.0**2), (32.0**2, 96.0**2), (96.0**2, 1e10))
"""COCO's small, medium and large boxes, in square pixels."""


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

    def unlabelled(self) -> Detections:
        """The same boxes, all of one label."""
        return Detections(self.boxes, [0] * len(self.boxes), self.scores)


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
class LabelMatches:
    """Which of one label's D detections in P pictures found a true box.

    Attributes:
        pictures: Place of each detection's picture, (D,), the surest detection first; of equal
            scores the earlier picture's.
        right: Whether a detection has a true box of its own, by IoU threshold: (10, D).
        true: How many true boxes each picture has, (P,).
    """

    pictures: NDArray[np.int64]
    right: NDArray[np.bool_]
    true: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class CocoResult:
    """What COCO's own evaluation gives; -1 wherever there is no true box.

    Attributes:
        labels: Labels of found and true boxes, in the order of axis K.
        precision: By IoU threshold, recall, label, area and most detections a picture:
            (10, 101, K, A, 3); the first area is all; detections are 1, 10, 100.
        recall: The same without the axis of recall: (10, K, A, 3).
        matches: Of each label, over boxes of every area.
    """

    labels: list[int]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    matches: list[LabelMatches] = field(repr=False)

    def summarize(self, area: int = 0) -> DetectionAP:
        """Average precision of every label that has true boxes of an area, and the means."""
        per_label = {}
        for k, label in enumerate(self.labels):
            curve = self.precision[:, :, k, area, -1]  # (10, 101): 100 detections a picture
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
    return coco_evaluate(predicted, true).summarize()


def coco_evaluate(
    predicted: Sequence[Detections],
    true: Sequence[Detections],
    *,
    iou_thresholds: Sequence[float] | None = None,
    recall_thresholds: Sequence[float] | None = None,
    areas: Sequence[tuple[float, float]] = (),
) -> CocoResult:
    """Run pycocotools on boxes in memory.

    Args:
        predicted: What was found in each picture, with scores.
        true: What is there, picture by picture.
        iou_thresholds: Ten overlaps from which a box is right; None for COCO's.
        recall_thresholds: 101 points at which precision is taken; None for COCO's.
        areas: Also evaluate boxes of these areas (least, most) by themselves, such as
            ``COCO_AREAS``.
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
        evaluation.params.areaRng = [(0.0, 1e10), *areas]
        evaluation.params.areaRngLbl = [str(area) for area in evaluation.params.areaRng]
        evaluation.evaluate()
        evaluation.accumulate()
    pictures, per_label = len(true), len(true) * (1 + len(areas))
    return CocoResult(
        labels,
        evaluation.eval["precision"],
        evaluation.eval["recall"],
        [
            _matches(evaluation.evalImgs[k * per_label : k * per_label + pictures])
            for k in range(len(labels))
        ],
    )


def _matches(pictures: Sequence[Mapping[str, Any] | None]) -> LabelMatches:
    """What COCO's matching says of one label; None where a picture has nothing of it."""
    places, scores, right = [], [], [np.zeros((10, 0), bool)]
    true = np.zeros(len(pictures), np.int64)
    for place, each in enumerate(pictures):
        if each is None:
            continue
        true[place] = len(each["gtIds"])
        places += [place] * len(each["dtIds"])
        scores += each["dtScores"]
        right.append(each["dtMatches"] > 0)  # (10, detections)
    order = np.argsort(-np.array(scores, float), kind="mergesort")  # as COCO sorts
    return LabelMatches(
        np.array(places, np.int64)[order], np.concatenate(right, axis=1)[:, order], true
    )


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
