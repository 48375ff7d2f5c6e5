"""Decoders like Llama, run on sequences laid end to end.

Linear layers see every position once and no padding; attention stays within each sequence. The last
layer computes queries, output projection and MLP only where its output is wanted: at answers in
training, at the last position when a prompt is read. All values equal those of transformers' own
forward pass up to rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minigpt4.models.continued import Continued
from minigpt4.models.fused import gated, linear, rms_norm, rotate
from minigpt4.models.segments import Segments

FAMILIES = ("Llama", "Mistral", "Qwen2", "Qwen3")
"""Families of transformers' models whose layers are computed here."""

_FEW = 0.5
"""Share of wanted positions up to which the last layer is computed for them alone."""

Store = Callable[[int, Tensor, Tensor], None]
"""Takes the number of a layer, its keys and its values (T, H, d)."""


class Decoder:
    """A causal LM of one of ``FAMILIES``; use ``decoder_of`` to make one.

    Args:
        model: transformers' causal LM itself, its projections perhaps wrapped by PEFT or quantized.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self._body = model.model
        self._window: int | None = getattr(model.config, "sliding_window", None)

    def takes(self, longest: int) -> bool:
        """Whether sequences of up to so many positions can be read.

        Longer ones than the model's window cannot, nor can a model whose layers were wrapped (FSDP)
        or lie on several devices.
        """
        names = {type(layer).__name__.removesuffix("DecoderLayer") for layer in self._body.layers}
        places = getattr(self._model, "hf_device_map", {})
        return (
            (self._window is None or longest <= self._window)
            and names <= set(FAMILIES)
            and len(set(places.values())) <= 1
        )

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states (K, D) to logits (K, V)."""
        logits: Tensor = linear(self._model.lm_head, hidden)
        return logits

    def hidden(
        self,
        embeds: Tensor,
        lengths: Sequence[int],
        wanted: Tensor,
        *,
        store: Store | None = None,
    ) -> Tensor:
        """The final norm's output where it is wanted.

        Args:
            embeds: Embedded sequences laid end to end, (T, D).
            lengths: Positions of each sequence.
            wanted: Positions (K,) among the T, rising; at least one.
            store: Given each layer's keys and values.
        Returns:
            Tensor (K, D).
        """
        segments = Segments(lengths, embeds.device)
        return self._run(embeds, segments.positions, wanted, segments, store)

    def _run(
        self,
        embeds: Tensor,
        positions: Tensor,
        wanted: Tensor,
        segments: Segments | Continued,
        store: Store | None,
    ) -> Tensor:
        """See ``hidden``; positions (T,) are counted within their sequences."""
        cos, sin = self._body.rotary_emb(embeds[None], positions[None])  # (1, T, d)
        cos, sin = cos[0, :, None], sin[0, :, None]  # (T, 1, d)
        trims = len(wanted) <= _FEW * len(embeds)
        last = len(self._body.layers) - 1 if trims else -1
        states = embeds
        for number in range(len(self._body.layers)):
            only = wanted if number == last else None
            states = self._layer(number, states, cos, sin, segments, only, store)
        return norm(self._body.norm, states if trims else states[wanted])

    def _layer(self, number: int, *arguments: Any) -> Tensor:
        """A layer of the model; see ``_layer`` below for what it takes and gives."""
        layer = self._body.layers[number]
        if self._body.gradient_checkpointing and self._model.training:
            states: Tensor = checkpoint(_layer, layer, *arguments, use_reentrant=False)
            return states
        return _layer(layer, *arguments)

    def read(self, embeds: Tensor, mask: Tensor, cache: Any, keep: int) -> Tensor:
        """Read prompts into an empty cache.

        Args:
            embeds: Prompts filled at the left, (B, L, D).
            mask: (B, L), 1 where there is something, in each row at least ``keep`` times.
            cache: transformers' cache; gets keys and values (B, H, L, d) of each layer.
            keep: Positions of each prompt, from its end, whose logits are wanted.
        Returns:
            Logits (B, keep, V).
        """
        there = mask.bool()
        lengths = there.sum(1)  # (B,)
        steps = torch.arange(1 - keep, 1, device=mask.device)
        wanted = (lengths.cumsum(0)[:, None] - 1 + steps).flatten()  # (B * keep,)

        is_full = bool(there.all())

        def filled(states: Tensor) -> Tensor:
            if is_full:
                return states.unflatten(0, mask.shape).transpose(1, 2)
            rows = states.new_zeros(*mask.shape, *states.shape[1:])  # (B, L, H, d)
            rows[there] = states
            return rows.transpose(1, 2)

        def store(layer: int, keys: Tensor, values: Tensor) -> None:
            cache.update(filled(keys), filled(values), layer)

        hidden = self.hidden(embeds[there], lengths.tolist(), wanted, store=store)
        return self.head(hidden).unflatten(0, (-1, keep))

    def go_on(
        self, embeds: Tensor, positions: Tensor, mask: Tensor | None, cache: Any, keep: int
    ) -> Tensor:
        """Read more after what a cache holds.

        Args:
            embeds: What follows in each row, (B, T, D).
            positions: Its numbers within the rows, (B, T).
            mask: Which positions there are, held ones included, (B, L); None for all.
            cache: transformers' cache; gets the new keys and values.
            keep: Of how many positions of each row, from its end, logits are wanted.
        Returns:
            Logits (B, keep, V).
        """
        batch, new = positions.shape
        wanted = torch.arange(batch * new, device=embeds.device).unflatten(0, (batch, new))
        wanted = wanted[:, -keep:].flatten()  # (B * keep,)
        rows = embeds.flatten(0, 1)  # (B * T, D)
        held = Continued(cache, (batch, new), mask, _narrow(rows))
        hidden = self._run(rows, positions.flatten(), wanted, held, held.store)
        return self.head(hidden).unflatten(0, (batch, keep))


def decoder_of(model: Any) -> Decoder | None:
    """The decoder of a causal LM, wrapped by PEFT or not; None for one of another family."""
    base = unwrapped(model)
    names = {f"{family}ForCausalLM" for family in FAMILIES}
    return Decoder(base) if type(base).__name__ in names else None


def unwrapped(model: Any) -> Any:
    """A causal LM itself, without what PEFT puts around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _layer(
    layer: Any,
    states: Tensor,
    cos: Tensor,
    sin: Tensor,
    segments: Segments | Continued,
    wanted: Tensor | None,
    store: Store | None,
) -> Tensor:
    """One layer: (T, D) to (T, D), or to (K, D) where K positions are wanted."""
    attention = layer.self_attn
    inner = _narrow(norm(layer.input_layernorm, states))
    keys = _heads(attention.k_proj, inner, attention.head_dim)  # (T, H', d)
    values = _heads(attention.v_proj, inner, attention.head_dim)
    if hasattr(attention, "k_norm"):
        keys = norm(attention.k_norm, keys)
    keys = rotate(keys, cos, sin)
    if store is not None:
        store(attention.layer_idx, keys, values)
    if wanted is not None:
        inner, states, cos, sin = inner[wanted], states[wanted], cos[wanted], sin[wanted]
    queries = _heads(attention.q_proj, inner, attention.head_dim)
    if hasattr(attention, "q_norm"):
        queries = norm(attention.q_norm, queries)
    queries = rotate(queries, cos, sin)
    dropout = attention.attention_dropout if attention.training else 0.0
    seen = segments.attend(queries, keys, values, attention.scaling, dropout, wanted)
    states = states + linear(attention.o_proj, seen.flatten(1))

    mlp = layer.mlp
    inner = _narrow(norm(layer.post_attention_layernorm, states))
    gate, up = linear(mlp.gate_proj, inner), linear(mlp.up_proj, inner)
    is_silu = attention.config.hidden_act in ("silu", "swish")
    inner = gated(gate, up) if is_silu else mlp.act_fn(gate) * up
    return states + linear(mlp.down_proj, inner)


def _heads(projection: nn.Module, states: Tensor, width: int) -> Tensor:
    """Project (T, D) to (T, H, d)."""
    return linear(projection, states).unflatten(-1, (-1, width))


def norm(module: Any, states: Tensor) -> Tensor:
    """A norm's layer on (..., D)."""
    return rms_norm(states, module.weight, module.variance_epsilon)


def _narrow(states: Tensor) -> Tensor:
    """Cast once what mixed precision would cast again in each projection."""
    kind = states.device.type
    return states.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else states
