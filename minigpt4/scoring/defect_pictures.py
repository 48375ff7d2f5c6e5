"""One picture of a part: what is true of it, what was answered, and how sure the answer is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from minigpt4.common.boxes import iou
from minigpt4.scoring.box_score import box_score
from minigpt4.scoring.coco import Detections
from minigpt4.scoring.defect_answers import (
    DEFECT,
    NOT_DEFECT,
    DefectAnswer,
    defect_kind,
    is_broken,
    parse_answer,
    true_boxes,
)
from minigpt4.scoring.prediction import Prediction

UNDECIDED = 0.5
"""Defect score of a picture whose answer cannot be read: neither for nor against."""


@dataclass(frozen=True, slots=True)
class DefectPicture:
    """One picture.

    Attributes:
        name: Pictures of equal name are drawn together for intervals.
        object_class: What it shows: ``bottle``.
        defect: Kind of its defect; empty for a good part.
        broken: Whether the part is defective.
        true: The boxes that are to be found.
        answer: What was answered; None where it cannot be read.
        label_probability: The model's, of the label it gave; None where it is not known.
        label_score: What counts for it: the probability, or 1.
        scores: Confidence of each answered box.
    """

    name: str
    object_class: str
    defect: str
    broken: bool
    true: Detections
    answer: DefectAnswer | None
    label_probability: float | None
    label_score: float
    scores: list[float]

    @property
    def found(self) -> Detections:
        """The answered boxes."""
        if self.answer is None:
            return Detections()
        return Detections(
            self.answer.boxes, [self.answer.label] * len(self.answer.boxes), self.scores
        )

    @property
    def says_broken(self) -> bool:
        """Whether the answer calls the part defective."""
        return self.answer is not None and self.answer.label == DEFECT

    @property
    def label_right(self) -> bool:
        """Whether the answer has the right label."""
        return self.answer is not None and self.says_broken == self.broken

    @property
    def defect_score(self) -> float:
        """Probability that the part is defective, as far as the answer tells."""
        if self.answer is None:
            return UNDECIDED
        return self.label_score if self.says_broken else 1.0 - self.label_score

    @property
    def overlaps(self) -> list[float]:
        """Of each true box, the best IoU with a box called a defect; 0 without one."""
        found = self.answer.boxes if self.answer is not None and self.says_broken else []
        return [max((iou(box, each) for each in found), default=0.0) for box in self.true.boxes]

    @property
    def overlap(self) -> float:
        """The mean of ``overlaps``."""
        return sum(self.overlaps) / len(self.overlaps)


def pictures_of(predictions: Sequence[Prediction], *, score: str) -> list[DefectPicture]:
    """Each picture once.

    Args:
        predictions: One or more a picture; the boxes of entries that share a picture are its true
            boxes, and the first answer is its answer.
        score: ``confidence``, or ``constant`` for 1 as every score.
    """
    by_path: dict[str, list[Prediction]] = defaultdict(list)
    for each in predictions:
        by_path[str(each.meta["image_path"])].append(each)
    return [_picture(entries, constant=score == "constant") for entries in by_path.values()]


def _picture(entries: Sequence[Prediction], *, constant: bool) -> DefectPicture:
    first = entries[0]
    boxes = list(dict.fromkeys(box for each in entries for box in true_boxes(each.meta)))
    broken, answer = is_broken(first.meta), parse_answer(first.answer)
    count = len(answer.boxes) if answer is not None else 0
    return DefectPicture(
        name=first.picture or str(first.meta["image_path"]),
        object_class=str(first.meta["class"]),
        defect=defect_kind(first.meta) if broken else "",
        broken=broken,
        true=Detections(boxes, [DEFECT if broken else NOT_DEFECT] * len(boxes)),
        answer=answer,
        label_probability=first.probabilities.get("label") if answer is not None else None,
        label_score=1.0 if constant else first.probabilities.get("label", 1.0),
        scores=[1.0] * count if constant else [box_score(first, place) for place in range(count)],
    )
