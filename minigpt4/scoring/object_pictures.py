"""One picture of objects: what is true of it, what was answered, and how sure the answers are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from minigpt4.common.boxes import GRID, iou, px_to_percent
from minigpt4.common.text import normalize
from minigpt4.scoring.coco import Detections
from minigpt4.scoring.object_answers import (
    AnsweredObject,
    TrueObject,
    answered,
    can_read,
    object_score,
    says_nothing,
    true_objects,
)
from minigpt4.scoring.prediction import Prediction


@dataclass(slots=True)
class ObjectPicture:
    """One picture: what it holds and what was found.

    Attributes:
        name: Which picture.
        true: Its objects.
        found: Answered objects, of all samples about it.
        scores: Confidence of each.
        asked: Classes that the samples were about.
        unread: Samples about it whose answer cannot be read.
        empty: Samples about it whose answer says that there is nothing.
    """

    name: str
    true: list[TrueObject] = field(default_factory=list)
    found: list[AnsweredObject] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    unread: int = 0
    empty: int = 0

    def best_overlap(self, each: TrueObject) -> float:
        """IoU of one of its objects with the best box of that class; 0 for a miss."""
        name = normalize(each.name)
        same = [found.box for found in self.found if normalize(found.name) == name]
        return max((iou(each.box, box) for box in same), default=0.0)


def pictures_of(predictions: Sequence[Prediction], *, score: str) -> list[ObjectPicture]:
    """Each picture once; with a sample for each category, their answers are taken together.

    Args:
        predictions: One or more a picture.
        score: ``confidence``, or ``constant`` for 1 as every score.
    """
    pictures: dict[str, ObjectPicture] = {}
    for each in predictions:
        name = each.picture or str(each.meta.get("image_path") or each.id)
        picture = pictures.setdefault(name, ObjectPicture(name))
        found = answered(each)
        picture.true += true_objects(each.meta)
        picture.asked.update(map(str, each.meta.get("asked") or ()))
        picture.found += found
        picture.scores += [
            1.0 if score == "constant" else object_score(each, place, box.phrase)
            for place, box in enumerate(found)
        ]
        picture.unread += not can_read(each)
        picture.empty += says_nothing(each)
    return list(pictures.values())


class Labels:
    """Numbers of classes, the same for names that differ in case or white space only."""

    def __init__(self, pictures: Sequence[ObjectPicture]) -> None:
        self.names: dict[int, str] = {}
        self._numbers: dict[str, int] = {}
        for each in sorted({each.name for picture in pictures for each in picture.true}):
            self.names.setdefault(self.number(each), each)

    def number(self, name: str) -> int:
        """The number of a class; a new one for a name not met before."""
        return self._numbers.setdefault(normalize(name), len(self._numbers))

    def true(self, picture: ObjectPicture, *, on_grid: bool = False) -> Detections:
        """A picture's objects; with ``on_grid`` as a perfect answer would write them."""
        boxes = [each.box for each in picture.true]
        if on_grid:
            boxes = [px_to_percent(box, width=GRID, height=GRID) for box in boxes]
        return Detections(boxes, [self.number(each.name) for each in picture.true])

    def found(self, picture: ObjectPicture) -> Detections:
        """What was found in a picture."""
        return Detections(
            [each.box for each in picture.found],
            [self.number(each.name) for each in picture.found],
            picture.scores,
        )
