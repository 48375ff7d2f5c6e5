"""Greedy search, sampling and beam search over embedded prompts.

The rules are those that the original's answers came from: a BOS that is not fed to the model stands
at the head of each answer, where it counts for ``min_length``, for the length of beams and for the
repetition penalty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from minigpt4.models.generation import Decoded, GenerationOptions
from minigpt4.models.llm import accepts

NEVER = float("-inf")


class Stepper:
    """A language model with its key-value cache, one token a step.

    Args:
        model: Causal LM.
        inputs_embeds: Prompts padded at the left, (B, L, D).
        attention_mask: (B, L).
    """

    def __init__(self, model: Any, inputs_embeds: Tensor, attention_mask: Tensor) -> None:
        from transformers import DynamicCache

        self._model = model
        self._cache: Any = DynamicCache(config=model.config)
        self._embeds = inputs_embeds
        self._mask = attention_mask
        self._is_padded = not bool(attention_mask.all())
        self._takes_positions = accepts(model, "position_ids")

    def first(self) -> Tensor:
        """Read the prompts; logits (B, V) of the first tokens."""
        positions = (self._mask.cumsum(-1) - 1).clamp_min(0)
        return self._forward(positions, inputs_embeds=self._embeds)

    def next(self, tokens: Tensor) -> Tensor:
        """Append one token a row (B,); logits (B, V) of the ones after."""
        positions = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._forward(positions, input_ids=tokens[:, None])

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be kept several times."""
        self._cache.reorder_cache(rows)
        self._mask = self._mask[rows]

    def _forward(self, positions: Tensor, **inputs: Tensor) -> Tensor:
        if self._takes_positions:
            inputs["position_ids"] = positions
        output = self._model(
            **inputs,
            attention_mask=self._mask if self._is_padded else None,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[:, -1].float()
        return logits


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

    def best(self) -> Decoded:
        top = max(reversed(self.kept), key=lambda h: h.score)  # the latest of equals
        return Decoded(top.token_ids, top.logprobs, top.finished)


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
        return _beam_search(stepper, options, batch, bos_id, eos_ids)
    answers = [Decoded([], [], False) for _ in range(batch)]
    running = list(range(batch))
    logits = stepper.first()  # (R, V)
    history = torch.full((batch, 1), bos_id, device=logits.device)  # (R, 1 + t)
    for step in range(options.max_new_tokens):
        scores = _penalize(logits, history, options, eos_ids)
        if options.do_sample:
            tokens = torch.multinomial(_warp(scores, options).softmax(-1), 1).squeeze(1)
        else:
            tokens = scores.argmax(-1)
        chosen = logits.log_softmax(-1).gather(1, tokens[:, None]).squeeze(1).tolist()
        going = []
        for row, (answer, token) in enumerate(zip(running, tokens.tolist(), strict=True)):
            answers[answer].token_ids.append(token)
            answers[answer].logprobs.append(chosen[row])
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


def _beam_search(
    stepper: Stepper,
    options: GenerationOptions,
    batch: int,
    bos_id: int,
    eos_ids: frozenset[int],
) -> list[Decoded]:
    beams = options.num_beams
    logprobs = stepper.first().log_softmax(-1).repeat_interleave(beams, 0)  # (B * K, V)
    device, vocabulary = logprobs.device, logprobs.shape[-1]
    stepper.select(torch.arange(batch, device=device).repeat_interleave(beams))
    totals = torch.zeros(batch, beams, device=device)
    totals[:, 1:] = -1e9  # all beams are alike at first: only one of them may be continued
    history = torch.full((batch * beams, 1), bos_id, device=device)  # (B * K, 1 + t)
    spent = torch.zeros(batch * beams, 0, device=device)  # log probabilities, (B * K, t)
    finished = [_Hypotheses(beams, options.length_penalty) for _ in range(batch)]
    done = [False] * batch
    for step in range(options.max_new_tokens):
        scores = _penalize(logprobs, history, options, eos_ids) + totals.view(-1, 1)
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
    return [hypotheses.best() for hypotheses in finished]


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
    per_beam = _warp(scores.view(len(scores) * beams, -1), options, keep=1 + ends)
    scores = per_beam.view_as(scores)
    flat = torch.multinomial(scores.softmax(-1), count)
    best, order = scores.gather(1, flat).sort(descending=True, dim=1)
    return best, flat.gather(1, order)


def _penalize(
    scores: Tensor, history: Tensor, options: GenerationOptions, eos_ids: frozenset[int]
) -> Tensor:
    """Apply the repetition penalty, and forbid the end where the answer is too short."""
    penalty = options.repetition_penalty
    too_short = history.shape[1] < options.min_length
    if penalty == 1 and not too_short:
        return scores
    scores = scores.clone()
    if penalty != 1:
        seen = scores.gather(1, history)
        scores.scatter_(1, history, torch.where(seen < 0, seen * penalty, seen / penalty))
    if too_short:
        scores[:, list(eos_ids)] = NEVER
    return scores


def _warp(scores: Tensor, options: GenerationOptions, keep: int = 1) -> Tensor:
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
