"""The language model, read forward from embedded prompts."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from minigpt4.models.decoder import decoder_of
from minigpt4.models.decoding.room import cache_with_room, can_join, join
from minigpt4.models.llm import accepts

if TYPE_CHECKING:
    from minigpt4.models.packed import Packed, PackedSteps


@dataclass(frozen=True, slots=True)
class Beginnings:
    """What prompts begin with, once for all that begin alike.

    Attributes:
        embeds: Padded at the left, (P, L, D).
        mask: (P, L).
        rows: The beginning of each prompt, (B,).
    """

    embeds: Tensor
    mask: Tensor
    rows: Tensor


class Stepper:
    """A language model with its key-value cache.

    Args:
        model: Causal LM.
        inputs_embeds: Prompts padded at the left, (B, L, D), or what follows their beginnings.
        attention_mask: (B, L).
        beginnings: What stands before ``inputs_embeds``; None for nothing.
        packed: This model's weights laid out for reading; None for none.
    """

    def __init__(
        self,
        model: Any,
        inputs_embeds: Tensor,
        attention_mask: Tensor,
        *,
        beginnings: Beginnings | None = None,
        packed: PackedSteps | None = None,
    ) -> None:
        self._model = model
        self._cache: Any = cache_with_room(model.config)
        self._embeds = inputs_embeds
        self._mask = attention_mask
        self._beginnings = beginnings
        self._packed = packed
        # In bfloat16 for all that is read; in float32 for single tokens, from the first one on.
        self._laid_out: Packed | None = (
            None if packed is None else packed.laid_out(None, inputs_embeds, self._cache)
        )
        self._is_first_step = True
        masks = [attention_mask] if beginnings is None else [attention_mask, beginnings.mask]
        self.positions = sum(int(each.sum()) for each in masks)
        """Positions that reading the prompts takes."""
        self._is_padded = any(not bool(each.all()) for each in masks)
        self._takes_positions = accepts(model, "position_ids")

    @property
    def holds_lora(self) -> bool:
        """Whether LoRA need not be merged, as it is in weights that are laid out."""
        return self._laid_out is not None

    @property
    def length(self) -> int:
        """Positions that are held for each row, filled ones included."""
        return self._mask.shape[1]

    def first(self, tokens: Sequence[int] = ()) -> Tensor:
        """Read the prompts, and the same tokens after each.

        Returns:
            Logits (B, 1 + T, V) of what follows each prompt and each of the T tokens.
        """
        embeds = self._embeds
        if tokens:
            ids = torch.tensor(tokens, device=embeds.device)
            after = self._model.get_input_embeddings()(ids).to(embeds.dtype)  # (T, D)
            embeds = torch.cat([embeds, after.expand(len(embeds), -1, -1)], dim=1)
            self._mask = torch.cat([self._mask, self._mask.new_ones(len(embeds), len(tokens))], 1)
        if self._beginnings is not None:
            self._read(self._beginnings)
        return self._forward(
            _positions(self._mask)[:, -embeds.shape[1] :], 1 + len(tokens), inputs_embeds=embeds
        )

    def _read(self, beginnings: Beginnings) -> None:
        """Read what prompts begin with, once, and stand after it in each of them."""
        rest, self._mask = self._mask, beginnings.mask
        self._forward(_positions(self._mask), 1, inputs_embeds=beginnings.embeds)
        self.select(beginnings.rows)
        self._mask = torch.cat([self._mask, rest], dim=1)

    def next(self, tokens: Tensor) -> Tensor:
        """Append one token a row (B,); logits (B, V) of the ones after."""
        positions = self._mask.sum(-1, keepdim=True)
        self._mask = torch.cat([self._mask, self._mask.new_ones(len(tokens), 1)], dim=1)
        return self._forward(positions, 1, input_ids=tokens[:, None])[:, 0]

    def append(self, rows: Sequence[Sequence[int]]) -> Tensor:
        """Append tokens, as many to each row as it has.

        Shorter rows are filled at the right with positions that nothing ever attends to.

        Args:
            rows: One or more tokens a row.
        Returns:
            Logits (T, V) of what follows each of the T tokens of all rows, row after row.
        """
        device = self._mask.device
        ids = pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(device)
        lengths = torch.tensor([[len(row)] for row in rows], device=device)
        steps = torch.arange(ids.shape[1], device=device)  # (W,)
        taken = steps < lengths  # (B, W)
        # Filled positions repeat the last number: some models have no numbers beyond their limit.
        positions = self._mask.sum(-1, keepdim=True) + torch.minimum(steps, lengths - 1)
        self._mask = torch.cat([self._mask, taken.to(self._mask.dtype)], dim=1)
        self._is_padded = self._is_padded or not bool(taken.all())
        return self._forward(positions, ids.shape[1], input_ids=ids)[taken]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be kept several times."""
        self._cache.reorder_cache(rows)
        self._mask = self._mask[rows]

    @property
    def can_join(self) -> bool:
        """Whether ``join`` is possible with this model."""
        return can_join(self._cache)

    def join(self, other: Stepper) -> None:
        """Add the rows of another stepper of the same model that has read its prompts.

        Shorter rows are filled at the left.
        """
        lengths = self.length, other.length
        join(self._cache, other._cache)
        self._is_padded = self._is_padded or other._is_padded or lengths[0] != lengths[1]
        masks = (F.pad(m, (max(lengths) - m.shape[1], 0)) for m in (self._mask, other._mask))
        self._mask = torch.cat(list(masks))

    def fork(self, rows: Tensor) -> Stepper:
        """Another stepper that goes on from these rows; this one stays where it is."""
        other = copy.copy(self)
        other._cache = copy.copy(self._cache)
        other._cache.layers = [copy.copy(layer) for layer in self._cache.layers]
        other.select(rows)  # gives the copied layers tensors of their own
        return other

    def _forward(self, positions: Tensor, keep: int, **inputs: Tensor) -> Tensor:
        """Logits (B, keep, V) after the last positions."""
        decoder = decoder_of(self._model)
        if decoder is not None and decoder.takes(self.length):
            embeds = inputs.get("inputs_embeds")
            if embeds is not None and not self._cache.get_seq_length():
                reader = self._laid_out or decoder
                return reader.read(embeds, self._mask, self._cache, keep).float()
            # On GPUs, where calls cost more than memory does, transformers' pass is as good.
            if self._mask.device.type == "cpu":
                if embeds is None:
                    embeds = self._model.get_input_embeddings()(inputs["input_ids"])
                mask = self._mask if self._is_padded else None
                reader = self._for_more(embeds) or decoder
                return reader.go_on(embeds, positions, mask, self._cache, keep).float()
        if self._takes_positions:
            inputs["position_ids"] = positions
        output = self._model(
            **inputs,
            attention_mask=self._mask if self._is_padded else None,
            past_key_values=self._cache,
            use_cache=True,
            logits_to_keep=keep,
        )
        result: Tensor = output.logits[:, -keep:].float()
        return result

    def _for_more(self, embeds: Tensor) -> Packed | None:
        """Weights laid out for what follows in each row (B, T, D); None where there are none."""
        batch, new = embeds.shape[:2]
        if self._laid_out is None and self._packed is not None and new == 1 and self._is_first_step:
            self._is_first_step = False
            self._laid_out = self._packed.laid_out(batch, embeds, self._cache)
        found = self._laid_out
        if found is None or (new > 1 and found.rows is not None) or not found.pays(batch):
            return None
        return found


def _positions(mask: Tensor) -> Tensor:
    """Number of each position within its row (B, L); any for those that are filled up."""
    return (mask.cumsum(-1) - 1).clamp_min(0)
