"""From pictures and text to a loss: the parts of the model and the road between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from minigpt4.common.errors import DataError
from minigpt4.common.settings import ModelSettings
from minigpt4.conversation.prompts import training_turns
from minigpt4.datasets.schema import Batch
from minigpt4.models.decoder import decoder_of
from minigpt4.models.llm import default_device, load_language_model, resolve_precision
from minigpt4.models.loss import CoordinateTargets, Reduction, answer_losses, reduce_losses
from minigpt4.models.projector import Fp32LayerNorm, merge, merged_tokens
from minigpt4.models.sequence import Layout, Packed, SequenceBuilder, Spliced, pack
from minigpt4.models.vision import build_vision


class MiniGPTCore(nn.Module):
    """Encoder, projection and language model, and the road between them.

    Args:
        settings: Section ``model``.
        device: Where the language model will run; None: CUDA when there is one.

    Attributes:
        counts: Answers and prompts cut, pictures left unused, so far.
    """

    def __init__(self, settings: ModelSettings, device: torch.device | None = None) -> None:
        super().__init__()
        self.settings = settings
        device = device or default_device(settings)
        self.visual_encoder = build_vision(
            settings,
            resolve_precision(
                settings.vit_precision,
                device,
                key="model.vit_precision",
                trains=not settings.freeze_vit,
            ),
        )
        self.ln_vision = Fp32LayerNorm(self.visual_encoder.num_features)
        self.visual_encoder.requires_grad_(not settings.freeze_vit)
        self.ln_vision.requires_grad_(not settings.freeze_vit)

        language = load_language_model(settings, device)
        self.llama_model = language.model
        self.tokenizer = language.tokenizer
        self._language = language
        self.decoder = decoder_of(language.model)
        self.llama_proj = nn.Linear(
            self.visual_encoder.num_features * merged_tokens(settings.token_merge),
            self.llama_model.get_input_embeddings().weight.shape[1],
        )
        self.sequences = SequenceBuilder(
            self.tokenizer,
            max_txt_len=settings.max_txt_len,
            max_context_len=settings.max_context_len,
            end_sym=settings.end_sym,
        )
        self.soft_targets = (
            CoordinateTargets(self.tokenizer, settings.coord_sigma)
            if settings.coord_sigma > 0
            else None
        )
        self.to(device)

    @property
    def device(self) -> torch.device:
        """Where the projection is."""
        return self.llama_proj.weight.device

    @property
    def counts(self) -> Counter[str]:
        """What was cut or left out so far, by kind."""
        return self.sequences.counts

    def train(self, mode: bool = True) -> MiniGPTCore:
        """Set training mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.settings.freeze_vit:
            self.visual_encoder.eval()
        return self

    # Pictures

    def encode_image_features(self, pixel_values: Tensor) -> Tensor:
        """Run the encoder alone, without gradient; the result may be kept and given back.

        Args:
            pixel_values: Pictures (B, 3, S, S).
        Returns:
            Encoder output (B, N, D), in the encoder's precision.
        """
        with torch.no_grad():
            return self.visual_encoder(pixel_values.to(self.device))

    def encode_img(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Pictures to the language model's embeddings.

        Args:
            image: Pictures (B, 3, S, S) or (B, T, 3, S, S).
        Returns:
            Embeddings (B, N, D), or (B * T, N, D), and their attention mask of ones.
        """
        if image.dim() == 5:
            image = image.flatten(0, 1)  # (B * T, 3, S, S)
        if self.settings.freeze_vit:
            features = self.encode_image_features(image)
        else:
            features = self.visual_encoder(image.to(self.device))
        embeds = self.project(features)
        return embeds, torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device)

    def project(self, features: Tensor) -> Tensor:
        """Encoder output (B, N, D), fresh or cached, to embeddings (B, N', D')."""
        features = self.visual_encoder.finish(features.to(self.device))
        features = self.ln_vision(features).to(self.llama_proj.weight.dtype)
        return self.llama_proj(merge(features, self.settings.token_merge))

    def _picture_embeds(self, samples: Mapping[str, Any], batch: int) -> list[Tensor | None]:
        """Each sample's picture embeddings (T, N, D), or None for text only."""
        features, image = samples.get("image_features"), samples.get("image")
        if features is not None:
            flat = features.flatten(0, 1) if features.dim() == 4 else features
            embeds = self.project(flat)
        elif image is not None:
            embeds, _ = self.encode_img(image)
        else:
            return [None] * batch
        if len(embeds) % batch:
            raise DataError(f"{len(embeds)} pictures were given for {batch} samples.")
        embeds = embeds.unflatten(0, (batch, -1))  # (B, T, N, D)
        lengths = samples.get("length")
        if lengths is None:
            return list(embeds)
        return [row[: int(length)] for row, length in zip(embeds, lengths, strict=True)]

    # Training

    def forward(self, samples: Batch, reduction: Reduction = "mean") -> dict[str, Tensor]:
        """The loss on the answers' tokens.

        Args:
            samples: See ``Batch``.
            reduction: ``mean`` over the batch's answer tokens, ``sum``, or ``none`` for each
                sample's mean.
        Returns:
            ``{"loss": ...}``.
        Raises:
            DataError: Samples whose pictures, questions and answers do not fit each other.
        """
        packed = self.pack(samples)
        losses, rows = self._losses(packed)
        loss = reduce_losses(losses, rows, len(packed.lengths), reduction)
        if self.training and "image" not in samples and "image_features" not in samples:
            loss = loss + self._no_contribution()
        return {"loss": loss}

    def _no_contribution(self) -> Tensor:
        """Zero, with a gradient of zero for everything trained that only pictures pass through.

        Several processes average every gradient, so that a batch of text must have all of them;
        one process does the same, to train alike.
        """
        zero = torch.zeros((), device=self.device)
        for name, parameter in self.named_parameters():
            if parameter.requires_grad and not name.startswith("llama_model."):
                zero = zero + 0.0 * parameter.flatten()[0].float()
        return zero

    def prepare(self, samples: Batch) -> Spliced:
        """Lay out, embed and pad a batch of training samples."""
        return self.pack(samples).padded()

    def pack(self, samples: Batch) -> Packed:
        """Lay out and embed a batch of training samples, end to end."""
        turns = self._turns(samples)
        pictures = self._picture_embeds(samples, len(turns))
        layouts = []
        for (prompts, answers), embeds in zip(turns, pictures, strict=True):
            count, positions = (0, 0) if embeds is None else embeds.shape[:2]
            layouts.append(self.sequences.training(prompts, answers, count, positions))
        return self._pack(layouts, pictures)

    def _pack(self, layouts: Sequence[Layout], pictures: Sequence[Tensor | None]) -> Packed:
        flat = [None if p is None else p.flatten(0, 1) for p in pictures]  # (T * N, D)
        embed = self.llama_model.get_input_embeddings()
        return pack(layouts, flat, embed, device=self.device)

    def _turns(self, samples: Mapping[str, Any]) -> list[tuple[list[str], list[str]]]:
        """Each sample's prompts and answers."""
        return training_turns(
            samples,
            template=self.settings.prompt_template,
            chat_template=self.settings.chat_template,
        )

    def _losses(self, packed: Packed) -> tuple[Tensor, Tensor]:
        """Loss of each answer token, and the sample it belongs to."""
        wanted, targets, rows = packed.targets()
        if self.soft_targets is not None:
            self.soft_targets.to(targets.device)
        # Without any target something is computed all the same, for gradients of zero.
        some = wanted if len(wanted) else wanted.new_zeros(1)
        vocabulary = self.llama_model.get_input_embeddings().weight.shape[0]
        if self.decoder is not None and self.decoder.takes(max(packed.lengths)):
            states = self.decoder.hidden(packed.embeds, packed.lengths, some)  # (K, D)
            head = self.decoder.head
        else:
            states, head = self._padded_logits(packed, some), nn.Identity()
        losses = answer_losses(
            states[: len(wanted)], head, targets, self.soft_targets, vocabulary=vocabulary
        )
        return losses, rows

    def _padded_logits(self, packed: Packed, wanted: Tensor) -> Tensor:
        """Logits (K, V) of some positions by the language model's own forward pass.

        Padding is at the right, where causal attention cannot see it, so no mask is passed. Logits
        are computed only for columns in which some sample has a target.
        """
        spliced = packed.padded()
        there = spliced.attention_mask.flatten().nonzero().squeeze(1)  # (T,)
        cells = there[wanted]  # (K,), places in the padded batch
        width = spliced.attention_mask.shape[1]
        columns, where = torch.unique(cells % width, return_inverse=True)  # (C,), (K,)
        output = self.llama_model(
            inputs_embeds=spliced.inputs_embeds, logits_to_keep=columns, use_cache=False
        )
        logits: Tensor = output.logits[cells // width, where]
        return logits
