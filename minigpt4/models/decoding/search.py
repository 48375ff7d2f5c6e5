"""Greedy search and sampling, one token a step.

The rules are those that the original's answers came from: a BOS that is not fed to the model stands
at the head of each answer, where it counts for ``min_length``, for the length of beams and for the
repetition penalty.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from minigpt4.models.decoding.beams import beam_search
from minigpt4.models.decoding.scores import choose, penalize
from minigpt4.models.decoding.stepper import Stepper
from minigpt4.models.generation import Decoded, GenerationOptions


@torch.no_grad()
def decode(
    stepper: Stepper,
    options: GenerationOptions,
    *,
    batch: int,
    bos_id: int,
    eos_ids: frozenset[int],
    on_tokens: Callable[[list[int]], None] | None = None,
) -> list[Decoded]:
    """Answer a batch of prompts.

    Args:
        stepper: The model with the prompts.
        options: How to search.
        batch: Number of prompts.
        bos_id: What stands at the head of each answer.
        eos_ids: What ends an answer.
        on_tokens: Called with the tokens of the first row so far, after each step; not with beams.
    """
    if options.num_beams > 1:
        return beam_search(stepper, options, batch, bos_id, eos_ids)
    answers = [Decoded([], [], False) for _ in range(batch)]
    running = list(range(batch))
    logits = stepper.first()[:, -1]  # (R, V)
    history = torch.full((batch, 1), bos_id, device=logits.device)  # (R, 1 + t)
    for step in range(options.max_new_tokens):
        tokens = choose(penalize(logits, history, options, eos_ids), options)
        chosen = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1).tolist()
        going = []
        for row, (answer, token) in enumerate(zip(running, tokens.tolist(), strict=True)):
            answers[answer].token_ids.append(token)
            answers[answer].logprobs.append(chosen[row])
            answers[answer].steps = step + 1
            answers[answer].finished = token in eos_ids
            if token not in eos_ids:
                going.append(row)
        if on_tokens is not None:
            on_tokens(answers[0].token_ids)
        if not going or step + 1 == options.max_new_tokens:
            break
        history = torch.cat([history, tokens[:, None]], dim=1)
        if len(going) < len(running):
            rows = torch.tensor(going, device=tokens.device)
            stepper.select(rows)
            tokens, history = tokens[rows], history[rows]
            running = [running[row] for row in going]
        logits = stepper.next(tokens)
    return answers
