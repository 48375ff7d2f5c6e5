"""The original's scoring of MVTec AD, kept so that published numbers can be compared.

Every box has the score 1, pictures of equal file name collide, and pictures whose answer cannot be
read are left out of the ground truth, which raises the mAP.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt4.scoring.coco import COCO_AREAS, CocoResult, Detections, coco_evaluate
from minigpt4.scoring.defect_answers import DEFECT, LABELS, NOT_DEFECT, is_broken, true_boxes
from minigpt4.scoring.prediction import Prediction

_ANSWER = re.compile(r"<p>(.*?)</p>\{" + r"<(\d{1,3})>" * 4 + r"\}")


def original_protocol(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The mAP that the original's script would report for these answers, and what it left out."""
    items = [each.meta for each in predictions]
    answers: dict[str, list[str]] = defaultdict(list)
    for item, each in zip(items, predictions, strict=True):
        text = each.answer.replace("<unk>", "").replace(" ", "").strip()
        if _ANSWER.match(text):
            answers[original_id(item)].append(text)
    result = original_map(items, answers)
    return {
        "map": _defined(result["map"]),
        "map_50": _defined(result["map_50"]),
        "map_75": _defined(result["map_75"]),
        "left_out": sum(original_id(item) not in answers for item in items),
        "colliding": len(items) - len({original_id(item) for item in items}),
    }


def original_id(item: Mapping[str, Any]) -> str:
    """The key the original gives a picture; not unique."""
    tag = "broken" if is_broken(item) else "good"
    return f"{item['class']}.{tag}.{PurePosixPath(item['image_path']).name.split('.')[0]}"


def original_map(
    items: Sequence[Mapping[str, Any]], answers: Mapping[str, Sequence[str]]
) -> dict[str, Any]:
    """The original's scoring, with everything it does wrong.

    Args:
        items: Entries of ``val_data.json``.
        answers: The answers under each picture's ``original_id``.
    Returns:
        What torchmetrics' ``MeanAveragePrecision`` returns, as plain numbers and lists; -1 for what
        is not defined.
    """
    predicted, true = [], []
    for item in items:
        outputs = answers.get(original_id(item))
        if outputs is None:
            continue
        boxes = true_boxes(item)[:1]  # the original knows one box a picture
        true.append(Detections(boxes, [DEFECT if is_broken(item) else NOT_DEFECT]))
        matches = [match for match in map(_ANSWER.search, outputs) if match]
        predicted.append(
            Detections(
                [[int(edge) for edge in match.groups()[1:]] for match in matches],
                [_original_label(match.group(1)) for match in matches],
                [1.0] * len(matches),
            )
        )
    return torchmetrics_map(predicted, true)


def torchmetrics_map(predicted: Sequence[Detections], true: Sequence[Detections]) -> dict[str, Any]:
    """What torchmetrics' ``MeanAveragePrecision`` with ``class_metrics`` gives.

    It differs from COCO's own by single precision, which shows where an overlap or a recall falls
    on a threshold exactly, as it does for whole-numbered boxes.
    """
    import torch

    result = coco_evaluate(
        predicted,
        true,
        iou_thresholds=torch.linspace(0.5, 0.95, 10).tolist(),
        recall_thresholds=torch.linspace(0.0, 1.0, 101).tolist(),
        areas=COCO_AREAS,
    )
    return _as_torchmetrics(result)


def _as_torchmetrics(result: CocoResult) -> dict[str, Any]:
    """COCO's summary under torchmetrics' names, in single precision."""

    def single(values: NDArray[np.float64]) -> float:
        defined = values[values > -1]
        return float(np.float32(defined.mean())) if defined.size else -1.0

    precision, recall = result.precision, result.recall
    summary: dict[str, Any] = {
        "map": single(precision[:, :, :, 0, 2]),
        "map_50": single(precision[0, :, :, 0, 2]),
        "map_75": single(precision[5, :, :, 0, 2]),
    }
    for area, name in enumerate(("small", "medium", "large"), start=1):
        summary[f"map_{name}"] = single(precision[:, :, :, area, 2])
        summary[f"mar_{name}"] = single(recall[:, :, area, 2])
    for limit, count in enumerate((1, 10, 100)):
        summary[f"mar_{count}"] = single(recall[:, :, 0, limit])
    numbers = range(len(result.labels))
    summary["map_per_class"] = [single(precision[:, :, k, 0, 2]) for k in numbers]
    summary["mar_100_per_class"] = [single(recall[:, k, 0, 2]) for k in numbers]
    summary["classes"] = list(result.labels)
    return summary


def _original_label(phrase: str) -> int:
    if LABELS[NOT_DEFECT] in phrase:
        return NOT_DEFECT
    return DEFECT if LABELS[DEFECT] in phrase else -1


def _defined(value: float) -> float | None:
    return None if value < 0 else float(value)
