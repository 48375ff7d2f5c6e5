"""The public easy-vqa questions in Vietnamese, balanced so that guessing does not pay.

As it comes, easy-VQA asks yes/no three times in four and "no" follows from the wording. Here every
question text has its answers evenly spread and yes/no is a minority.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from minigpt4.datasets.tiny.streams import Split
from minigpt4.datasets.tiny.vocabulary import COLOURS, KINDS, SHAPE_KINDS

OBJECT, NUMBER, COLOUR, PLACE = 0, 1, 2, 3
YES, NO = "có", "không"
YES_NO_SHARE = 0.08

# English pattern -> Vietnamese pattern and ViVQA type. {s} is a shape, {c} a colour. The negated
# questions ("is there not a ...") are left out: Vietnamese answers them the other way round.
_RULES: tuple[tuple[re.Pattern[str], str, int], ...] = tuple(
    (re.compile(pattern.replace("{s}", r"(?P<s>\w+)").replace("{c}", r"(?P<c>\w+)")), text, kind)
    for pattern, text, kind in (
        (r"what color is the shape\?", "màu của hình là gì", COLOUR),
        (r"what is the color of the shape\?", "màu sắc của hình là gì", COLOUR),
        (r"what color is the {s}\?", "màu của {s} là gì", COLOUR),
        (r"what is the color of the {s}\?", "màu sắc của {s} là gì", COLOUR),
        (r"what is the {c} shape\?", "hình {c} là hình gì", OBJECT),
        (r"what shape does the image contain\?", "ảnh có hình gì", OBJECT),
        (r"what shape is in the image\?", "hình gì trong ảnh", OBJECT),
        (r"what shape is present\?", "có hình gì trong ảnh", OBJECT),
        (r"is there an? {c} shape in the image\?", "trong ảnh có hình {c} không", COLOUR),
        (r"is there an? {c} shape\?", "có hình {c} không", COLOUR),
        (r"does the image contain an? {c} shape\?", "ảnh có hình {c} không", COLOUR),
        (r"is an? {c} shape present\?", "có hình {c} trong ảnh không", COLOUR),
        (r"is there an? {s} in the image\?", "trong ảnh có {s} không", OBJECT),
        (r"is there an? {s}\?", "có {s} không", OBJECT),
        (r"does the image contain an? {s}\?", "ảnh có {s} không", OBJECT),
        (r"is an? {s} present\?", "có {s} trong ảnh không", OBJECT),
    )
)


@dataclass(frozen=True)
class Question:
    """One question about one picture.

    Attributes:
        text: The question, lower-case, without a question mark.
        answer: The short answer.
        picture: Number of the picture within its source and split.
        type: 0 object, 1 number, 2 colour, 3 place.
    """

    text: str
    answer: str
    picture: int
    type: int


def translate(question: str, answer: str, picture: int) -> Question | None:
    """Put one easy-vqa question into Vietnamese.

    Args:
        question: English question, such as ``what color is the circle?``.
        answer: English answer, one of easy-vqa's thirteen.
        picture: easy-vqa's picture number.

    Returns:
        The Vietnamese question, or None for a negated one.
    """
    for pattern, text, kind in _RULES:
        match = pattern.fullmatch(question)
        if match is None:
            continue
        words = {
            "s": KINDS[match["s"]].vi if "s" in pattern.groupindex else "",
            "c": COLOURS[match["c"]].vi if "c" in pattern.groupindex else "",
        }
        return Question(text.format(**words), _answer_vi(answer), picture, kind)
    return None


def _answer_vi(answer: str) -> str:
    if answer in ("yes", "no"):
        return YES if answer == "yes" else NO
    return KINDS[answer].vi if answer in SHAPE_KINDS else COLOURS[answer].vi


def load_questions(split: Split) -> list[Question]:
    """All questions of one easy-vqa split that have a Vietnamese form, in the package's order."""
    import easy_vqa

    load = easy_vqa.get_train_questions if split == "train" else easy_vqa.get_test_questions
    translated = (translate(*row) for row in zip(*load(), strict=True))
    return [question for question in translated if question is not None]


def load_picture_paths(split: Split) -> dict[int, str]:
    """File of each easy-vqa picture by its number."""
    import easy_vqa

    paths: dict[int, str] = (
        easy_vqa.get_train_image_paths() if split == "train" else easy_vqa.get_test_image_paths()
    )
    return dict(sorted(paths.items()))


def balanced(
    questions: Sequence[Question], *, rows: int, rng: np.random.Generator
) -> list[Question]:
    """Draw questions so that neither a text nor the yes/no form gives its answer away.

    Yes/no makes up ``YES_NO_SHARE`` of the rows, as many yes as no for every text. The rest is half
    colours and half shapes, at most one of each a picture, with answers spread evenly.

    Args:
        questions: Candidates.
        rows: About how many to draw (fewer when there are not enough).
        rng: Source of chance.

    Returns:
        The drawn questions, ordered by picture.
    """
    order = rng.permutation(len(questions))
    shuffled = [questions[i] for i in order]
    yes_no = [q for q in shuffled if q.answer in (YES, NO)]
    content = _one_per_picture([q for q in shuffled if q.answer not in (YES, NO)])
    # A picture's turn for its main question comes before any second one, so that most are used.
    content.sort(key=lambda q: q.type != (COLOUR, OBJECT)[q.picture % 2])
    polar_rows = round(rows * YES_NO_SHARE)
    drawn = _even_pairs(yes_no, polar_rows)
    for kind in (COLOUR, OBJECT):
        drawn += _even_answers([q for q in content if q.type == kind], (rows - polar_rows) // 2)
    return sorted(drawn, key=lambda q: (q.picture, q.type, q.text))


def _one_per_picture(questions: Sequence[Question]) -> list[Question]:
    first = {(q.picture, q.type): q for q in reversed(questions)}
    kept = set(map(id, first.values()))
    return [q for q in questions if id(q) in kept]


def _even_pairs(questions: Sequence[Question], rows: int) -> list[Question]:
    """As many yes as no for each text, round robin over the texts."""
    piles: dict[str, tuple[list[Question], list[Question]]] = defaultdict(lambda: ([], []))
    for q in questions:
        piles[q.text][q.answer == YES].append(q)
    drawn: list[Question] = []
    depth = 0
    while len(drawn) + 1 < rows:
        pairs = [
            (no[depth], yes[depth]) for no, yes in piles.values() if depth < min(len(no), len(yes))
        ]
        if not pairs:
            break
        for pair in pairs[: (rows - len(drawn)) // 2]:
            drawn += pair
        depth += 1
    return drawn


def _even_answers(questions: Sequence[Question], rows: int) -> list[Question]:
    """Round robin over the answers, so that each is equally common as far as there are enough."""
    piles: dict[str, list[Question]] = defaultdict(list)
    for q in questions:
        piles[q.answer].append(q)
    drawn: list[Question] = []
    depth = 0
    while len(drawn) < rows:
        layer = [piles[answer][depth] for answer in sorted(piles) if depth < len(piles[answer])]
        if not layer:
            break
        drawn += layer[: rows - len(drawn)]
        depth += 1
    return drawn
