"""Answers of a model: searched for, free or within a constraint, or ranked among candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minigpt4.common.errors import DataError
from minigpt4.conversation.prompts import training_prompt
from minigpt4.models.constraints import CompiledConstraint, Constraint, Vocabulary
from minigpt4.models.decoding import Waiting, decode, decode_constrained
from minigpt4.models.generation import Decoded, Generation, GenerationOptions, finish
from minigpt4.models.loss import token_losses
from minigpt4.models.minigpt_reading import MiniGPTReading
from minigpt4.models.ranking import RankedAnswer, candidate_losses
from minigpt4.models.shared_prompts import Asked

_CONSTRAINTS = 8
"""Compiled constraints that are kept."""


class MiniGPTAnswers(MiniGPTReading):
    """A model that answers prompts and ranks candidate answers."""

    @torch.no_grad()
    def generate_scored(
        self,
        images: Tensor | None = None,
        texts: Sequence[str | Sequence[str]] = (),
        *,
        image_features: Tensor | None = None,
        constraint: Constraint | None = None,
        length: Sequence[int] | None = None,
        picture_of: Sequence[int] | None = None,
        at_once: int | None = None,
        streamer: Callable[[str], None] | None = None,
        **options: Any,
    ) -> list[Generation]:
        """Answer prompts, with the probability of each token.

        Args:
            images: Pictures (B, 3, S, S), or (B, T, 3, S, S); None for text only.
            texts: B prompts as ``conversation.prompts.inference_prompt`` builds them; a list holds
                the turns of a conversation: prompt, answer, prompt and so on.
            image_features: Cached encoder output (B, N, D) or (B, T, N, D), instead of ``images``.
            constraint: What answers may be; they then always end within ``max_new_tokens``. None
                for whatever the model says.
            length: Pictures of each row, when they differ.
            picture_of: Which row of ``images`` or ``image_features`` each prompt is about, when
                several are about one; that is encoded and, as far as the prompts begin alike, read
                once.
            at_once: How many prompts are answered at a time; others take the places of answered
                ones. None for all.
            streamer: Called with the answer so far after each token; for a single prompt without
                beams.
            **options: Fields of ``GenerationOptions``.
        Returns:
            One answer a prompt; it does not depend on the other rows.
        Raises:
            DataError: Prompts and pictures that do not fit each other.
            ConfigError: Options out of range, or that the constraint does not go with.
        """
        chosen = GenerationOptions(**options)
        if streamer is not None and (len(texts) != 1 or chosen.num_beams > 1):
            raise ValueError("streaming takes one prompt and no beams")
        if not texts:
            return []
        samples = {"image": images, "image_features": image_features, "length": length}
        asked = Asked(texts, samples, picture_of)
        batch = min(at_once or len(texts), len(texts))
        with self._evaluating():
            answers: list[Decoded] = []
            while len(answers) < len(texts):
                rest = asked.part(len(answers), len(texts))
                answers += self._decoded(rest, batch, chosen, constraint, streamer)
        return [finish(answer, self.tokenizer) for answer in answers]

    def _decoded(
        self,
        asked: Asked,
        batch: int,
        options: GenerationOptions,
        constraint: Constraint | None,
        streamer: Callable[[str], None] | None,
    ) -> list[Decoded]:
        """Answers to the first prompts of a batch, or to all where they can follow each other."""
        batch = min(batch, len(asked.texts))
        waiting = len(asked.texts) - batch
        stepper, _ = self._prompts(asked.part(0, batch))
        shared: dict[str, Any] = {
            "batch": batch,
            "bos_id": self.tokenizer.bos_id,
            "on_tokens": self._text_stream(streamer),
        }
        with self._merged(stepper, stepper.positions * (batch + waiting) // batch):
            if constraint is not None:
                return decode_constrained(stepper, options, self._compiled(constraint), **shared)
            if waiting and options.num_beams == 1 and stepper.can_join:
                shared["waiting"] = Waiting(
                    waiting,
                    lambda begin, end: self._prompts(asked.part(batch + begin, batch + end))[0],
                )
            return decode(stepper, options, eos_ids=self.end_ids, **shared)

    def generate(
        self,
        images: Tensor | None = None,
        texts: Sequence[str] = (),
        num_beams: int = 1,
        max_new_tokens: int = 20,
        min_length: int = 1,
        top_p: float = 0.9,
        repetition_penalty: float = 1,
        length_penalty: float = 1,
        temperature: float = 1,
        do_sample: bool = False,
        **other: Any,
    ) -> list[str]:
        """Answer prompts; see ``generate_scored``."""
        generations = self.generate_scored(
            images,
            texts,
            num_beams=num_beams,
            max_new_tokens=max_new_tokens,
            min_length=min_length,
            top_p=top_p,
            repetition_penalty=repetition_penalty,
            length_penalty=length_penalty,
            temperature=temperature,
            do_sample=do_sample,
            **other,
        )
        return [generation.text for generation in generations]

    @property
    def end_ids(self) -> frozenset[int]:
        """Tokens that end an answer."""
        declared = getattr(self.llama_model.generation_config, "eos_token_id", None)
        declared = declared if isinstance(declared, list) else [declared]
        return frozenset([self.tokenizer.eos_id, *(i for i in declared if i is not None)])

    def _text_stream(
        self, streamer: Callable[[str], None] | None
    ) -> Callable[[list[int]], None] | None:
        if streamer is None:
            return None
        return lambda ids: streamer(self.tokenizer.decode_prefix(ids))

    @torch.no_grad()
    def rank_answers(
        self,
        images: Tensor | None,
        texts: Sequence[str | Sequence[str]],
        candidates: Sequence[Sequence[str]],
        *,
        image_features: Tensor | None = None,
        picture_of: Sequence[int] | None = None,
    ) -> list[list[RankedAnswer]]:
        """Rank candidate answers by the mean log probability of their tokens, the end included.

        Args:
            images: Pictures (B, 3, S, S), or None.
            texts: B prompts, as ``generate_scored`` takes them.
            candidates: Each row's candidates, as many as it has.
            image_features: Cached encoder output, instead of ``images``.
            picture_of: As for ``generate_scored``.
        Returns:
            For each row all its candidates, best first, equal ones in their order.
        Raises:
            DataError: Prompts, pictures and candidates that do not fit each other.
        """
        _check_rows(texts, candidates)
        if not texts:
            return []
        with self._evaluating():
            samples = {"image": images, "image_features": image_features}
            stepper, _ = self._prompts(Asked(texts, samples, picture_of))
            ids = [[self.sequences.answer(text) for text in row] for row in candidates]
            with self._merged(stepper):
                sums = candidate_losses(stepper, ids, partial(F.cross_entropy, reduction="none"))
        ranked = []
        for row, tokens, losses in zip(candidates, ids, sums, strict=True):
            scored = [
                RankedAnswer(index, text, -loss, -loss / len(spelled))
                for index, (text, spelled, loss) in enumerate(zip(row, tokens, losses, strict=True))
            ]
            ranked.append(sorted(scored, key=lambda each: -each.mean_logprob))
        return ranked

    @torch.no_grad()
    def multi_select(
        self,
        images: Tensor | None,
        texts: Sequence[str],
        answers: Sequence[Sequence[str]],
        num_cand: Sequence[int] | None = None,
        *,
        image_features: Tensor | None = None,
    ) -> list[list[int]]:
        """Rank candidate answers by their loss, as the original does.

        A candidate's loss is summed over its tokens and divided by the length of the row's whole
        sequence. (The original divides by the padded length of the batch, which is the same for a
        single row and lets neighbours decide between near ties otherwise.)

        Args:
            images: Pictures (B, 3, S, S), or None.
            texts: B instructions, as in training.
            answers: Candidates; each holds one answer a row.
            num_cand: How many candidates each row really has; the others are put last.
            image_features: Cached encoder output, instead of ``images``.
        Returns:
            For each row the candidates' numbers, best first.
        Raises:
            DataError: Instructions, pictures and candidates that do not fit each other.
        """
        for column in answers:
            _check_rows(texts, column)
        limits = [len(answers)] * len(texts) if num_cand is None else num_cand
        with self._evaluating():
            pictures = {"image": images, "image_features": image_features}
            rows = [[column[row] for column in answers[:limit]] for row, limit in enumerate(limits)]
            losses = self._ranking_losses(texts, rows, pictures)
        ranks = []
        for row in losses:
            best_first = sorted(range(len(row)), key=row.__getitem__)
            ranks.append(best_first + list(range(len(row), len(answers))))
        return ranks

    def _ranking_losses(
        self,
        texts: Sequence[str],
        candidates: Sequence[Sequence[str]],
        samples: Mapping[str, Any],
    ) -> list[list[float]]:
        """The original's loss of each row's candidates."""
        prompts = [
            training_prompt(
                text,
                template=self.settings.prompt_template,
                chat_template=self.settings.chat_template,
            )
            for text in texts
        ]
        stepper, lengths = self._prompts(Asked(prompts, samples))
        ids = [[self.sequences.answer(text) for text in row] for row in candidates]
        soft = self.soft_targets.to(self.device) if self.soft_targets is not None else None
        with self._merged(stepper):
            sums = candidate_losses(stepper, ids, partial(token_losses, soft=soft))
        return [
            [loss / (length + len(tokens) - 1) for loss, tokens in zip(row, spelled, strict=True)]
            for row, spelled, length in zip(sums, ids, lengths, strict=True)
        ]

    @cached_property
    def _vocabulary(self) -> Vocabulary:
        return Vocabulary(self.tokenizer, self.end_ids)

    @cached_property
    def _constraints(self) -> dict[Constraint, CompiledConstraint]:
        return {}

    def _compiled(self, constraint: Constraint) -> CompiledConstraint:
        """The constraint in this model's tokens; the latest are kept."""
        found = self._constraints.get(constraint)
        if found is None:
            found = CompiledConstraint(constraint, self._vocabulary)
            if len(self._constraints) == _CONSTRAINTS:
                self._constraints.pop(next(iter(self._constraints)))
            self._constraints[constraint] = found
        return found


def _check_rows(texts: Sequence[Any], candidates: Sequence[Any]) -> None:
    if len(texts) != len(candidates):
        raise DataError(
            f"Candidates were given for {len(candidates)} prompts, but there are {len(texts)}."
        )
