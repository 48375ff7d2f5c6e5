"""Samples under their pictures, to be filtered, sorted and searched in the page."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from minigpt4.common.boxes import Box
from minigpt4.scoring.prediction import Prediction

if TYPE_CHECKING:
    from PIL import Image

Verdict = Literal["right", "wrong", "unparsed", "flagged", "fine"]
VERDICTS: tuple[Verdict, ...] = ("wrong", "unparsed", "right", "flagged", "fine")
"""Of a model's answer the first three; of a data set's sample, whether something is wrong with
it."""

MAX_CARDS = 1000
"""Samples of a gallery. A page of this many stays under 15 MB and scrolls without delay; of a
larger evaluation the misses come first, see ``choose``."""
_LABEL_ROOM = 11
"""Height of a box's label, in hundredths of a picture as it is shown."""
# Letters that Vietnamese has and its neighbours in Latin script do not.
_VIETNAMESE = frozenset("đơư") | {chr(code) for code in range(0x1EA0, 0x1EFA)}


@dataclass(frozen=True, slots=True)
class DrawnBox:
    """A box over a picture, 0-100; ``true`` boxes and answered ones are drawn differently."""

    box: Box
    label: str
    true: bool

    @property
    def label_place(self) -> str:
        """Where the label has room and hides little: CSS classes.

        True boxes have it above and answered ones below, so that the two of a good answer do not
        cover each other.
        """
        left, top, _, bottom = self.box
        free = {"above": top >= _LABEL_ROOM, "below": bottom <= 100 - _LABEL_ROOM}
        order = ("above", "below") if self.true else ("below", "above")
        upright = next((place for place in order if free[place]), "inside")
        return f"{upright} {'from-right' if left > 65 else 'from-left'}"


@dataclass(frozen=True, slots=True)
class Card:
    """One sample of a gallery.

    Attributes:
        picture: File or picture; None shows none.
        question: What was asked.
        answer: What the model said, in a form that reads well.
        reference: What is right.
        verdict: What the answer is worth.
        groups: What a reader can filter by: ``{"type": "colour"}``.
        confidence: The answer's probability.
        boxes: Drawn over the picture.
        facts: More about the sample: ``{"IoU": "0.43"}``.
        raw: The answer as the model gave it, where ``answer`` is not that.
        overlap: IoU of the answered and the true boxes; None where boxes do not matter.
        order: Place in the data.
        answered_by: Who gave the answer, where several did; empty where nobody was asked.
    """

    picture: Path | Image.Image | None
    question: str
    answer: str
    reference: str
    verdict: Verdict
    groups: Mapping[str, str] = field(default_factory=dict)
    confidence: float | None = None
    boxes: Sequence[DrawnBox] = ()
    facts: Mapping[str, str] = field(default_factory=dict)
    raw: str = ""
    overlap: float | None = None
    order: int = 0
    answered_by: str = "answer"

    @property
    def worst_first(self) -> tuple[float, ...]:
        """What sorts the most telling failures first.

        Misses by overlap, the lowest first, then the surest first; what cannot be read; then what
        is right, the lowest overlap and the least sure first.
        """
        sure = -1.0 if self.confidence is None else self.confidence
        overlap = 0.0 if self.overlap is None else self.overlap
        rank = VERDICTS.index(self.verdict)
        return rank, overlap, sure if self.verdict == "right" else -sure, self.order


@dataclass(frozen=True, slots=True)
class Gallery:
    """Samples with their pictures, in the order of ``cards`` until a reader sorts them.

    Attributes:
        note: What a reader must know, such as that these are not all.
        language: Of questions and answers, as in HTML's ``lang``; empty for the page's.
        legend: What the two kinds of boxes are; empty for one that does not occur.
    """

    kind: ClassVar[str] = "gallery"
    title: str
    cards: Sequence[Card]
    note: str = ""
    language: str = ""
    legend: tuple[str, str] = ("true box", "answered box")

    def counts(self) -> dict[str, int]:
        """Cards of each verdict."""
        verdicts = [card.verdict for card in self.cards]
        return {each: verdicts.count(each) for each in VERDICTS}

    def choices(self) -> dict[str, dict[str, int]]:
        """Values of each group that has several, with how many cards have them."""
        found: dict[str, Counter[str]] = {}
        for card in self.cards:
            for name, value in card.groups.items():
                found.setdefault(name, Counter())[value] += 1
        return {
            name: {value: count for value, count in sorted(values.items()) if value}
            for name, values in found.items()
            if len(values) > 1
        }

    @property
    def has_boxes(self) -> bool:
        """Whether any card has boxes, which then need a legend."""
        return any(card.boxes for card in self.cards)

    @property
    def has_confidence(self) -> bool:
        """Whether cards can be sorted by it."""
        return any(card.confidence is not None for card in self.cards)

    @property
    def has_overlap(self) -> bool:
        """Whether cards can be sorted by it."""
        return any(card.overlap is not None for card in self.cards)


def gallery_of(
    predictions: Sequence[Prediction],
    verdicts: Sequence[Verdict],
    card: Callable[[Prediction, Verdict, int], Card],
    *,
    most: int | None = None,
) -> Gallery:
    """The samples of an evaluation, worst first.

    Args:
        predictions: All of them.
        verdicts: One a prediction.
        card: Makes a card of a prediction, its verdict and its place in the data.
        most: Samples to show; None for ``MAX_CARDS``.
    """
    chosen = choose(verdicts, MAX_CARDS if most is None else most)
    note = ""
    if len(chosen) < len(predictions):
        note = (
            f"{len(chosen)} of {len(predictions)} samples, misses first, spread over the data; the "
            "shares of right and wrong here are not those of the whole. All answers are in the "
            "predictions file."
        )
    cards = [card(predictions[i], verdicts[i], i) for i in chosen]
    texts = [text for each in cards for text in (each.question, each.answer, each.reference)]
    return Gallery(
        "Samples",
        sorted(cards, key=lambda each: each.worst_first),
        note,
        language=language_of(texts),
    )


def choose(verdicts: Sequence[Verdict], most: int) -> list[int]:
    """Which samples to show: misses, then right ones, spread evenly over the data.

    Half of the places belong to right answers where there are enough of both.
    """
    missed = [i for i, each in enumerate(verdicts) if each != "right"]
    right = [i for i, each in enumerate(verdicts) if each == "right"]
    places = max(most - len(right), min(len(missed), most - most // 2))
    chosen = _spread(missed, places)
    return chosen + _spread(right, most - len(chosen))


def _spread(items: Sequence[int], count: int) -> list[int]:
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def language_of(texts: Sequence[str]) -> str:
    """``vi`` where letters occur that only Vietnamese has, else nothing."""
    letters = {letter for text in texts for letter in composed(text).lower()}
    return "vi" if letters & _VIETNAMESE else ""


def composed(text: str) -> str:
    """NFC, in which letters with marks are drawn by every font that has them."""
    return unicodedata.normalize("NFC", text)


def picture_of(prediction: Prediction) -> Path | None:
    """The file that was shown to the model."""
    return Path(prediction.image_path) if prediction.image_path else None
