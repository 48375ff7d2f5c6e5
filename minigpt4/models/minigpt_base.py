"""What every model of the family offers: loss, answers, ranking and checkpoints."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any, Self

import torch
from torch import Tensor

from minigpt4.common.checkpoint import (
    LoadReport,
    is_derived,
    load_checkpoint_file,
    match_weights,
)
from minigpt4.common.errors import DataError
from minigpt4.common.settings import ModelSettings
from minigpt4.conversation.prompts import PromptStyle
from minigpt4.models.decoding import Stepper, decode
from minigpt4.models.fit import refuse_unfit
from minigpt4.models.generation import Generation, GenerationOptions, finish
from minigpt4.models.loss import reduce_losses
from minigpt4.models.minigpt_core import MiniGPTCore

logger = logging.getLogger(__name__)

FITTED_BUFFERS = ("visual_encoder.feature_mean", "visual_encoder.feature_std")
"""Buffers that a checkpoint holds besides what trains."""
_ENCODER = "visual_encoder."


class MiniGPTBase(MiniGPTCore):
    """A model that trains, answers, ranks candidates, and saves and loads what it learned.

    Args:
        settings: Section ``model``; its ``ckpt`` is loaded.
        device: Where to run; None: CUDA when there is one.

    Attributes:
        load_report: What the last checkpoint brought; None before one was loaded.
    """

    def __init__(self, settings: ModelSettings, device: torch.device | None = None) -> None:
        super().__init__(settings, device)
        self.load_report: LoadReport | None = None
        if settings.ckpt:
            self.load_checkpoint(settings.ckpt)
        if settings.freeze_vit:
            self.visual_encoder.optimize_frozen()

    @classmethod
    def from_config(cls, cfg: Any, device: torch.device | None = None) -> Self:
        """Build from ``Config.model_cfg``, a mapping, or ``ModelSettings``."""
        return cls(model_settings(cfg), device)

    @property
    def prompt_style(self) -> PromptStyle:
        """How inference builds prompts: as set, or as the loaded checkpoint was evaluated."""
        style = self.settings.prompt_style
        if style is not None:
            return "original" if style == "original" else "training"
        original = self.load_report is not None and self.load_report.is_original
        return "original" if original else "training"

    # Answers

    def get_context_emb(self, prompt: str, img_list: Sequence[Tensor]) -> Tensor:
        """Embed a prompt with its pictures.

        Args:
            prompt: Holds one ``<ImageHere>`` per picture.
            img_list: Each picture's embeddings (1, N, D) or (N, D), as from ``encode_img``.
        Returns:
            Tensor (1, L, D), BOS first.
        Raises:
            DataError: More placeholders than pictures, or pictures of different sizes.
        """
        pictures = [p.reshape(-1, p.shape[-1]) for p in img_list]
        sizes = {len(p) for p in pictures}
        if len(sizes) > 1:
            raise DataError(f"Pictures of one prompt have {sorted(sizes)} embeddings; give alike.")
        stacked = torch.stack(pictures) if pictures else None  # (T, N, D)
        layout = self.sequences.inference(prompt, *_shape(stacked))
        return self._splice([layout], [stacked]).inputs_embeds

    @torch.no_grad()
    def generate_scored(
        self,
        images: Tensor | None = None,
        texts: Sequence[str | Sequence[str]] = (),
        *,
        image_features: Tensor | None = None,
        length: Sequence[int] | None = None,
        streamer: Callable[[str], None] | None = None,
        **options: Any,
    ) -> list[Generation]:
        """Answer prompts, with the probability of each token.

        Args:
            images: Pictures (B, 3, S, S), or (B, T, 3, S, S); None for text only.
            texts: B prompts as ``conversation.prompts.inference_prompt`` builds them; a list holds
                the turns of a conversation: prompt, answer, prompt and so on.
            image_features: Cached encoder output (B, N, D) or (B, T, N, D), instead of ``images``.
            length: Pictures of each row, when they differ.
            streamer: Called with the answer so far after each token; for a single prompt without
                beams.
            **options: Fields of ``GenerationOptions``.
        Returns:
            One answer a prompt; it does not depend on the other rows.
        Raises:
            DataError: Prompts and pictures that do not fit each other.
            ConfigError: Options out of range.
        """
        chosen = GenerationOptions(**options)
        if streamer is not None and (len(texts) != 1 or chosen.num_beams > 1):
            raise ValueError("streaming takes one prompt and no beams")
        if not texts:
            return []
        training = self.training
        self.eval()
        try:
            samples = {"image": images, "image_features": image_features, "length": length}
            pictures = self._picture_embeds(samples, len(texts))
            layouts = [
                self.sequences.inference(text, *_shape(picture))
                for text, picture in zip(texts, pictures, strict=True)
            ]
            spliced = self._splice(layouts, pictures, pad_left=True)
            answers = decode(
                Stepper(self.llama_model, spliced.inputs_embeds, spliced.attention_mask),
                chosen,
                batch=len(texts),
                bos_id=self.tokenizer.bos_id,
                eos_ids=self.end_ids,
                on_tokens=self._text_stream(streamer),
            )
        finally:
            self.train(training)
        return [finish(answer, self.tokenizer) for answer in answers]

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
    def multi_select(
        self,
        images: Tensor | None,
        texts: Sequence[str],
        answers: Sequence[Sequence[str]],
        num_cand: Sequence[int] | None = None,
        *,
        image_features: Tensor | None = None,
    ) -> list[list[int]]:
        """Rank candidate answers by their loss.

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
        """
        training = self.training
        self.eval()
        try:
            pictures = self._picture_embeds(
                {"image": images, "image_features": image_features}, len(texts)
            )
            columns = [self._ranking_losses(texts, column, pictures) for column in answers]
        finally:
            self.train(training)
        losses = torch.stack(columns, dim=1)  # (B, C)
        if num_cand is not None:
            numbers = torch.arange(len(answers), device=losses.device)
            limits = torch.as_tensor(num_cand, device=losses.device)
            losses = losses.masked_fill(numbers >= limits[:, None], float("inf"))
        return losses.argsort(dim=-1, stable=True).tolist()

    def _ranking_losses(
        self, texts: Sequence[str], answers: Sequence[str], pictures: Sequence[Tensor | None]
    ) -> Tensor:
        turns = self._turns({"instruction_input": texts, "answer": answers})
        spliced = self._prepare(turns, pictures)
        losses, rows = self._losses(spliced)
        means = reduce_losses(losses, rows, len(texts), "none")
        counts = torch.bincount(rows, minlength=len(texts))
        return means * counts / (spliced.attention_mask.sum(1) - 1)

    # Checkpoints

    def trainable_state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint holds: trained parameters, and statistics that were fitted or grew."""
        kept = {name for name, p in self.named_parameters() if p.requires_grad}
        kept.update(FITTED_BUFFERS)
        state = self.state_dict()
        if not self.settings.freeze_vit:  # batch norms keep what they saw in buffers
            kept.update(name for name in state if name.startswith(_ENCODER))
        return {name.replace(".base_layer.", "."): state[name] for name in state if name in kept}

    def load_checkpoint(self, path: str) -> LoadReport:
        """Load a checkpoint's weights and say what of it was used.

        Raises:
            WeightsError: It cannot be read, or a learned part of it would be lost.
        """
        checkpoint = load_checkpoint_file(path)
        targets = self._loadable()
        report, found = match_weights(str(path), self._adapted(checkpoint.model), targets)
        report.is_original = checkpoint.is_original
        report.chat_template = checkpoint.chat_template
        refuse_unfit(report, self.settings, self._language, self.visual_encoder)
        with torch.no_grad():
            for name, value in found.items():
                targets[name].copy_(value)
        is_whole = not (report.missing or report.unexpected or report.mismatched)
        logger.log(logging.INFO if is_whole else logging.WARNING, "loaded %s", report)
        self.load_report = report
        return report

    def _adapted(self, weights: dict[str, Tensor]) -> dict[str, Tensor]:
        """Fit the encoder's weights of a checkpoint to this image size."""
        encoder = {
            n.removeprefix(_ENCODER): v for n, v in weights.items() if n.startswith(_ENCODER)
        }
        return weights | {_ENCODER + n: v for n, v in self.visual_encoder.adapt(encoder).items()}

    def _loadable(self) -> dict[str, Tensor]:
        """What a checkpoint may bring: each tensor once, without what follows from settings."""
        once = {name for name, _ in self.named_parameters()}
        twice = {name for name, _ in self.named_parameters(remove_duplicate=False)} - once
        return {
            name: value
            for name, value in self.state_dict().items()
            if name not in twice and not is_derived(name)
        }


def model_settings(cfg: Any) -> ModelSettings:
    """Typed settings of ``Config.model_cfg``, a mapping, or settings themselves.

    Keys that are not settings are left out: ``Config`` has judged them already.
    """
    if isinstance(cfg, ModelSettings):
        return cfg
    from omegaconf import DictConfig, OmegaConf

    values: Any = OmegaConf.to_container(cfg, resolve=True) if isinstance(cfg, DictConfig) else cfg
    known = {f.name for f in fields(ModelSettings)}
    return ModelSettings(**{k: v for k, v in values.items() if k in known})


def _shape(pictures: Tensor | None) -> tuple[int, int]:
    """Number of pictures (T, N, D) and the positions each takes."""
    return (0, 0) if pictures is None else (pictures.shape[0], pictures.shape[1])
