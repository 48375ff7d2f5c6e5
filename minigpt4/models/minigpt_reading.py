"""A model that reads prompts with their pictures, before it answers them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from minigpt4.common.errors import DataError
from minigpt4.models.decoding import Beginnings, Stepper
from minigpt4.models.merging import LoraMerger
from minigpt4.models.minigpt_core import MiniGPTCore
from minigpt4.models.packed import PackedSteps
from minigpt4.models.shared_prompts import Asked, share


class MiniGPTReading(MiniGPTCore):
    """A model that reads prompts.

    Attributes:
        mixed: What products are computed in while it answers; None: the type of the weights, or
            what autocast around it says.
    """

    mixed: torch.dtype | None = None

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
        return self._pack([layout], [stacked]).embeds[None]

    def _prompts(self, asked: Asked) -> tuple[Stepper, list[int]]:
        """The language model about to read prompts, and the prompts' lengths."""
        texts, samples, picture_of = asked.texts, asked.samples, asked.picture_of
        if picture_of is None:
            pictures = self._picture_embeds(samples, len(texts))
        else:
            found = self._picture_embeds(samples, 1 + max(picture_of))
            pictures = [found[each] for each in picture_of]
        layouts = [
            self.sequences.inference(text, *_shape(picture))
            for text, picture in zip(texts, pictures, strict=True)
        ]
        lengths = [len(layout.ids) for layout in layouts]
        shared = None if picture_of is None else share(layouts, picture_of)
        if shared is None:
            spliced = self._pack(layouts, pictures).padded(left=True)
            stepper = Stepper(
                self.llama_model,
                spliced.inputs_embeds,
                spliced.attention_mask,
                packed=self.packed,
            )
            return stepper, lengths
        begun = self._pack(shared.beginnings, [found[p] for p in shared.pictures]).padded(left=True)
        rest = self._pack(shared.rests, [None] * len(texts)).padded(left=True)
        beginnings = Beginnings(
            begun.inputs_embeds,
            begun.attention_mask,
            torch.tensor(shared.rows, device=self.device),
        )
        stepper = Stepper(
            self.llama_model,
            rest.inputs_embeds,
            rest.attention_mask,
            beginnings=beginnings,
            packed=self.packed,
        )
        return stepper, lengths

    @cached_property
    def lora(self) -> LoraMerger:
        """Merges LoRA into the language model's weights for a while."""
        return LoraMerger(self.llama_model)

    @cached_property
    def packed(self) -> PackedSteps:
        """The language model's weights laid out for reading on a CPU."""
        return PackedSteps(self.llama_model, self.lora)

    def _merged(
        self, stepper: Stepper, positions: int | None = None
    ) -> AbstractContextManager[Any]:
        """LoRA merged where a stepper, about to read so many positions, needs it to be quick."""
        if stepper.holds_lora:
            return nullcontext()
        return self.lora.merged(stepper.positions if positions is None else positions)

    def train(self, mode: bool = True) -> MiniGPTReading:
        """Set training mode, in which weights are about to change."""
        super().train(mode)
        if mode:
            self.packed.drop()
        return self

    @contextmanager
    def _evaluating(self) -> Iterator[None]:
        """Evaluation mode and mixed precision for a while."""
        training = self.training
        self.eval()
        try:
            with (
                nullcontext()
                if self.mixed is None
                else torch.autocast(self.device.type, dtype=self.mixed)
            ):
                yield
        finally:
            if training:
                self.train()


def _shape(pictures: Tensor | None) -> tuple[int, int]:
    """Number of pictures (T, N, D) and the positions each takes."""
    return (0, 0) if pictures is None else (pictures.shape[0], pictures.shape[1])
