"""How likely a model finds given answers, each prompt read once for all its candidates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from minigpt4.models.decoding import Stepper

POSITIONS = 16_384
"""Positions of keys and values, prompts included, that are held at once for a group of candidates;
what bounds the memory."""

Losses = Callable[[Tensor, Tensor], Tensor]
"""Logits (T, V) and token ids (T,) to the loss of each (T,)."""


@dataclass(frozen=True, slots=True)
class RankedAnswer:
    """A candidate and what the model thinks of it.

    Attributes:
        index: Its place among the row's candidates.
        text: The candidate.
        logprob: Log probability of all its tokens, the end token included.
        mean_logprob: The same divided by the number of tokens.
    """

    index: int
    text: str
    logprob: float
    mean_logprob: float


@torch.no_grad()
def candidate_losses(
    stepper: Stepper,
    candidates: Sequence[Sequence[Sequence[int]]],
    losses: Losses,
    *,
    positions: int = POSITIONS,
) -> list[list[float]]:
    """Sum of the losses of each candidate's tokens.

    Args:
        stepper: The model with one prompt a row, not read yet.
        candidates: For each row its candidates' token ids, at least one each.
        losses: What the loss of a token is.
        positions: See ``POSITIONS``.
    """
    first = stepper.first()[:, -1]  # (B, V)
    pairs = [(row, place) for row, each in enumerate(candidates) for place in range(len(each))]
    # Alike lengths together, so that little is filled up.
    pairs.sort(key=lambda pair: len(candidates[pair[0]][pair[1]]))
    found = [[0.0] * len(each) for each in candidates]
    while pairs:
        longest = len(candidates[pairs[-1][0]][pairs[-1][1]])
        count = max(1, positions // (stepper.length + longest))
        group, pairs = pairs[-count:], pairs[:-count]
        tokens = [candidates[row][place] for row, place in group]
        sums = _sums(stepper, first, [row for row, _ in group], tokens, losses)
        for (row, place), value in zip(group, sums.tolist(), strict=True):
            found[row][place] = value
    return found


def _sums(
    stepper: Stepper,
    first: Tensor,
    rows: Sequence[int],
    tokens: Sequence[Sequence[int]],
    losses: Losses,
) -> Tensor:
    """Sum of the losses of each answer (P,), given the row that it continues."""
    device = first.device
    index = torch.tensor(rows, device=device)
    begins = torch.tensor([each[0] for each in tokens], device=device)
    sums = losses(first[index], begins)  # (P,)
    longer = [number for number, each in enumerate(tokens) if len(each) > 1]
    if not longer:
        return sums
    owners = torch.tensor(longer, device=device)
    logits = stepper.fork(index[owners]).append([tokens[number][:-1] for number in longer])
    targets = torch.tensor([t for number in longer for t in tokens[number][1:]], device=device)
    counts = torch.tensor([len(tokens[number]) - 1 for number in longer], device=device)
    return sums.index_add(0, owners.repeat_interleave(counts), losses(logits, targets))
