"""Answers on a CPU, by weights that are laid out for products with few rows.

A step with few rows mostly reads weights, which MKL (float32) and oneDNN (bfloat16) do quicker from
layouts of their own. Projections of one input lie side by side and LoRA is added up in them, so
that a layer is four products. MKL's layout is for single tokens of so many rows; oneDNN's serves
prompts as well. Laying out costs what some ten steps gain and as much memory as the weights take;
it is kept as long as the weights are the same. All values equal those of ``Decoder`` up to
rounding.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.multiprocessing.reductions import StorageWeakRef

from minigpt4.common.memory import give_back_freed_memory
from minigpt4.models.continued import Continued
from minigpt4.models.decoder import Decoder, Store, norm, unwrapped
from minigpt4.models.decoding.room import can_join
from minigpt4.models.fused import gated, rotate
from minigpt4.models.merging import LoraMerger, adapter_of, fits, with_adapter
from minigpt4.models.products import Product, can_lay_out, laid_out
from minigpt4.models.segments import Segments

_MOST = 48
"""Rows up to which MKL's layout is quicker."""

_Originals: TypeAlias = Mapping[int, Tensor]
_Fingerprint: TypeAlias = tuple[Any, ...]


class PackedSteps:
    """Weights of one language model; several threads may read with them.

    Args:
        model: The language model, wrapped by PEFT or not.
        merger: What merges its LoRA layers for a while.
    """

    def __init__(self, model: nn.Module, merger: LoraMerger) -> None:
        self._model = model
        self._merger = merger
        self._lock = threading.Lock()
        self._seen: _Fingerprint | None = None
        self._kept: Packed | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return PackedSteps, (self._model, self._merger)  # a copy of a model packs its own

    @property
    def kept(self) -> Packed | None:
        """Weights as they are laid out now."""
        return self._kept

    def drop(self) -> None:
        """Give the memory back; weights are laid out anew when they are asked for."""
        with self._lock:
            self._seen = self._kept = None

    def laid_out(self, rows: int | None, embeds: Tensor, cache: Any) -> Packed | None:
        """Weights for single tokens of so many rows, or for any; those of before where they fit.

        Args:
            rows: What the number is rounded up from, and nothing else, so that answers do not
                depend on what was asked before. None: any, which bfloat16 alone has.
            embeds: Embedded tokens, of the type of what is to be read.
            cache: transformers' cache that will be gone on from.
        Returns:
            None where the model is to read in another way.
        """
        dtype = embeds.dtype
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        is_asked = not torch.is_grad_enabled() and not self._model.training
        takes = rows is None if dtype == torch.bfloat16 else rows is not None and rows <= _MOST
        if not (is_asked and takes and can_lay_out(dtype) and can_join(cache)):
            return None
        rows = None if rows is None else _rounded(rows)
        # A weight must not be an inference tensor, for steps may be made outside of that mode too.
        with (
            self._lock,
            self._merger.originals() as originals,
            torch.inference_mode(False),
            torch.no_grad(),
        ):
            found = _fingerprint(self._model, originals, dtype)
            if found is None:
                return None
            sample, kept = self._sample(originals), self._kept
            is_same = kept is not None and found == self._seen and kept.sample == sample
            if kept is None or not is_same or kept.rows != rows:
                self._seen, self._kept, kept = found, None, None
                give_back_freed_memory()  # training may have left as much as is taken here
                bases = [_parts(each, originals)[0] for each in _projections(self._model)]
                if fits([base.weight for base in bases]):
                    base = unwrapped(self._model)
                    kept = Packed(base, rows, originals, sample=sample, dtype=dtype)
                    self._kept = kept
            return kept

    def _sample(self, originals: _Originals) -> int:
        """Of values in every row and column: what is done to ``.data`` counts as no new version."""
        samples = []
        for each in _watched(self._model, originals):
            values = originals.get(id(each), each).detach()
            lines = (values,) if values.dim() == 1 else (values[:, 0], values[0])
            samples += [line.float().numpy().tobytes() for line in lines]
        return hash(tuple(samples))


def _product(
    modules: Sequence[Any], rows: int | None, originals: _Originals, dtype: torch.dtype
) -> Product:
    """A product with the weights of projections of one input, side by side."""
    weights, biases = [], []
    for module in modules:
        base, adapter = _parts(module, originals)
        if adapter is None or id(base.weight) in originals:  # as it is, or merged
            weights.append(base.weight.detach())
        else:
            weights.append(with_adapter(module, adapter))
        if base.bias is not None:
            biases.append(base.bias.detach())
    assert len(biases) in (0, len(weights))
    weight = torch.cat(weights) if len(weights) > 1 else weights[0]  # (out, in)
    return laid_out(weight.to(dtype), torch.cat(biases).to(dtype) if biases else None, rows)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A decoder's layer and its products."""

    layer: Any
    heads: Product
    output: Product
    gate_up: Product
    down: Product

    def __call__(
        self,
        states: Tensor,
        cos: Tensor,
        sin: Tensor,
        segments: Segments | Continued,
        wanted: Tensor | None,
        store: Store | None,
    ) -> Tensor:
        """(T, D) to (T, D), or to (K, D) where K positions are wanted."""
        attention, mlp = self.layer.self_attn, self.layer.mlp
        joined = self.heads(norm(self.layer.input_layernorm, states))
        joined = joined.unflatten(-1, (-1, attention.head_dim))  # (T, H + 2 H', d)
        few = joined.shape[1] // (attention.num_key_value_groups + 2)  # H'
        turned, values = joined[:, :-few], joined[:, -few:]
        if hasattr(attention, "q_norm"):
            queries, keys = turned[:, :-few], turned[:, -few:]
            parts = norm(attention.q_norm, queries), norm(attention.k_norm, keys)
            turned = torch.cat(parts, dim=1)
        turned = rotate(turned, cos, sin)
        queries, keys = turned[:, :-few], turned[:, -few:]
        if store is not None:
            store(attention.layer_idx, keys, values)
        if wanted is not None:
            queries, states = queries[wanted], states[wanted]
        seen = segments.attend(queries, keys, values, attention.scaling, 0.0, wanted)
        states = states + self.output(seen.flatten(1))

        inner = self.gate_up(norm(self.layer.post_attention_layernorm, states))
        gate, up = inner.chunk(2, dim=-1)
        is_silu = attention.config.hidden_act in ("silu", "swish")
        return states + self.down(gated(gate, up) if is_silu else mlp.act_fn(gate) * up)


class Packed(Decoder):
    """A decoder with its weights laid out, for single tokens of R rows or for any.

    Args:
        model: transformers' causal LM itself.
        rows: R; None: any.
        originals: Weights that LoRA is merged into now, see ``LoraMerger``.
        sample: Of the values, to know them again.
        dtype: The type of the products.
    """

    def __init__(
        self,
        model: Any,
        rows: int | None,
        originals: _Originals,
        *,
        sample: int,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(model)
        self.rows = rows
        self.sample = sample
        self._layers = [
            _Layer(layer, *(_product(each, rows, originals, dtype) for each in _groups(layer)))
            for layer in model.model.layers
        ]
        self._head = _product([model.lm_head], rows, originals, dtype)

    def pays(self, rows: int) -> bool:
        """Whether single tokens of so many rows are read quicker than without; as measured."""
        return self.rows is None or rows <= self.rows <= max(1.5 * rows, min(4 * rows, 16))

    def head(self, hidden: Tensor) -> Tensor:
        """Hidden states (K, D) to logits (K, V)."""
        return self._head(hidden)

    def _layer(self, number: int, *arguments: Any) -> Tensor:
        return self._layers[number](*arguments)


def _rounded(rows: int) -> int:
    """Rows to lay out for: one by itself, as in a conversation, others with a few more."""
    return rows if rows == 1 else -(-rows // 4) * 4


def _groups(layer: Any) -> list[list[Any]]:
    """The projections of a layer, those of one input together."""
    attention, mlp = layer.self_attn, layer.mlp
    heads = [attention.q_proj, attention.k_proj, attention.v_proj]
    return [heads, [attention.o_proj], [mlp.gate_proj, mlp.up_proj], [mlp.down_proj]]


def _projections(model: nn.Module) -> list[Any]:
    """All that is laid out."""
    base = unwrapped(model)
    groups = [group for layer in base.model.layers for group in _groups(layer)]
    return [base.lm_head, *(each for group in groups for each in group)]


def _parts(module: Any, originals: _Originals) -> tuple[Any, Any]:
    """A projection's linear layer and the name of its adapter, each None where there is none."""
    if type(module) is nn.Linear:
        return module, None
    base = getattr(module, "base_layer", None)
    if id(getattr(base, "weight", None)) in originals and not module.disable_adapters:
        return base, module.merged_adapters[0]
    name = adapter_of(module)  # None for one that is merged
    return (None, None) if name is None else (base, name)


def _watched(model: nn.Module, originals: _Originals) -> list[Any]:
    """The parameters of all projections; None where one is of another kind."""
    found: list[Any] = []
    for module in _projections(model):
        base, adapter = _parts(module, originals)
        layers = (
            [base] if adapter is None else [base, module.lora_A[adapter], module.lora_B[adapter]]
        )
        for layer in layers:
            found.append(getattr(layer, "weight", None))
            if getattr(layer, "bias", None) is not None:
                found.append(layer.bias)
    return found


def _fingerprint(
    model: nn.Module, originals: _Originals, dtype: torch.dtype
) -> _Fingerprint | None:
    """What changes with the weights; None where they cannot be laid out or watched."""
    marks: list[Any] = [dtype]
    types = {dtype, torch.float32}  # which autocast narrows
    for each in _watched(model, originals):
        is_known = each is not None and not each.is_inference()
        if not is_known or each.dtype not in types or each.device.type != "cpu":
            return None
        memory = originals.get(id(each), each)
        # A reference to it, for freed memory is handed out again at the same address.
        kept = StorageWeakRef(memory.untyped_storage())
        marks.append((id(each), kept, memory.data_ptr(), each._version))
    for module in _projections(model):
        _, adapter = _parts(module, originals)
        if adapter is not None:
            marks.append((adapter, module.scaling[adapter]))
    return tuple(marks)
