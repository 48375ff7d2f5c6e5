"""What a data set shares with another: pictures, pairs of picture and question, answers.

Texts are the same when they are but for case, Unicode form and white space.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from minigpt4.common.text import normalize
from minigpt4.datasets.schema import Sample

PAIR, PICTURE, NONE = "pair", "picture", ""
"""What training holds of a sample: picture and question, the picture, or nothing."""

# The part of a file's name that says which split it is.
_TEST = re.compile(r"(?<![^\W_])(?:testdev|test|val|dev)(?![^\W_])")
_TRAIN = re.compile(r"(?<![^\W_])train(?![^\W_])")
_USUAL_TRAIN = ("train", "train_data")
_TEST_WORDS = ("test", "val", "dev", "testdev")


class Keys(NamedTuple):
    """What a sample is compared by; a picture that is empty or None is none."""

    picture: Hashable
    question: Hashable
    answer: Hashable


def keys_of(sample: Sample) -> Keys:
    """The keys of a sample that was described in fixed wording."""
    return Keys(sample.picture, normalize(sample.turns[0].instruction), answer_of(sample))


def answer_of(sample: Sample) -> str:
    """The answer of a sample in the form in which answers are counted."""
    return normalize(sample.turns[-1].answer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What an evaluation set shares with training.

    Attributes:
        overlaps: ``PAIR``, ``PICTURE`` or ``NONE`` of each evaluation sample.
        train_counts: How often each sample's answer occurs in training.
        asks: Whether the samples ask different things; else a shared picture is all there is.
        pictures: Different pictures of the evaluation set.
        pictures_in_training: Those of them that are also in training.
        train_answers: Different answers of training.
    """

    overlaps: Sequence[str]
    train_counts: Sequence[int]
    asks: bool
    pictures: int
    pictures_in_training: int
    train_answers: int

    def count(self, kind: str) -> int:
        """Samples of which training holds just so much."""
        return sum(each == kind for each in self.overlaps)

    @property
    def unseen_answers(self) -> int:
        """Samples whose answer never occurs in training."""
        return sum(not count for count in self.train_counts)


def compare(tested: Sequence[Keys], training: Iterable[Keys]) -> Comparison:
    """Compare an evaluation set with training."""
    pictures: set[Hashable] = set()
    pairs: set[Hashable] = set()
    answers: Counter[Hashable] = Counter()
    for each in training:
        pictures.add(each.picture)
        pairs.add(each[:2])
        answers[each.answer] += 1
    pictures -= {None, ""}
    asks = len({each.question for each in tested}) > 1
    overlaps = []
    for each in tested:
        if each.picture not in pictures:
            overlaps.append(NONE)
        else:
            overlaps.append(PAIR if asks and each[:2] in pairs else PICTURE)
    shown = {each.picture for each in tested} - {None, ""}
    return Comparison(
        overlaps=overlaps,
        train_counts=[answers[each.answer] for each in tested],
        asks=asks,
        pictures=len(shown),
        pictures_in_training=len(shown & pictures),
        train_answers=len(answers),
    )


def find_train_file(file: Path) -> Path | None:
    """Training annotations beside an evaluation file, under the name that goes with its own.

    ``test.csv`` goes with ``train.csv``, ``val_data.json`` with ``train_data.json``.
    """
    names = [_TEST.sub("train", file.stem), *_USUAL_TRAIN]
    for name in dict.fromkeys(names):
        beside = file.with_name(f"{name}{file.suffix}")
        if "train" in name and beside.is_file():
            return beside
    return None


def find_test_file(file: Path) -> Path | None:
    """The other way round: an evaluation file beside training annotations."""
    if not _TRAIN.search(file.stem):
        return None
    for word in _TEST_WORDS:
        beside = file.with_name(f"{_TRAIN.sub(word, file.stem)}{file.suffix}")
        if beside.is_file():
            return beside
    return None
