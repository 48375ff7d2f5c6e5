"""Defect detection: answers such as ``<p>bottle-defect</p>{<10><20><40><50>}`` to metrics.

Two protocols, side by side. The strict one counts every picture once: an answer that cannot be read
finds nothing and its picture stays in the ground truth. The original's is kept so that published
numbers can be compared; it gives every box the score 1, lets pictures of equal file name collide
and drops pictures whose answer cannot be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from minigpt4.common.boxes import iou
from minigpt4.common.metrics import (
    Detections,
    auroc,
    average_precision,
    f1,
    mean,
    percent,
    roc_curve,
)
from minigpt4.scoring.defect_answers import (
    DEFECT,
    LABELS,
    NOT_DEFECT,
    DefectAnswer,
    defect_kind,
    is_broken,
    parse_answer,
    same_class,
    true_boxes,
)
from minigpt4.scoring.original_mvtec import original_protocol
from minigpt4.scoring.prediction import Prediction

UNDECIDED = 0.5
"""Defect score of a picture whose answer cannot be read: neither for nor against."""


@dataclass(frozen=True, slots=True)
class _Picture:
    """One picture: what is true of it and what was answered."""

    object_class: str
    defect: str
    broken: bool
    true: Detections
    answer: DefectAnswer | None
    score: float

    @property
    def found(self) -> Detections:
        if self.answer is None:
            return Detections()
        count = len(self.answer.boxes)
        return Detections(self.answer.boxes, [self.answer.label] * count, [self.score] * count)

    @property
    def says_broken(self) -> bool:
        return self.answer is not None and self.answer.label == DEFECT

    @property
    def defect_score(self) -> float:
        if self.answer is None:
            return UNDECIDED
        return self.score if self.says_broken else 1.0 - self.score

    @property
    def overlap(self) -> float:
        """Mean over the true boxes of the best overlap with a box called a defect."""
        found = self.answer.boxes if self.answer is not None and self.says_broken else []
        best = [max((iou(box, each) for each in found), default=0.0) for box in self.true.boxes]
        return sum(best) / len(best)


def score_detection(
    predictions: Sequence[Prediction], *, score: str = "confidence"
) -> dict[str, Any]:
    """All metrics of an evaluation.

    Args:
        predictions: One or more a picture; the boxes of entries that share a picture are its true
            boxes, and the first answer is its answer.
        score: ``confidence`` takes the label's token probability as a box's score, ``constant`` 1.
    Returns:
        Nested shares (0 to 1) and counts; ``original_protocol`` holds the original's figures.
        ``by_defect`` is the AP of ``defect`` on one kind's pictures together with all good ones.
    """
    pictures = _pictures(predictions, constant=score == "constant")
    whole = average_precision([each.found for each in pictures], [each.true for each in pictures])
    broken = [each for each in pictures if each.broken]
    positive = [each.broken for each in pictures]
    metrics: dict[str, Any] = {
        "map": whole.map,
        "map_50": whole.map_50,
        "map_75": whole.map_75,
        "ap_defect": whole.per_label[DEFECT].ap if DEFECT in whole.per_label else None,
        "ap_not_defect": whole.per_label[NOT_DEFECT].ap if NOT_DEFECT in whole.per_label else None,
        "auroc": auroc(positive, [each.defect_score for each in pictures]),
        "f1": f1(positive, [each.says_broken for each in pictures]),
        "mean_iou_defect": mean([each.overlap for each in broken]),
        "class_accuracy": mean(
            [
                each.answer is not None and same_class(each.answer.object_class, each.object_class)
                for each in pictures
            ]
        ),
        "count": len(pictures),
        "broken": len(broken),
        "unparsed": sum(each.answer is None for each in pictures),
        "score": score,
    }
    metrics["by_label"] = {
        LABELS[label]: {
            "ap": each.ap,
            "ap_50": each.ap_50,
            "ap_75": each.ap_75,
            "count": sum(picture.broken == (label == DEFECT) for picture in pictures),
        }
        for label, each in sorted(whole.per_label.items(), reverse=True)
    }
    metrics["by_class"] = _by_class(pictures)
    metrics["by_defect"] = _by_defect(pictures)
    metrics["original_protocol"] = original_protocol(predictions)
    return metrics


def defect_curve(predictions: Sequence[Prediction], *, score: str = "confidence") -> list[float]:
    """Precision of ``defect`` at recall 0.00, 0.01 ... 1.00 and IoU 0.50; empty without defects."""
    pictures = _pictures(predictions, constant=score == "constant")
    found = average_precision([each.found for each in pictures], [each.true for each in pictures])
    return found.per_label[DEFECT].precision_50 if DEFECT in found.per_label else []


def roc(
    predictions: Sequence[Prediction], *, score: str = "confidence"
) -> tuple[list[float], list[float]] | None:
    """False and true positive rates of calling pictures defective; None unless both kinds occur."""
    pictures = _pictures(predictions, constant=score == "constant")
    return roc_curve([each.broken for each in pictures], [each.defect_score for each in pictures])


def is_right(prediction: Prediction) -> bool:
    """Whether label and box are right: the label, and for a defect an IoU of at least 0.5."""
    (picture,) = _pictures([prediction], constant=True)
    if picture.answer is None or picture.says_broken != picture.broken:
        return False
    return not picture.broken or picture.overlap >= 0.5


def answers_json(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """``mvtec_ad_regression.json``: the answers under each picture's path, which is unique."""
    answers: dict[str, list[str]] = defaultdict(list)
    for each in predictions:
        answers[str(each.meta["image_path"])].append(each.answer)
    return dict(answers)


def _pictures(predictions: Sequence[Prediction], *, constant: bool) -> list[_Picture]:
    by_path: dict[str, list[Prediction]] = defaultdict(list)
    for each in predictions:
        by_path[str(each.meta["image_path"])].append(each)
    pictures = []
    for entries in by_path.values():
        first = entries[0]
        boxes = list(dict.fromkeys(box for each in entries for box in true_boxes(each.meta)))
        broken = is_broken(first.meta)
        pictures.append(
            _Picture(
                object_class=str(first.meta["class"]),
                defect=defect_kind(first.meta) if broken else "",
                broken=broken,
                true=Detections(boxes, [DEFECT if broken else NOT_DEFECT] * len(boxes)),
                answer=parse_answer(first.answer),
                score=1.0 if constant else first.probabilities.get("label", 1.0),
            )
        )
    return pictures


def _by_class(pictures: Sequence[_Picture]) -> dict[str, dict[str, Any]]:
    result = {}
    for name in sorted({each.object_class for each in pictures}):
        chosen = [each for each in pictures if each.object_class == name]
        found = average_precision([each.found for each in chosen], [each.true for each in chosen])
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


def _by_defect(pictures: Sequence[_Picture]) -> dict[str, dict[str, Any]]:
    # Of the good pictures only false alarms can change the AP of a defect.
    alarms = [each for each in pictures if not each.broken and each.says_broken]
    result = {}
    for kind in sorted({each.defect for each in pictures if each.broken and each.defect}):
        chosen = [each for each in pictures if each.broken and each.defect == kind]
        both = chosen + alarms
        found = average_precision([each.found for each in both], [each.true for each in both])
        result[kind] = {
            "ap": found.per_label[DEFECT].ap,
            "ap_50": found.per_label[DEFECT].ap_50,
            "recall": mean([each.says_broken for each in chosen]),
            "mean_iou": mean([each.overlap for each in chosen]),
            "count": len(chosen),
        }
    return result


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as lines of text."""
    original = metrics["original_protocol"]
    lines = [
        f"mAP {percent(metrics['map'])} (at IoU 0.50 {percent(metrics['map_50'])}, at 0.75 "
        f"{percent(metrics['map_75'])}) over {metrics['count']} pictures, each counted once; "
        f"{metrics['unparsed']} answers could not be read and count as misses",
        f"AP of defect {percent(metrics['ap_defect'])}, of not-defect "
        f"{percent(metrics['ap_not_defect'])}; image AUROC {percent(metrics['auroc'])}, F1 "
        f"{percent(metrics['f1'])}, mean IoU of defects {percent(metrics['mean_iou_defect'])}",
        f"mAP by object: {_listed(metrics['by_class'], 'map')}",
    ]
    if metrics["by_defect"]:
        lines.append(f"AP by kind of defect: {_listed(metrics['by_defect'], 'ap')}")
    lines.append(
        f"By the original's protocol (every score 1): mAP {percent(original['map'])}; it leaves "
        f"out {original['left_out']} pictures and confuses {original['colliding']} names"
    )
    return lines


def _listed(groups: Mapping[str, Mapping[str, Any]], key: str) -> str:
    return ", ".join(f"{name} {percent(each[key])}" for name, each in groups.items())
