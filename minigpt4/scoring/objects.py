"""Detection of objects of any classes: answers such as ``<p>cat</p>{<1><2><3><4>}`` to metrics.

True boxes are not rounded to the grid of answers, so figures compare with those of detectors; what
the rounding alone costs is ``grid_ceiling``. Every picture counts once: an answer that cannot be
read finds nothing, and its picture stays in the ground truth.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt4.common.boxes import GRID
from minigpt4.common.metrics import mean, percent
from minigpt4.common.text import normalize
from minigpt4.scoring.calibration import calibration
from minigpt4.scoring.coco import CocoResult, Detections, average_precision, coco_evaluate
from minigpt4.scoring.defect_groups import SIZES
from minigpt4.scoring.intervals import Bootstrap, Interval, ratio
from minigpt4.scoring.lines import listed, with_interval
from minigpt4.scoring.object_answers import answered, object_score
from minigpt4.scoring.object_pictures import Labels, ObjectPicture, pictures_of
from minigpt4.scoring.prediction import Prediction
from minigpt4.scoring.resampled_ap import map_statistics

_AT_50 = 0
_LISTED = 5
# COCO's evaluation counts a box whose area is a limit on both sides of it.
_AREAS = [(low * GRID**2, high * GRID**2 - 1e-6) for low, high in SIZES.values()]
_AREAS[-1] = (_AREAS[-1][0], float(GRID**2))


def score_objects(
    predictions: Sequence[Prediction],
    *,
    score: str = "confidence",
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of an evaluation.

    Args:
        predictions: One or more a picture.
        score: ``confidence`` takes token probabilities as scores, ``constant`` 1.
        resamples: Of the 95 % intervals, drawn by picture; 0 for none.
        seed: Of the drawing.
    Returns:
        Nested shares (0 to 1) and counts. ``map`` ... is COCO's, over the classes of the data.
        ``precision_50``, ``recall_50`` and ``f1_50`` are of all boxes as answered, whatever their
        score. ``mean_iou`` is of each object with the best box of its class; a miss counts 0.
        ``class_agnostic`` asks only where boxes are; ``grid_ceiling`` is the mAP of the true boxes
        rounded as answers are. ``unknown`` are boxes of classes that the data do not have.
        ``calibration`` is of the scores, a box being right from an IoU of 0.5.
    """
    pictures = pictures_of(predictions, score=score)
    labels = Labels(pictures)
    true = [labels.true(each) for each in pictures]
    found = [labels.found(each) for each in pictures]
    result = coco_evaluate(found, true, areas=_AREAS)
    whole = result.summarize()
    counts = _counts(result, len(pictures))  # (3, P): right, found, true
    rows = _by_class(result, labels, true, found)
    intervals = _intervals(pictures, result, counts, rows, labels, resamples=resamples, seed=seed)
    right, said, there = (int(each.sum()) for each in counts)
    empty = [each for each in pictures if not each.true]
    blind = average_precision(
        [each.unlabelled() for each in found], [each.unlabelled() for each in true]
    )
    ceiling = average_precision([labels.true(each, on_grid=True) for each in pictures], true)
    return {
        "map": whole.map,
        "map_50": whole.map_50,
        "map_75": whole.map_75,
        "precision_50": right / said if said else None,
        "recall_50": right / there if there else None,
        "f1_50": 2 * right / (said + there) if said + there else None,
        "mean_iou": mean(
            [picture.best_overlap(each) for picture in pictures for each in picture.true]
        ),
        "class_agnostic": {"map": blind.map, "map_50": blind.map_50, "map_75": blind.map_75},
        "grid_ceiling": ceiling.map,
        "count": len(pictures),
        "objects": there,
        "found": said,
        "classes": len(labels.names),
        "unparsed": sum(each.unread for each in pictures),
        "unknown": _unknown(pictures, labels),
        "empty": {
            "count": len(empty),
            "said_empty": sum(not each.found and each.empty > 0 for each in empty),
        },
        "mean_steps": mean([each.steps for each in predictions if each.steps]),
        "score": score,
        "by_class": rows,
        "by_size": _by_size(pictures, result),
        "calibration": _calibration(result, found),
        "intervals": intervals,
    }


def _counts(result: CocoResult, pictures: int) -> NDArray[np.float64]:
    """Boxes of each picture at IoU 0.5: right ones, found ones, true ones; shape (3, P)."""
    counts = np.zeros((3, pictures))
    for each in result.matches:
        counts[0] += np.bincount(each.pictures[each.right[_AT_50]], minlength=pictures)
        counts[1] += np.bincount(each.pictures, minlength=pictures)
        counts[2] += each.true
    return counts


def _by_class(
    result: CocoResult, labels: Labels, true: Sequence[Detections], found: Sequence[Detections]
) -> dict[str, dict[str, Any]]:
    """Figures of each class of the data."""
    whole = result.summarize().per_label
    rows = {}
    for label, matches in zip(result.labels, result.matches, strict=True):
        if label not in whole:
            continue
        right, said = int(matches.right[_AT_50].sum()), len(matches.pictures)
        rows[labels.names[label]] = {
            "ap": whole[label].ap,
            "ap_50": whole[label].ap_50,
            "ap_75": whole[label].ap_75,
            "recall": right / int(matches.true.sum()),
            "precision": right / said if said else None,
            "count": int(matches.true.sum()),
            "pictures": int((matches.true > 0).sum()),
        }
    return rows


def _intervals(
    pictures: Sequence[ObjectPicture],
    result: CocoResult,
    counts: NDArray[np.float64],
    rows: dict[str, dict[str, Any]],
    labels: Labels,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of the headline figures; those of each class go into its row."""
    bootstrap = Bootstrap([each.name for each in pictures], resamples=resamples, seed=seed)
    names = {number: f"ap of {name}" for number, name in labels.names.items()}

    def statistics(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        per_picture = weights[:, bootstrap.cluster]  # (R, P)
        right, said, there = (per_picture @ each for each in counts)
        return {
            **map_statistics(result, per_picture, names=names),
            "precision_50": ratio(right, said),
            "recall_50": ratio(right, there),
            "f1_50": ratio(2 * right, said + there),
        }

    found = bootstrap.intervals(statistics) if result.matches else {}
    for name, row in rows.items():
        if (interval := found.pop(f"ap of {name}", None)) is not None:
            row["intervals"] = {"ap": interval}
    return found


def _by_size(pictures: Sequence[ObjectPicture], result: CocoResult) -> dict[str, dict[str, Any]]:
    """Figures of the objects of each size, by the share of the picture that a box covers."""
    areas = [
        ((x2 - x1) * (y2 - y1), picture.best_overlap(each))
        for picture in pictures
        for each in picture.true
        for x1, y1, x2, y2 in [each.box]
    ]
    sizes = {}
    for place, (name, (least, most)) in enumerate(zip(SIZES, _AREAS, strict=True), start=1):
        chosen = [overlap for area, overlap in areas if least <= area <= most]
        if chosen:
            found = result.summarize(area=place)
            sizes[name] = {
                "ap": found.map,
                "ap_50": found.map_50,
                "mean_iou": mean(chosen),
                "count": len(chosen),
            }
    return sizes


def _unknown(pictures: Sequence[ObjectPicture], labels: Labels) -> dict[str, Any]:
    known = {normalize(name) for name in labels.names.values()}
    known |= {normalize(name) for each in pictures for name in each.asked}
    names = Counter(
        normalize(each.name)
        for picture in pictures
        for each in picture.found
        if normalize(each.name) not in known
    )
    return {"count": names.total(), "names": dict(names.most_common(_LISTED))}


def _calibration(result: CocoResult, found: Sequence[Detections]) -> dict[str, Any]:
    scores: dict[int, list[float]] = defaultdict(list)
    for each in found:
        for label, score in zip(each.labels, each.scores, strict=True):
            scores[label].append(score)
    sure: list[float] = []
    right: list[bool] = []
    for label, matches in zip(result.labels, result.matches, strict=True):
        # Matches stand in the order of scores; equal scores may change places. COCO's evaluation
        # looks at the hundred surest boxes of a picture only.
        if len(matches.pictures) == len(scores[label]):
            sure += sorted(scores[label], reverse=True)
            right += matches.right[_AT_50].tolist()
    return calibration(sure, right)


def precision_curves(
    predictions: Sequence[Prediction], *, score: str = "confidence"
) -> dict[str, list[float]]:
    """Precision of each class at recall 0.00, 0.01 ... 1.00 and IoU 0.50."""
    pictures = pictures_of(predictions, score=score)
    labels = Labels(pictures)
    found = average_precision(
        [labels.found(p) for p in pictures], [labels.true(p) for p in pictures]
    )
    return {labels.names[label]: each.precision_50 for label, each in found.per_label.items()}


def answers_json(predictions: Sequence[Prediction]) -> list[dict[str, Any]]:
    """The answers, with what was read from each."""
    return [
        {
            "image": each.meta.get("image_path"),
            "answer": each.answer,
            "objects": [
                {
                    "class": box.name,
                    "box": list(box.box),
                    "score": object_score(each, place, box.phrase),
                }
                for place, box in enumerate(answered(each))
            ],
        }
        for each in predictions
    ]


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as lines of text."""
    empty, unknown = metrics["empty"], metrics["unknown"]
    lines = [
        f"mAP {with_interval(metrics, 'map')}, at IoU 0.50 {with_interval(metrics, 'map_50')}, at "
        f"0.75 {with_interval(metrics, 'map_75')} over {metrics['classes']} classes, "
        f"{metrics['objects']} objects in {metrics['count']} pictures; {metrics['unparsed']} "
        "answers could not be read and find nothing",
        f"As answered, at IoU 0.50: precision {with_interval(metrics, 'precision_50')}, recall "
        f"{with_interval(metrics, 'recall_50')}, F1 {with_interval(metrics, 'f1_50')}; mean IoU "
        f"{percent(metrics['mean_iou'])}; mAP of boxes whatever their class "
        f"{percent(metrics['class_agnostic']['map'])}",
        f"AP by class: {listed(metrics['by_class'], 'ap')}",
        f"The most that boxes of whole hundredths can reach is mAP "
        f"{percent(metrics['grid_ceiling'])}",
    ]
    if empty["count"]:
        lines.append(
            f"Pictures without objects called so: {empty['said_empty']} of {empty['count']}"
        )
    if unknown["count"]:
        names = ", ".join(unknown["names"])
        lines.append(f"Boxes of classes that the data do not have: {unknown['count']} ({names})")
    return lines
