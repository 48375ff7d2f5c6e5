"""Detection's figures of parts of the data: by object, kind of defect and size of box."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from minigpt4.common.boxes import GRID
from minigpt4.common.metrics import auroc, mean
from minigpt4.scoring.coco import CocoResult, DetectionAP, Detections, average_precision
from minigpt4.scoring.defect_answers import DEFECT, class_key
from minigpt4.scoring.defect_pictures import DefectPicture

SIZES = {"small": (0.0, 0.01), "medium": (0.01, 0.1), "large": (0.1, 1.0)}
"""Share of the picture's area that a box covers: at least, and less than (or all of it). COCO's
limits of 32 and 96 pixels squared mean nothing for boxes that are shares of the picture."""
# Areas of boxes are whole numbers of grid cells, so half a cell parts the sizes; COCO's evaluation
# would count a box on the limit in both.
SIZE_AREAS = [(low * GRID**2 - 0.5, high * GRID**2 - 0.5) for low, high in SIZES.values()]
SIZE_AREAS[-1] = (SIZE_AREAS[-1][0], float(GRID**2))


def ap_of(pictures: Sequence[DefectPicture]) -> DetectionAP:
    """Average precision on some pictures, by the labels defect and not-defect."""
    return average_precision([each.found for each in pictures], [each.true for each in pictures])


def by_class(pictures: Sequence[DefectPicture]) -> dict[str, dict[str, Any]]:
    """Figures of each object's pictures."""
    result = {}
    for name in sorted({each.object_class for each in pictures}):
        chosen = [each for each in pictures if each.object_class == name]
        found = ap_of(chosen)
        result[name] = {
            "map": found.map,
            "ap_defect": found.per_label[DEFECT].ap if DEFECT in found.per_label else None,
            "auroc": auroc(
                [each.broken for each in chosen], [each.defect_score for each in chosen]
            ),
            "count": len(chosen),
            "broken": sum(each.broken for each in chosen),
            "unparsed": sum(each.answer is None for each in chosen),
        }
    return result


def by_defect(pictures: Sequence[DefectPicture]) -> dict[str, dict[str, Any]]:
    """Figures of each kind of defect; its AP is on its pictures together with all good ones."""
    # Of the good pictures only false alarms can change the AP of a defect.
    alarms = [each for each in pictures if not each.broken and each.says_broken]
    result = {}
    for kind in sorted({each.defect for each in pictures if each.broken and each.defect}):
        chosen = [each for each in pictures if each.broken and each.defect == kind]
        found = ap_of(chosen + alarms)
        result[kind] = {
            "ap": found.per_label[DEFECT].ap,
            "ap_50": found.per_label[DEFECT].ap_50,
            "recall": mean([each.says_broken for each in chosen]),
            "mean_iou": mean([each.overlap for each in chosen]),
            "count": len(chosen),
        }
    return result


def by_size(pictures: Sequence[DefectPicture], result: CocoResult) -> dict[str, dict[str, Any]]:
    """Figures of the defects' boxes of each size; sizes that do not occur are left out.

    Args:
        pictures: All of them.
        result: COCO's evaluation of them with ``SIZE_AREAS``: boxes of another size, true ones and
            found ones that match none, do not count.
    """
    sizes: dict[str, dict[str, Any]] = {}
    boxes = [
        ((x2 - x1) * (y2 - y1), overlap, each.says_broken)
        for each in pictures
        if each.broken
        for (x1, y1, x2, y2), overlap in zip(each.true.boxes, each.overlaps, strict=True)
    ]
    for place, (name, (least, most)) in enumerate(zip(SIZES, SIZE_AREAS, strict=True), start=1):
        chosen = [each for each in boxes if least <= each[0] <= most]
        if chosen:
            found = result.summarize(area=place).per_label[DEFECT]
            sizes[name] = {
                "ap": found.ap,
                "ap_50": found.ap_50,
                "recall": mean([said for _, _, said in chosen]),
                "mean_iou": mean([overlap for _, overlap, _ in chosen]),
                "count": len(chosen),
            }
    return sizes


def class_aware(pictures: Sequence[DefectPicture]) -> dict[str, float | None]:
    """mAP over objects and labels: a box under the name of another object matches nothing."""
    numbers: dict[tuple[str, int], int] = {}

    def relabel(boxes: Detections, name: str) -> Detections:
        labels = [
            numbers.setdefault((class_key(name), label), len(numbers)) for label in boxes.labels
        ]
        return Detections(boxes.boxes, labels, boxes.scores)

    return _means(
        average_precision(
            [
                relabel(each.found, each.answer.object_class if each.answer is not None else "")
                for each in pictures
            ],
            [relabel(each.true, each.object_class) for each in pictures],
        )
    )


def class_agnostic(pictures: Sequence[DefectPicture]) -> dict[str, float | None]:
    """AP of the boxes alone: a good part's is the whole picture, and labels do not matter."""
    return _means(
        average_precision(
            [each.found.unlabelled() for each in pictures],
            [each.true.unlabelled() for each in pictures],
        )
    )


def _means(found: DetectionAP) -> dict[str, float | None]:
    return {"map": found.map, "map_50": found.map_50, "map_75": found.map_75}
