"""Greedy search and sampling, one token a step.

The rules are those that the original's answers came from: a BOS that is not fed to the model stands
at the head of each answer, where it counts for ``min_length``, for the length of beams and for the
repetition penalty.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt4.models.decoding.beams import beam_search
from minigpt4.models.decoding.scores import choose, penalize
from minigpt4.models.decoding.stepper import Stepper
from minigpt4.models.generation import Decoded, GenerationOptions


@dataclass(frozen=True, slots=True)
class Waiting:
    """Prompts that take the places of answered ones.

    Attributes:
        count: How many there are.
        begin: The model about to read those from one number up to another.
    """

    count: int
    begin: Callable[[int, int], Stepper]


@torch.no_grad()
def decode(
    stepper: Stepper,
    options: GenerationOptions,
    *,
    batch: int,
    bos_id: int,
    eos_ids: frozenset[int],
    on_tokens: Callable[[list[int]], None] | None = None,
    waiting: Waiting | None = None,
) -> list[Decoded]:
    """Answer a batch of prompts, and others as places get free.

    Args:
        stepper: The model with the first prompts.
        options: How to search.
        batch: Number of the first prompts.
        bos_id: What stands at the head of each answer.
        eos_ids: What ends an answer.
        on_tokens: Called with the tokens of the first row so far, after each step; not with beams.
        waiting: Further prompts; not with beams. They are read when half of the places are free, so
            that few of their passes are small ones. The stepper has to be one that can ``join``.
    """
    if options.num_beams > 1:
        return beam_search(stepper, options, batch, bos_id, eos_ids)
    answers = [Decoded([], [], False) for _ in range(batch + (waiting.count if waiting else 0))]
    running, begun = list(range(batch)), batch
    logits = stepper.first()[:, -1]  # (R, V)
    while running:
        said = [answers[number] for number in running]
        tokens = choose(_penalized(logits, said, options, bos_id, eos_ids), options)
        chosen = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1).tolist()
        going = []
        for row, (answer, token) in enumerate(zip(said, tokens.tolist(), strict=True)):
            answer.token_ids.append(token)
            answer.logprobs.append(chosen[row])
            answer.steps += 1
            answer.finished = token in eos_ids
            if not answer.finished and len(answer.token_ids) < options.max_new_tokens:
                going.append(row)
        if on_tokens is not None:
            on_tokens(answers[0].token_ids)
        if going and len(going) < len(running):
            rows = torch.tensor(going, device=tokens.device)
            stepper.select(rows)
            tokens = tokens[rows]
        running = [running[row] for row in going]
        following = [stepper.next(tokens)] if going else []
        if waiting is not None and 2 * len(going) <= batch and begun < len(answers):
            end = min(begun + batch - len(going), len(answers))
            fresh = waiting.begin(begun - batch, end - batch)
            following.append(fresh.first()[:, -1])
            if going:
                stepper.join(fresh)
            else:
                stepper = fresh
            running += range(begun, end)
            begun = end
        if running:
            logits = torch.cat(following)
    return answers


def _penalized(
    logits: Tensor,
    answers: Sequence[Decoded],
    options: GenerationOptions,
    bos_id: int,
    eos_ids: frozenset[int],
) -> Tensor:
    """Scores (R, V) of what follows each answer; those of one length are penalized together."""
    if not options.penalizes:
        return logits
    by_length: dict[int, list[int]] = {}
    for row, answer in enumerate(answers):
        by_length.setdefault(len(answer.token_ids), []).append(row)

    def penalized(some: Tensor, rows: Sequence[int]) -> Tensor:
        said = [[bos_id, *answers[row].token_ids] for row in rows]
        history = torch.tensor(said, device=logits.device)  # (r, 1 + t)
        return penalize(some, history, options, eos_ids)

    if len(by_length) == 1:
        return penalized(logits, range(len(answers)))
    scores = logits.clone()
    for rows in by_length.values():
        scores[rows] = penalized(logits[rows], rows)
    return scores
