"""How long training sequences are: from the data and the tokenizer, as far as they are here."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from minigpt4.common.settings import ModelSettings
from minigpt4.conversation.prompts import split_at_images, training_turns
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.collate import collate
from minigpt4.models.sequence import IGNORE, SequenceBuilder

if TYPE_CHECKING:
    from minigpt4.datasets.schema import Sample
    from minigpt4.tasks.image_text_pretrain import Split

LOOKED_AT = 512
"""Samples of each data set whose length is taken."""
ASSUMED_TEXT, ASSUMED_ANSWER = 64, 32
"""Tokens of prompt and answer where no data are here; the tutorial's stay below."""
_CHARACTERS = 2
"""Characters of a token where no tokenizer is here; Llama's takes about 2.4 of Vietnamese."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lengths:
    """Of training sequences.

    Attributes:
        positions: Of the longest, its picture included.
        typical: The median.
        answer: Tokens of the longest answer.
        pictures: Most pictures of a sample.
        origin: Where the numbers come from.
    """

    positions: int
    typical: int
    answer: int
    pictures: int
    origin: str


def assumed_lengths(positions_per_picture: int, reason: str) -> Lengths:
    """Lengths without data."""
    whole = 1 + positions_per_picture + ASSUMED_TEXT + ASSUMED_ANSWER
    return Lengths(
        positions=whole,
        typical=whole,
        answer=ASSUMED_ANSWER,
        pictures=1,
        origin=f"assumed: {ASSUMED_TEXT} tokens of prompt, {ASSUMED_ANSWER} of answer ({reason})",
    )


def data_lengths(
    splits: Sequence[Split],
    settings: ModelSettings,
    tokenizer: Any | None,
    positions_per_picture: int,
) -> Lengths:
    """Lengths of the first samples of every data set; streams are left out.

    Args:
        splits: Opened for training.
        settings: Section ``model``.
        tokenizer: The language model's, or None to count characters.
        positions_per_picture: Positions that a picture takes.
    """
    words: Any = tokenizer or _ByCharacters()
    builder = SequenceBuilder(
        words,
        max_txt_len=settings.max_txt_len,
        max_context_len=settings.max_context_len,
        end_sym=settings.end_sym,
    )
    wholes, answers, pictures = [], [], [0]
    for sample in _samples(splits):
        ((prompts, replies),) = training_turns(
            collate([sample]),
            template=settings.prompt_template,
            chat_template=settings.chat_template,
        )
        count = len(split_at_images(prompts[0])) - 1
        layout = builder.training(prompts, replies, count, positions_per_picture)
        wholes.append(len(layout.ids))
        answers.append(sum(label != IGNORE for label in layout.labels))
        pictures.append(count)
    if not wholes:
        return assumed_lengths(positions_per_picture, "streams are not looked into")
    how = "" if tokenizer is not None else f", {_CHARACTERS} characters a token"
    return Lengths(
        positions=max(wholes),
        typical=int(statistics.median(wholes)),
        answer=max(answers),
        pictures=max(pictures),
        origin=f"of the first {len(wholes):,} samples{how}",
    )


def _samples(splits: Sequence[Split]) -> Iterator[Sample]:
    for each in splits:
        if isinstance(each.dataset, RecordDataset):
            yield from itertools.islice(each.dataset.described(), LOOKED_AT)


class _ByCharacters:
    """Stands in for a tokenizer: so many tokens, of no meaning."""

    bos_id = 0

    def encode(self, text: str, add_bos: bool = False) -> list[int]:
        """As many ids as ``text`` may have."""
        return [0] * (math.ceil(len(text) / _CHARACTERS) + add_bos)
