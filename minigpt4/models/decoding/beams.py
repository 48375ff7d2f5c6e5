"""Beam search with the rules of transformers 4.30, which the original's answers came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from minigpt4.models.decoding.scores import penalize, warp
from minigpt4.models.decoding.stepper import Stepper
from minigpt4.models.generation import Decoded, GenerationOptions


@dataclass(slots=True)
class _Hypothesis:
    score: float
    token_ids: list[int]
    logprobs: list[float]
    finished: bool


@dataclass(slots=True)
class _Hypotheses:
    """The best finished beams of one row."""

    size: int
    length_penalty: float
    kept: list[_Hypothesis] = field(default_factory=list)

    def add(self, total: float, tokens: list[int], logprobs: list[float], finished: bool) -> None:
        length = len(tokens) + (0 if finished else 1)  # BOS counted, the end token not
        score = total / length**self.length_penalty
        if len(self.kept) == self.size:
            worst = min(self.kept, key=lambda h: h.score)
            if score <= worst.score:
                return
            self.kept.remove(worst)
        self.kept.append(_Hypothesis(score, tokens, logprobs, finished))

    def cannot_improve(self, best_total: float, length: int) -> bool:
        if len(self.kept) < self.size:
            return False
        worst = min(h.score for h in self.kept)
        return worst >= best_total / length**self.length_penalty

    def best(self, steps: int) -> Decoded:
        top = max(reversed(self.kept), key=lambda h: h.score)  # the latest of equals
        return Decoded(top.token_ids, top.logprobs, top.finished, steps)


def beam_search(
    stepper: Stepper,
    options: GenerationOptions,
    batch: int,
    bos_id: int,
    eos_ids: frozenset[int],
) -> list[Decoded]:
    """Answer a batch of prompts; see ``decode``."""
    beams = options.num_beams
    logprobs = stepper.first()[:, -1].log_softmax(-1).repeat_interleave(beams, 0)  # (B * K, V)
    device, vocabulary = logprobs.device, logprobs.shape[-1]
    stepper.select(torch.arange(batch, device=device).repeat_interleave(beams))
    totals = torch.zeros(batch, beams, device=device)
    totals[:, 1:] = -1e9  # all beams are alike at first: only one of them may be continued
    history = torch.full((batch * beams, 1), bos_id, device=device)  # (B * K, 1 + t)
    spent = torch.zeros(batch * beams, 0, device=device)  # log probabilities, (B * K, t)
    finished = [_Hypotheses(beams, options.length_penalty) for _ in range(batch)]
    done = [False] * batch
    steps = [0] * batch
    for step in range(options.max_new_tokens):
        scores = penalize(logprobs, history, options, eos_ids) + totals.view(-1, 1)
        best, flat = _candidates(scores.view(batch, -1), options, beams, len(eos_ids))  # (B, M)
        parents = flat // vocabulary + torch.arange(batch, device=device)[:, None] * beams
        tokens = flat % vocabulary
        own = logprobs[parents, tokens]  # (B, M)
        chosen: list[list[int]] = []
        for row in range(batch):
            ranks: list[int] = []
            for rank, token in enumerate(tokens[row].tolist()):
                if done[row] or len(ranks) == beams:
                    break
                if token not in eos_ids:
                    ranks.append(rank)
                elif rank < beams:
                    parent = parents[row, rank]
                    finished[row].add(
                        best[row, rank].item(),
                        [*history[parent, 1:].tolist(), token],
                        [*spent[parent].tolist(), own[row, rank].item()],
                        True,
                    )
            chosen.append(ranks if not done[row] else list(range(beams)))
            if not done[row]:
                done[row] = finished[row].cannot_improve(best[row].max().item(), step + 2)
                steps[row] = step + 1
        index = torch.tensor(chosen, device=device)  # (B, K)
        rows = parents.gather(1, index).flatten()
        totals = best.gather(1, index)
        picked = tokens.gather(1, index).view(-1, 1)
        history = torch.cat([history[rows], picked], dim=1)
        spent = torch.cat([spent[rows], own.gather(1, index).view(-1, 1)], dim=1)
        if all(done) or step + 1 == options.max_new_tokens:
            break
        stepper.select(rows)
        logprobs = stepper.next(picked.squeeze(1)).log_softmax(-1)
    for row in range(batch):
        if done[row]:
            continue
        for beam in range(row * beams, (row + 1) * beams):
            total = totals.view(-1)[beam].item()
            finished[row].add(total, history[beam, 1:].tolist(), spent[beam].tolist(), False)
    return [hypotheses.best(n) for hypotheses, n in zip(finished, steps, strict=True)]


def _candidates(
    scores: Tensor, options: GenerationOptions, beams: int, ends: int
) -> tuple[Tensor, Tensor]:
    """Continuations of K beams to choose from, best first: totals and flat indices (B, M).

    M leaves K to go on with even if each end token comes first in every beam.
    """
    count = (1 + ends) * beams
    if not options.do_sample:
        best, flat = scores.topk(count, dim=1)
        return best, flat
    per_beam = warp(scores.view(len(scores) * beams, -1), options, keep=1 + ends)
    scores = per_beam.view_as(scores)
    flat = torch.multinomial(scores.softmax(-1), count)
    best, order = scores.gather(1, flat).sort(descending=True, dim=1)
    return best, flat.gather(1, order)
