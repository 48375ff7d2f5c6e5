"""What is done to a model's scores before a token is chosen."""

from __future__ import annotations

import torch
from torch import Tensor

from minigpt4.models.generation import GenerationOptions

NEVER = float("-inf")


def penalize(
    scores: Tensor, history: Tensor, options: GenerationOptions, eos_ids: frozenset[int]
) -> Tensor:
    """Apply the repetition penalty, and forbid the end where the answer is too short."""
    if not options.penalizes:
        return scores
    penalty = options.repetition_penalty
    too_short = history.shape[1] < options.min_length
    scores = scores.clone()
    if penalty != 1:
        seen = scores.gather(1, history)
        scores.scatter_(1, history, torch.where(seen < 0, seen * penalty, seen / penalty))
    if too_short:
        scores[:, list(eos_ids)] = NEVER
    return scores


def choose(scores: Tensor, options: GenerationOptions) -> Tensor:
    """The likeliest token of each row of (R, V), or a drawn one: (R,)."""
    if options.do_sample:
        return torch.multinomial(warp(scores, options).softmax(-1), 1).squeeze(1)
    return scores.argmax(-1)


def warp(scores: Tensor, options: GenerationOptions, keep: int = 1) -> Tensor:
    """Temperature, then top k, then top p; at least ``keep`` tokens stay possible."""
    scores = scores / options.temperature
    if options.top_k:
        count = min(max(options.top_k, keep), scores.shape[-1])
        scores = scores.masked_fill(scores < scores.topk(count)[0][:, -1:], NEVER)
    if options.top_p < 1:
        ordered, index = scores.sort(dim=-1)
        drop = ordered.softmax(-1).cumsum(-1) <= 1 - options.top_p
        drop[:, -keep:] = False
        scores = scores.masked_fill(drop.scatter(1, index, drop), NEVER)
    return scores
