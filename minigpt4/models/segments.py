"""Attention within sequences that are laid end to end."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from minigpt4.models.attention import attend

_CALL, _NARROW_CALL = 600_000, 3_000_000
"""What a call of its own for a sequence costs on a CPU, in multiplications of attention: in float32
and in bfloat16, which are quicker.
"""


class Segments:
    """Where sequences begin and end among T positions.

    Args:
        lengths: Positions of each sequence, at least one.
        device: Where tensors of the sequences are.
    """

    def __init__(self, lengths: Sequence[int], device: torch.device) -> None:
        self.lengths = list(lengths)
        self.device = device
        self.longest = max(self.lengths)
        self.is_even = min(self.lengths) == self.longest

    @cached_property
    def positions(self) -> Tensor:
        """Each position's number within its sequence, (T,)."""
        return torch.cat([torch.arange(n) for n in self.lengths]).to(self.device)

    @cached_property
    def _sizes(self) -> Tensor:
        return torch.tensor(self.lengths, device=self.device)

    @cached_property
    def _rows(self) -> Tensor:
        """The sequence of each position, (T,)."""
        return torch.arange(len(self.lengths), device=self.device).repeat_interleave(self._sizes)

    @cached_property
    def _table(self) -> tuple[Tensor, Tensor]:
        """See ``_table_of``, for all positions."""
        return _table_of(self._rows, len(self.lengths), self.longest)

    def attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        scaling: float,
        dropout: float = 0.0,
        wanted: Tensor | None = None,
    ) -> Tensor:
        """Causal attention of each position to those of its own sequence.

        Args:
            queries: (T, H, d), or (K, H, d) with ``wanted``.
            keys, values: (T, H', d), H a multiple of H'.
            scaling: Factor of the scores.
            dropout: Share of attention weights dropped.
            wanted: The positions (K,) that queries are of, rising; None for all.
        Returns:
            Tensor of the shape of ``queries``.
        """
        options: dict[str, Any] = {"scaling": scaling, "dropout": dropout}
        if wanted is not None:
            return self._attend_some(queries, keys, values, wanted, options)
        if not self.is_even and self._one_by_one(queries):
            alone = (t[None].split(self.lengths, dim=1) for t in (queries, keys, values))
            return torch.cat([_causal(part, options)[0] for part in zip(*alone, strict=True)])
        padded = [self._padded(t) for t in (queries, keys, values)]
        found = _causal(padded, options).flatten(0, 1)  # (B, L, H, d) -> (B * L, H, d)
        return found if self.is_even else _gather(found, *self._table)

    def _one_by_one(self, queries: Tensor) -> bool:
        """Whether sequences are better computed alone than filled to the longest."""
        if self.device.type != "cpu":  # where a launch costs more than what it would save
            return False
        filled = len(self.lengths) * self.longest**2 - sum(n * n for n in self.lengths)
        call = _NARROW_CALL if queries.dtype == torch.bfloat16 else _CALL
        return filled * queries[0].numel() > call * len(self.lengths)

    def _padded(self, states: Tensor) -> Tensor:
        """(T, H, d) to (B, L, H, d); what fills up is any row, and nothing attends to it."""
        shape = (len(self.lengths), self.longest)
        if self.is_even:
            return states.unflatten(0, shape)
        return _spread(states, *self._table).unflatten(0, shape)

    def _attend_some(
        self, queries: Tensor, keys: Tensor, values: Tensor, wanted: Tensor, options: dict[str, Any]
    ) -> Tensor:
        rows, positions = self._rows[wanted], self.positions[wanted]  # (K,)
        counts = torch.bincount(rows, minlength=len(self.lengths))
        most = int(counts.max())
        table = _table_of(rows, len(self.lengths), most)
        asked = _spread(queries, *table).unflatten(0, (-1, most))  # (B, M, H, d)
        limits = positions[table[0]].unflatten(0, (-1, most))  # (B, M)
        columns = torch.arange(self.longest, device=self.device)
        mask = columns <= limits[:, None, :, None]  # (B, 1, M, L)
        found = attend(
            asked.transpose(1, 2),  # (B, H, M, d)
            self._padded(keys).transpose(1, 2),
            self._padded(values).transpose(1, 2),
            mask=mask,
            **options,
        )
        return _gather(found.transpose(1, 2).flatten(0, 1), *table)


def _causal(states: Sequence[Tensor], options: dict[str, Any]) -> Tensor:
    """Attention of queries, keys and values (B, L, H, d) to positions up to one's own."""
    queries, keys, values = (each.transpose(1, 2) for each in states)  # (B, H, L, d)
    return attend(queries, keys, values, **options).transpose(1, 2)


def _table_of(rows: Tensor, count: int, width: int) -> tuple[Tensor, Tensor]:
    """How entries are spread over a table with a line for each sequence.

    Args:
        rows: The sequence of each entry (K,), rising.
        count: Sequences.
        width: The most entries of one.
    Returns:
        The entry of each cell (count * width,), 0 in cells that are left over, and the cell of each
        entry (K,).
    """
    sizes = torch.bincount(rows, minlength=count)
    begins = sizes.cumsum(0) - sizes  # (count,)
    entries = torch.arange(len(rows), device=rows.device)
    cells = rows * width + entries - begins[rows]
    table = torch.zeros(count * width, dtype=torch.long, device=rows.device)
    table[cells] = entries
    return table, cells


def _spread(states: Tensor, entries: Tensor, cells: Tensor) -> Tensor:
    """Entries (K, ...) to the cells of a table (N, ...); see ``_table_of``."""
    result: Tensor = _Spread.apply(states, entries, cells)
    return result


def _gather(states: Tensor, entries: Tensor, cells: Tensor) -> Tensor:
    """Cells of a table (N, ...) to the entries (K, ...) that they are of."""
    result: Tensor = _Gather.apply(states, cells)
    return result


# PyTorch's own indexing sums gradients up, as a place may be read twice; here none is.


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, entries: Tensor, cells: Tensor) -> Tensor:
        ctx.save_for_backward(cells)
        return states.index_select(0, entries)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (cells,) = ctx.saved_tensors
        return gradients[0].index_select(0, cells), None, None


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, cells: Tensor) -> Tensor:
        ctx.save_for_backward(cells)
        ctx.shape = states.shape
        return states.index_select(0, cells)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (cells,) = ctx.saved_tensors
        return gradients[0].new_zeros(ctx.shape).index_copy_(0, cells, gradients[0]), None
