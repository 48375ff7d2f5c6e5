"""Referring expressions: the box that an answer gives for a phrase, against the true one."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.boxes import GRID, Box, compute_iou, iou, parse_boxes
from minigpt4.common.metrics import mean, percent
from minigpt4.datasets.grounding import boxes_of
from minigpt4.scoring.calibration import calibration
from minigpt4.scoring.intervals import Bootstrap, found_intervals
from minigpt4.scoring.lines import with_interval
from minigpt4.scoring.prediction import Prediction

IOU = 0.5
"""From this overlap on a box is right."""
STRICTER = 0.75
_ORIGINAL = re.compile(r"\{<\d{1,3}><\d{1,3}><\d{1,3}><\d{1,3}>\}")


def answered_box(text: str) -> Box | None:
    """The first box of an answer that has an area, 0-100; None where there is none."""
    boxes = (box for found in parse_boxes(text) for box in found.boxes)
    return next((box for box in boxes if box[0] < box[2] and box[1] < box[3]), None)


def true_boxes(meta: Mapping[str, Any]) -> list[Box]:
    """The true boxes of a sample in hundredths of its picture, for drawing."""
    return [(x1, y1, x2, y2) for x1, y1, x2, y2 in boxes_of(meta)]


def overlap(prediction: Prediction) -> float:
    """IoU of the answered box with the true one, the best where several are true; 0 without a box.

    Where the annotations are in pixels it is computed in pixels (edges are lines: nothing is added
    to a side), so that the true box is not rounded to hundredths.
    """
    box = answered_box(prediction.answer)
    if box is None:
        return 0.0
    meta = prediction.meta
    if "boxes_px" in meta:
        found = _to_pixels(box, meta)
        return max(iou(found, true) for true in meta["boxes_px"])
    return max(iou(box, true) for true in true_boxes(meta))


def is_right(prediction: Prediction) -> bool:
    """Whether the answered box overlaps the true one by an IoU of at least 0.5."""
    return overlap(prediction) >= IOU


def can_read(prediction: Prediction) -> bool:
    """Whether an answer holds a box."""
    return answered_box(prediction.answer) is not None


def score_refer(
    predictions: Sequence[Prediction], *, resamples: int = 0, seed: int = 0
) -> dict[str, Any]:
    """All metrics of an evaluation; an answer without a box is a miss.

    Args:
        predictions: One a phrase.
        resamples: Bootstrap resamples of the 95 % intervals; 0 for none.
        seed: Seed of the resampling.
    Returns:
        Shares (0 to 1) and counts: ``accuracy`` (IoU of at least 0.5), ``accuracy_75``,
        ``mean_iou`` (a miss counts 0), ``correct``, ``count``, ``unparsed`` (answers without a
        box), ``unfinished`` (cut at the length limit), ``mean_steps``, ``calibration`` (of the
        whole answer's probability), ``original_protocol`` and ``intervals``.
    """
    overlaps = [overlap(each) for each in predictions]
    right = [value >= IOU for value in overlaps]
    figures: dict[str, Sequence[float]] = {
        "accuracy": right,
        "accuracy_75": [value >= STRICTER for value in overlaps],
        "mean_iou": overlaps,
    }
    boot = Bootstrap([each.picture for each in predictions], resamples=resamples, seed=seed)
    return {
        **{name: mean(values) for name, values in figures.items()},
        "correct": sum(right),
        "count": len(predictions),
        "unparsed": sum(not can_read(each) for each in predictions),
        "unfinished": sum(not each.finished for each in predictions),
        "mean_steps": mean([each.steps for each in predictions if each.steps]),
        "calibration": calibration([each.probability for each in predictions], right),
        "original_protocol": original_protocol(predictions),
        "intervals": found_intervals({name: boot.mean(each) for name, each in figures.items()}),
    }


def original_protocol(predictions: Sequence[Prediction]) -> dict[str, Any]:
    """The accuracy that the original's script would report for these answers.

    There an answer must begin with a box and hold no other number, a side is one pixel longer (its
    ``computeIoU``), the overlap must exceed 0.5, and rows of one ``img_id`` are all compared with
    the last one's box.
    """
    if not all("boxes_px" in each.meta for each in predictions):
        return {"accuracy": None}
    last = {_key(each): each.meta for each in predictions}
    return {"accuracy": mean([_original(each.answer, last[_key(each)]) for each in predictions])}


def _key(prediction: Prediction) -> str:
    return str(prediction.meta.get("img_id", prediction.id))


def _original(answer: str, meta: Mapping[str, Any]) -> bool:
    text = answer.replace("<unk>", "").replace(" ", "").strip()
    numbers = [int(number) for number in re.findall(r"\d+", text)]
    if not _ORIGINAL.match(text) or len(numbers) != 4:
        return False
    return compute_iou(_to_pixels(numbers, meta), meta["boxes_px"][0]) > IOU


def _to_pixels(box: Sequence[int], meta: Mapping[str, Any]) -> list[float]:
    width, height = float(meta["width"]) / GRID, float(meta["height"]) / GRID
    return [box[0] * width, box[1] * height, box[2] * width, box[3] * height]


def answers_json(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """``refcoco_val.json`` as the original writes it: the answers under each ``img_id``."""
    answers: dict[str, list[str]] = defaultdict(list)
    for each in predictions:
        answers[_key(each)].append(each.answer)
    return dict(answers)


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as lines of text."""
    counts = (
        f"{metrics['correct']} of {metrics['count']}; {metrics['unparsed']} answers hold no box "
        "and count as misses"
    )
    return [
        f"Accuracy at IoU 0.5 {with_interval(metrics, 'accuracy', counts)}",
        f"At IoU 0.75 {with_interval(metrics, 'accuracy_75')}; "
        f"mean IoU {with_interval(metrics, 'mean_iou')}",
        "By the original's protocol (a pixel added to each side): "
        f"{percent(metrics['original_protocol']['accuracy'])}",
    ]
