"""An answer, and what can be asked of it."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from minigpt4.common.errors import ConfigError
from minigpt4.models.tokenizer import LlmTokenizer

_BOS, _EOS, _TEMPLATE_END = "<s>", "</s>", "[/INST]"


@dataclass(kw_only=True, frozen=True, slots=True)
class GenerationOptions:
    """How answers are searched; the defaults are greedy search.

    Attributes:
        max_new_tokens: Longest answer in tokens.
        min_length: No end before so many tokens, BOS counted.
        num_beams: Beams; 1 for none.
        do_sample: Draw tokens instead of taking the likeliest.
        temperature: Divides the scores before drawing.
        top_p: Draw from the likeliest tokens that together have this probability.
        top_k: Draw from so many likeliest tokens; 0 for all.
        repetition_penalty: Above 1 makes tokens that occurred already less likely.
        length_penalty: Exponent of the length that beam scores are divided by.
    Raises:
        ConfigError: A value out of range.
    """

    max_new_tokens: int = 20
    min_length: int = 1
    num_beams: int = 1
    do_sample: bool = False
    temperature: float = 1.0
    top_p: float = 0.9
    top_k: int = 50
    repetition_penalty: float = 1.0
    length_penalty: float = 1.0

    def __post_init__(self) -> None:
        checks = {
            "max_new_tokens": self.max_new_tokens >= 1,
            "num_beams": self.num_beams >= 1,
            "temperature": self.temperature > 0,
            "top_p": 0 < self.top_p <= 1,
            "top_k": self.top_k >= 0,
            "repetition_penalty": self.repetition_penalty > 0,
        }
        wrong = [f"{name} {getattr(self, name)}" for name, right in checks.items() if not right]
        if wrong:
            raise ConfigError(f"Generation cannot work with {', '.join(wrong)}.")

    @property
    def penalizes(self) -> bool:
        """Whether scores depend on what was said before, or on its length."""
        return self.repetition_penalty != 1 or self.min_length > 1


@dataclass(slots=True)
class Decoded:
    """Tokens of one answer as the search gave them, the end token included.

    Attributes:
        token_ids: Chosen tokens.
        logprobs: Log probability of each under the model itself, before any penalty.
        finished: Whether the end token came before the limit.
        steps: Forward passes that the answer took part in, the prompt's included.
    """

    token_ids: list[int]
    logprobs: list[float]
    finished: bool
    steps: int = 0


@dataclass(slots=True)
class Generation:
    """One answer.

    Attributes:
        text: What the model says, cleaned as the original did.
        token_ids: Its tokens, the end token included.
        logprobs: Log probability of each token under the model, before any penalty.
        pieces: The tokens as the vocabulary spells them.
        spans: Each token's place in ``text`` (start, end); empty where it adds nothing.
        finished: Whether the end token came before the limit.
        steps: Forward passes that it took part in, the prompt's included.
    """

    text: str
    token_ids: list[int]
    logprobs: list[float]
    pieces: list[str] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    finished: bool = False
    steps: int = 0

    @property
    def logprob(self) -> float:
        """Log probability of the whole answer."""
        return sum(self.logprobs)


def span_probability(generation: Generation, start: int, end: int) -> float:
    """Probability of a part of the answer, given what precedes it.

    Args:
        generation: The answer.
        start: First character in ``generation.text``.
        end: One past the last character.
    Returns:
        Product of the probabilities of the tokens that have a character in the part; 1.0 when none
        has.
    """
    inside = [
        logprob
        for logprob, (first, last) in zip(generation.logprobs, generation.spans, strict=True)
        if first < end and last > start
    ]
    return math.exp(sum(inside))


def finish(decoded: Decoded, tokenizer: LlmTokenizer) -> Generation:
    """Text and spans of decoded tokens."""
    raw = tokenizer.decode(decoded.token_ids)
    kept = _kept_characters(raw)
    place = {index: position for position, index in enumerate(kept)}
    spans, begin = [], 0
    for end in tokenizer.char_ends(decoded.token_ids):
        inside = [place[i] for i in range(begin, end) if i in place]
        spans.append((inside[0], inside[-1] + 1) if inside else (0, 0))
        begin = end
    return Generation(
        text="".join(raw[i] for i in kept),
        token_ids=decoded.token_ids,
        logprobs=decoded.logprobs,
        pieces=[tokenizer.piece(i) for i in decoded.token_ids],
        spans=spans,
        finished=decoded.finished,
        steps=decoded.steps,
    )


def clean_text(raw: str) -> str:
    """What the original keeps of a decoded answer: see ``_kept_characters``."""
    return "".join(raw[i] for i in _kept_characters(raw))


def _kept_characters(raw: str) -> Sequence[int]:
    """Positions of the characters that make the answer.

    What follows an end symbol spelled out is cut, a BOS spelled out is removed, what precedes the
    end of a chat template is cut, and white space around is stripped.
    """
    stop = raw.find(_EOS)
    kept = list(range(len(raw) if stop < 0 else stop))
    removed = {
        i for match in re.finditer(re.escape(_BOS), raw[: len(kept)]) for i in range(*match.span())
    }
    kept = [i for i in kept if i not in removed]
    text = "".join(raw[i] for i in kept)
    cut = text.rfind(_TEMPLATE_END)
    begin = 0 if cut < 0 else cut + len(_TEMPLATE_END)
    body = text[begin:]
    begin += len(body) - len(body.lstrip())
    return kept[begin : begin + len(body.strip())]
