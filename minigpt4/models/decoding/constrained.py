"""Greedy search and sampling among the answers of a constraint.

What must follow is not asked for token by token: it goes through the model together with the token
before it, in one forward pass, and the prompt takes the answer's fixed beginning along. Log
probabilities are the model's own, over its whole vocabulary, for chosen and forced tokens alike.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints.compiled import CompiledConstraint, Position
from minigpt4.models.decoding.scores import NEVER, choose, penalize
from minigpt4.models.decoding.stepper import Stepper
from minigpt4.models.generation import Decoded, GenerationOptions


@dataclass(slots=True)
class _Row:
    """One answer as it grows.

    Attributes:
        position: In the constraint.
        forced: Tokens that were put into the model but are not recorded yet.
    """

    position: Position
    answer: Decoded = field(default_factory=lambda: Decoded([], [], False))
    forced: list[int] = field(default_factory=list)


@torch.no_grad()
def decode_constrained(
    stepper: Stepper,
    options: GenerationOptions,
    constraint: CompiledConstraint,
    *,
    batch: int,
    bos_id: int,
    on_tokens: Callable[[list[int]], None] | None = None,
) -> list[Decoded]:
    """Answer a batch of prompts so that every answer satisfies the constraint and ends.

    Args:
        stepper: The model with the prompts.
        options: How to search.
        constraint: What answers may be.
        batch: Number of prompts.
        bos_id: What stands at the head of each answer.
        on_tokens: Called with the tokens of the first row so far, after each pass.
    Raises:
        ConfigError: Beams, or a limit that no answer fits into.
    """
    if options.num_beams > 1:
        raise ConfigError(
            f"A constraint on answers cannot be combined with num_beams {options.num_beams}: use "
            "num_beams 1, or decoding: free."
        )
    constraint.check(options.max_new_tokens)
    rows = [_Row(constraint.start) for _ in range(batch)]
    for row in rows:
        _force(row, constraint, options.max_new_tokens)
    logits = stepper.first(rows[0].forced).flatten(0, 1)  # (B * (1 + F), V)
    running = rows
    while True:
        after = _record_forced(running, logits)  # (R, V)
        tokens, logprobs = _choose(running, after, options, constraint, bos_id)
        going: list[int] = []
        for number, (row, token) in enumerate(zip(running, tokens, strict=True)):
            row.answer.steps += 1
            row.answer.token_ids.append(token)
            row.answer.logprobs.append(logprobs[number])
            row.answer.finished = token in constraint.vocabulary.end_ids
            if not row.answer.finished:
                row.position = constraint.advance(row.position, token)
                _force(row, constraint, options.max_new_tokens)
                going.append(number)
        if on_tokens is not None:
            on_tokens(rows[0].answer.token_ids)
        if not going:
            return [row.answer for row in rows]
        if len(going) < len(running):
            stepper.select(torch.tensor(going, device=logits.device))
            running = [running[number] for number in going]
        logits = stepper.append([[row.answer.token_ids[-1], *row.forced] for row in running])


def _force(row: _Row, constraint: CompiledConstraint, limit: int) -> None:
    """Note what must follow the row's answer."""
    spoken = row.answer.token_ids
    row.forced = constraint.forced(row.position, spoken, limit - len(spoken))
    for token in row.forced:
        row.position = constraint.advance(row.position, token)


def _record_forced(rows: list[_Row], logits: Tensor) -> Tensor:
    """Move each row's forced tokens to its answer, with their log probabilities.

    Args:
        rows: R answers.
        logits: What follows each row's chosen token and each of its forced ones, (T, V), T being
            the sum of 1 + the number of forced tokens.
    Returns:
        Logits (R, V) of what follows each row's last token.
    """
    last: list[int] = []
    forced: list[int] = []
    begin = 0
    for row in rows:
        forced += range(begin, begin + len(row.forced))
        last.append(begin + len(row.forced))
        begin = last[-1] + 1
    targets = torch.tensor([t for row in rows for t in row.forced], device=logits.device).long()
    scores = logits[forced].log_softmax(-1)  # (F, V)
    found = iter(scores.gather(1, targets[:, None]).squeeze(1).tolist())
    for row in rows:
        row.answer.token_ids += row.forced
        row.answer.logprobs += [next(found) for _ in row.forced]
        row.forced = []
    return logits[last]


def _choose(
    rows: list[_Row],
    logits: Tensor,
    options: GenerationOptions,
    constraint: CompiledConstraint,
    bos_id: int,
) -> tuple[list[int], list[float]]:
    """The next token of each row among those that are allowed, and its log probability.

    Where penalties leave nothing, as when an answer must end before ``min_length``, the constraint
    goes first.
    """
    allowed = torch.zeros_like(logits, dtype=torch.bool)  # (R, V)
    scores = []
    for number, row in enumerate(rows):
        spoken = row.answer.token_ids
        left = options.max_new_tokens - len(spoken)
        allowed[number, constraint.choices(row.position).within(left).to(logits.device)] = True
        history = torch.tensor([[bos_id, *spoken]], device=logits.device)  # (1, 1 + t)
        ends = frozenset(constraint.vocabulary.end_ids)
        scores.append(penalize(logits[number : number + 1], history, options, ends))
    penalized = torch.cat(scores).masked_fill(~allowed, NEVER)
    nothing = penalized.isneginf().all(-1, keepdim=True)  # (R, 1)
    tokens = choose(torch.where(nothing, logits.masked_fill(~allowed, NEVER), penalized), options)
    logprobs = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1)
    return tokens.tolist(), logprobs.tolist()
