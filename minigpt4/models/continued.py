"""Attention of new positions to all that a key-value cache holds."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


class Continued:
    """Some new positions of each row, after those that a cache holds.

    Stands where ``Segments`` stands for sequences that are read from their beginning.

    Args:
        cache: transformers' cache; new keys and values are added to it.
        shape: Rows and new positions of each, (B, T).
        mask: Which positions may be attended to, new ones included, (B, L); None for all.
        like: A tensor of the type and place of the queries.
    """

    def __init__(
        self, cache: Any, shape: tuple[int, int], mask: Tensor | None, like: Tensor
    ) -> None:
        self._cache = cache
        self._shape = shape
        self._bias = _bias(cache.get_seq_length(), shape, mask, like)
        self._held: tuple[Tensor, Tensor] | None = None

    def store(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Add a layer's keys and values (B * T, H, d), to which the next queries attend."""
        new = (each.unflatten(0, self._shape).transpose(1, 2) for each in (keys, values))
        self._held = self._cache.update(*new, layer)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scaling: float,
        dropout: float = 0.0,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Attention to all that is held up to one's own position.

        Args:
            queries: (B * T, H, d), or the last K of each row (B * K, H, d).
            keys, values: Those that were stored.
            scaling: Factor of the scores.
            dropout: Share of attention weights dropped.
            wanted: Not looked at: the number of queries says it.
        Returns:
            Tensor of the shape of ``queries``.
        """
        assert self._held is not None
        # Laid out head by head, which the quick kernel wants.
        asked = queries.unflatten(0, (self._shape[0], -1)).transpose(1, 2).contiguous()
        found = F.scaled_dot_product_attention(
            asked,
            *self._held,
            attn_mask=None if self._bias is None else self._bias[:, :, -asked.shape[2] :],
            dropout_p=dropout,
            scale=scaling,
            enable_gqa=keys.shape[1] != queries.shape[1],
        )
        return found.transpose(1, 2).flatten(0, 1)


def _bias(held: int, shape: tuple[int, int], mask: Tensor | None, like: Tensor) -> Tensor | None:
    """What is added to scores, 0 or minus infinity, (B or 1, 1, T, L); None for nothing."""
    new = shape[1]
    if mask is None and new == 1:
        return None
    seen = torch.ones(1, 1, new, held + new, dtype=torch.bool, device=like.device).tril(held)
    if mask is not None:
        seen = seen & mask.bool()[:, None, None]
    return like.new_zeros(seen.shape).masked_fill_(~seen, float("-inf"))
