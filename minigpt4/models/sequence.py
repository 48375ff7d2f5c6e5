"""One sample's pieces to the rows of embeddings that the language model sees.

A sequence is BOS, the prompt's text pieces with the pictures' embeddings between them, the answer
with its end symbol, and for conversations BOS + prompt and answer of each later turn.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minigpt4.common.errors import DataError
from minigpt4.conversation.prompts import IMAGE, split_at_images
from minigpt4.models.tokenizer import LlmTokenizer

IGNORE = -100
"""Label of a position that has no part in the loss."""


@dataclass(slots=True)
class Layout:
    """A sequence before embedding.

    Attributes:
        ids: Token ids; a picture's positions hold ``-1 - (position among its sample's picture
            embeddings)``.
        labels: Target of each position, ``IGNORE`` outside the answers.
    """

    ids: list[int] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)

    def condition(self, ids: Sequence[int]) -> None:
        """Append positions without a target."""
        self.ids += ids
        self.labels += [IGNORE] * len(ids)

    def answer(self, ids: Sequence[int]) -> None:
        """Append positions that are their own targets."""
        self.ids += ids
        self.labels += ids


@dataclass(slots=True)
class Packed:
    """Embedded sequences laid end to end, without padding.

    Attributes:
        embeds: (T, D).
        labels: (T,), ``IGNORE`` where there is no target.
        lengths: Positions of each sequence; they sum to T.
    """

    embeds: Tensor
    labels: Tensor
    lengths: list[int]

    def targets(self) -> tuple[Tensor, Tensor, Tensor]:
        """What the loss is taken on.

        Returns:
            Positions (K,) that a target follows, in order; the targets (K,); the sequence of each.
        """
        # The first position of a sequence follows nothing, so its label does not count.
        lengths = torch.tensor(self.lengths, device=self.labels.device)
        counts = self.labels != IGNORE
        counts[lengths.cumsum(0) - lengths] = False
        after = counts.nonzero().squeeze(1)
        rows = torch.arange(len(lengths), device=lengths.device).repeat_interleave(lengths)
        return after - 1, self.labels[after], rows[after]

    def padded(self, *, left: bool = False) -> Spliced:
        """One sequence a row, filled at the right (training) or left (generation)."""
        side = "left" if left else "right"

        def rows(values: Tensor, fill: int) -> Tensor:
            return pad_sequence(
                values.split(self.lengths), batch_first=True, padding_value=fill, padding_side=side
            )

        mask = torch.ones(len(self.labels), dtype=torch.long, device=self.labels.device)
        return Spliced(rows(self.embeds, 0), rows(mask, 0), rows(self.labels, IGNORE))


@dataclass(slots=True)
class Spliced:
    """A padded batch of embedded sequences.

    Attributes:
        inputs_embeds: (B, L, D).
        attention_mask: (B, L), 1 where there is something.
        labels: (B, L), ``IGNORE`` where there is no target.
    """

    inputs_embeds: Tensor
    attention_mask: Tensor
    labels: Tensor


class SequenceBuilder:
    """Lays out prompts and answers.

    Args:
        tokenizer: The language model's.
        max_txt_len: Longest answer part in tokens.
        max_context_len: Longest prompt in positions, BOS not counted.
        end_sym: What ends an answer.

    Attributes:
        counts: How many answers and prompts were cut, and pictures left unused, so far.
    """

    def __init__(
        self, tokenizer: LlmTokenizer, *, max_txt_len: int, max_context_len: int, end_sym: str
    ) -> None:
        self.tokenizer = tokenizer
        self.max_txt_len = max_txt_len
        self.max_context_len = max_context_len
        self.end_sym = end_sym
        self.counts: Counter[str] = Counter()

    def prompt(self, text: str, images: int, tokens_per_image: int) -> list[int]:
        """Ids of a prompt with its pictures' slots, without BOS; not cut.

        Args:
            text: The prompt, with one ``<ImageHere>`` per picture.
            images: Pictures of the sample.
            tokens_per_image: Positions of each.
        Raises:
            DataError: More placeholders than pictures.
        """
        pieces = split_at_images(text)
        if len(pieces) - 1 > images:
            raise DataError(
                f"The prompt {text[:80]!r} has {len(pieces) - 1} {IMAGE} but the sample has "
                f"{images} picture(s): give one picture for each."
            )
        if len(pieces) - 1 < images:
            self.counts["unused_pictures"] += images - len(pieces) + 1
        ids = self.tokenizer.encode(pieces[0])
        for number, piece in enumerate(pieces[1:]):
            start = number * tokens_per_image
            ids += [-1 - slot for slot in range(start, start + tokens_per_image)]
            ids += self.tokenizer.encode(piece)
        return ids

    def inference(self, text: str | Sequence[str], images: int, tokens_per_image: int) -> Layout:
        """What generation continues: BOS and the prompt, cut as in training.

        Args:
            text: A prompt; for a later turn of a conversation prompt, answer, prompt and so on,
                which are laid out as in training.
            images: Pictures of the sample, all in the first prompt.
            tokens_per_image: Positions of each picture.
        """
        first, *later = [text] if isinstance(text, str) else text
        layout = Layout()
        layout.condition([self.tokenizer.bos_id])
        layout.condition(self._cut(self.prompt(first, images, tokens_per_image)))
        for answer, prompt in zip(later[::2], later[1::2], strict=True):
            layout.condition(self.tokenizer.encode(answer + self.end_sym))
            layout.condition(self._later(prompt))
        return layout

    def training(
        self,
        prompts: Sequence[str],
        answers: Sequence[str],
        images: int,
        tokens_per_image: int,
    ) -> Layout:
        """One training sequence.

        Args:
            prompts: Each turn's prompt as the language model is to see it.
            answers: Each turn's answer.
            images: Pictures of the sample, all in the first prompt.
            tokens_per_image: Positions of each picture.
        Raises:
            DataError: No turn, an answer without its prompt, pictures missing or in a later turn.
        """
        if not answers or len(answers) > len(prompts):
            raise DataError(
                f"A conversation has {len(prompts)} question(s) and {len(answers)} answer(s) "
                f"(first question {prompts[0][:60]!r}): give each answer its question."
            )
        if len(prompts) > len(answers):
            # Nothing follows such a turn, so it could not take part in the loss.
            self.counts["unanswered_turns"] += len(prompts) - len(answers)
        layout = Layout()
        layout.condition([self.tokenizer.bos_id])
        layout.condition(self._cut(self.prompt(prompts[0], images, tokens_per_image)))

        tail = Layout()
        for turn, answer in enumerate(answers):
            if turn:
                tail.condition(self._later(prompts[turn]))
            tail.answer(self.tokenizer.encode(answer + self.end_sym))
        if len(tail.ids) > self.max_txt_len:
            self.counts["cut_answers"] += 1
        layout.ids += tail.ids[: self.max_txt_len]
        layout.labels += tail.labels[: self.max_txt_len]
        return layout

    def answer(self, text: str) -> list[int]:
        """Ids of an answer to a prompt of ``inference``, its end included, cut as in training."""
        ids = self.tokenizer.encode(text + self.end_sym)
        if len(ids) > self.max_txt_len:
            self.counts["cut_answers"] += 1
        return ids[: self.max_txt_len]

    def _later(self, prompt: str) -> list[int]:
        """Ids of a later turn's prompt, which begins with a BOS of its own."""
        if IMAGE in prompt:
            raise DataError(
                f"The later question {prompt[:80]!r} holds {IMAGE}: give all pictures in the first "
                "question of a conversation."
            )
        return self.tokenizer.encode(prompt, add_bos=True)

    def _cut(self, prompt: list[int]) -> list[int]:
        if len(prompt) > self.max_context_len:
            self.counts["cut_prompts"] += 1
        return prompt[: self.max_context_len]


def pack(
    layouts: Sequence[Layout],
    images: Sequence[Tensor | None],
    embed: Callable[[Tensor], Tensor],
    *,
    device: torch.device,
) -> Packed:
    """Embed sequences and lay them end to end.

    Args:
        layouts: One per sample.
        images: Each sample's picture embeddings (positions, D), or None.
        embed: Token ids to embeddings.
        device: Where the embeddings are.
    """
    given = [pictures for pictures in images if pictures is not None]
    ids, slots, start = [], [], 0
    for layout, pictures in zip(layouts, images, strict=True):
        row = torch.tensor(layout.ids)
        ids.append(row)
        slots.append(start - 1 - row[row < 0])  # where in the table of all pictures
        start += 0 if pictures is None else len(pictures)
    flat = torch.cat(ids).to(device)  # (T,)
    embeds = embed(flat.clamp_min(0))  # (T, D)
    if given:
        table = torch.cat(given)[torch.cat(slots).to(device)]
        embeds = embeds.index_put(((flat < 0).nonzero().squeeze(1),), table.to(embeds.dtype))
    labels = torch.tensor([label for layout in layouts for label in layout.labels])
    return Packed(embeds, labels.to(device), [len(layout.ids) for layout in layouts])
