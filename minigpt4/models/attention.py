"""Attention whose gradient in bfloat16 on a CPU is made of products of matrices.

PyTorch's own kernel for that gradient took up to four times as long where the two were compared,
the more the shorter the sequences; see ``benchmarks/attention_gradient.py``.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

_MULTIPLE = 16
"""Lengths that PyTorch's kernel for bfloat16 on a CPU takes best are multiples of it."""
_ROWS = 200
"""Queries whose scores are held at once: few stay in the cache, and skip what is masked anyway."""


def attend(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    *,
    scaling: float,
    dropout: float = 0.0,
    mask: Tensor | None = None,
) -> Tensor:
    """Scaled dot-product attention.

    Args:
        queries: (B, H, M, d).
        keys, values: (B, H', L, d), H a multiple of H'.
        scaling: Factor of the scores.
        dropout: Share of attention weights dropped.
        mask: Which keys each query sees, bool (B, 1, M, L), at least one; None: those up to its own
            position, where M = L.
    Returns:
        Tensor (B, H, M, d).
    """
    states = queries, keys, values
    if not dropout and _by_products(states):
        result: Tensor = _Attention.apply(*states, mask, scaling)
        return result
    length = queries.shape[2]
    fills = mask is None and not torch.is_grad_enabled() and _is_narrow(queries)
    if fills and length % _MULTIPLE:
        # Zeros at the end change nothing, as no position before attends to them.
        more = (0, 0, 0, -length % _MULTIPLE)
        states = F.pad(queries, more), F.pad(keys, more), F.pad(values, more)
    return _kernel(*states, mask, scaling, dropout)[:, :, :length]


def _by_products(states: tuple[Tensor, ...]) -> bool:
    """Whether the gradient of what these give is asked for, and computed here."""
    needs = torch.is_grad_enabled() and any(each.requires_grad for each in states)
    return needs and all(map(_is_narrow, states))


def _is_narrow(x: Tensor) -> bool:
    return x.device.type == "cpu" and x.dtype == torch.bfloat16


def _kernel(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    scaling: float,
    dropout: float = 0.0,
) -> Tensor:
    return F.scaled_dot_product_attention(
        queries,
        keys,
        values,
        attn_mask=mask,
        is_causal=mask is None,
        dropout_p=dropout,
        scale=scaling,
        enable_gqa=keys.shape[1] != queries.shape[1],
    )


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        mask: Tensor | None,
        scaling: float,
    ) -> Tensor:
        ctx.save_for_backward(queries, keys, values, mask)
        ctx.scaling = scaling
        return _kernel(queries, keys, values, mask, scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, mask = ctx.saved_tensors
        with torch.autocast("cpu", enabled=False):
            found = _gradients(gradients[0], queries, keys, values, mask, ctx.scaling)
        return *found, None, None


def _gradients(
    upstream: Tensor,
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None,
    scaling: float,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values; ``upstream`` (B, H, M, d), others as in ``attend``.

    With P = softmax(scaling Q K' + mask) and G upstream: dV = P' G, dS = P * (G V' - rowsum(P * G
    V')), dQ = scaling dS K, dK = scaling dS' Q.
    """
    batch, heads, rows, width = queries.shape
    shared = heads // keys.shape[1]  # query heads of a key's head
    length = keys.shape[2]
    hidden = _hidden(mask, length, queries.dtype)  # (1 or B * H, M, L)
    asked, given = (each.reshape(-1, rows, width) for each in (queries, upstream))  # (B * H, M, d)
    if shared > 1:
        keys, values = (each.repeat_interleave(shared, dim=1) for each in (keys, values))
    held, told = (each.reshape(-1, length, width) for each in (keys, values))  # (B * H, L, d)
    if mask is not None:
        hidden = hidden.repeat_interleave(heads, dim=0)

    for_queries = torch.empty_like(asked)
    for_keys, for_values = torch.empty_like(held), torch.empty_like(told)
    count = -(-rows // _ROWS)
    bounds = [rows * part // count for part in range(count + 1)]
    for begin, end in reversed(list(itertools.pairwise(bounds))):  # the last ones see all keys
        seen = end if mask is None else length
        earlier = int(end < rows)
        some, theirs = asked[:, begin:end], given[:, begin:end]
        bias = hidden[:, begin:end, :seen].expand(len(asked), -1, -1)
        scores = torch.baddbmm(bias, some, held[:, :seen].transpose(1, 2), alpha=scaling)
        weights = scores.softmax(-1)
        wanted = torch.bmm(theirs, told[:, :seen].transpose(1, 2))
        for_scores = torch._softmax_backward_data(wanted, weights, -1, weights.dtype)
        for_queries[:, begin:end] = torch.baddbmm(
            some, for_scores, held[:, :seen], beta=0, alpha=scaling
        )
        sums = for_keys[:, :seen], for_values[:, :seen]
        sums[0].baddbmm_(for_scores.transpose(1, 2), some, beta=earlier, alpha=scaling)
        sums[1].baddbmm_(weights.transpose(1, 2), theirs, beta=earlier)

    def per_head(gradient: Tensor) -> Tensor:
        """(B * H, L, d) to (B, H', L, d)."""
        gradient = gradient.unflatten(0, (batch, heads // shared, shared))
        return gradient.sum(2) if shared > 1 else gradient.squeeze(2)

    return for_queries.view_as(queries), per_head(for_keys), per_head(for_values)


def _hidden(mask: Tensor | None, length: int, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0 or minus infinity, (1, L, L), or (B, M, L) of a mask."""
    if mask is None:
        return torch.full((1, length, length), float("-inf"), dtype=dtype).triu_(1)
    return torch.zeros(mask.shape, dtype=dtype).masked_fill_(~mask, float("-inf")).squeeze(1)
