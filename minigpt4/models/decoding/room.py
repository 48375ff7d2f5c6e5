"""A key-value cache that does not copy all it holds for every token."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 32
"""Positions that are made room for ahead."""


def cache_with_room(config: Any) -> DynamicCache:
    """transformers' growing cache of a model, in which new positions are written behind the others.

    Layers of other kinds, as with a sliding window, are transformers' own.

    Args:
        config: The model's.
    """
    cache = DynamicCache(config=config)
    cache.layers = [_Layer() if type(layer) is DynamicLayer else layer for layer in cache.layers]
    return cache


def can_join(cache: DynamicCache) -> bool:
    """Whether ``join`` works on a cache: no layer of it forgets anything."""
    return all(type(layer) is _Layer for layer in cache.layers)


def join(cache: DynamicCache, other: DynamicCache) -> None:
    """Add the rows of another cache; the shorter ones are filled at the left.

    Args:
        cache: With something in it.
        other: Of the same model, with something in it.
    """
    layers: Any = zip(cache.layers, other.layers, strict=True)
    for layer, more in layers:
        layer.join(more)


class _Layer(DynamicLayer):
    """Keys and values (B, H, L, d) that are the beginning of larger tensors."""

    def __init__(self) -> None:
        super().__init__()
        self._key_room: Tensor | None = None
        self._value_room: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append states (B, H, T, d); all keys and values (B, H, L + T, d)."""
        if not self.get_seq_length():
            return super().update(key_states, value_states, *args, **kwargs)
        assert self.keys is not None
        assert self.values is not None
        self._key_room = _room(self._key_room, self.keys, key_states)
        self._value_room = _room(self._value_room, self.values, value_states)
        end = self.keys.shape[-2] + key_states.shape[-2]
        self.keys, self.values = self._key_room[..., :end, :], self._value_room[..., :end, :]
        return self.keys, self.values

    def join(self, other: _Layer) -> None:
        """Add another layer's rows."""
        self._key_room, self.keys = _joined(self.keys, other.keys)
        self._value_room, self.values = _joined(self.values, other.values)


def _joined(first: Any, second: Any) -> tuple[Tensor, Tensor]:
    """Rows of both, filled at the left: the tensor with room, and what of it is held."""
    length = max(first.shape[-2], second.shape[-2])
    shape = (len(first) + len(second), first.shape[1], length + _ROOM, first.shape[-1])
    room = first.new_zeros(shape)
    room[: len(first), :, length - first.shape[-2] : length] = first
    room[len(first) :, :, length - second.shape[-2] : length] = second
    return room, room[:, :, :length]


def _room(room: Tensor | None, held: Tensor, states: Tensor) -> Tensor:
    """Where states (B, H, T, d) stand behind what is held (B, H, L, d), with room for more."""
    length = held.shape[-2]
    end = length + states.shape[-2]
    # When rows were selected, what is held lies elsewhere.
    if room is None or room.data_ptr() != held.data_ptr() or room.shape[-2] < end:
        room = held.new_empty(*held.shape[:-2], end + _ROOM, held.shape[-1])
        room[..., :length, :] = held
    room[..., length:end, :] = states
    return room
