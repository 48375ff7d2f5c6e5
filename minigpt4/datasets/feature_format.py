"""How features are written down: in half or single precision, or in 8 bits with a scale a token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from minigpt4.common.errors import ConfigError, ResourceError

_LARGEST = 127


class RowFormat(Protocol):
    """Features (N, D) of a picture as bytes, and back."""

    @property
    def name(self) -> str:
        """What the index of a store calls it."""

    def row_bytes(self, shape: Sequence[int]) -> int:
        """Bytes of one picture of ``shape`` (N, D)."""

    def pack(self, features: Tensor) -> Tensor:
        """Features (B, N, D) on any device to bytes (B, row_bytes) in memory."""

    def unpack(self, row: Tensor, shape: Sequence[int]) -> Tensor:
        """Bytes of a row to features (N, D), not to be written to."""


class Plain:
    """Values as they are, in another precision."""

    def __init__(self, dtype: torch.dtype) -> None:
        self._dtype = dtype

    @property
    def name(self) -> str:
        """Such as ``float16``."""
        return str(self._dtype).removeprefix("torch.")

    def row_bytes(self, shape: Sequence[int]) -> int:
        """See ``RowFormat``."""
        return math.prod(shape) * self._dtype.itemsize

    def pack(self, features: Tensor) -> Tensor:
        """See ``RowFormat``."""
        rows = features.detach().to("cpu", self._dtype)
        _check_finite(rows, self.name)
        return rows.contiguous().view(torch.uint8).flatten(1)

    def unpack(self, row: Tensor, shape: Sequence[int]) -> Tensor:
        """See ``RowFormat``."""
        return row.view(self._dtype).view(*shape)


class Int8:
    """Whole numbers from -127 to 127, and for each token the float32 that they are multiplied with.

    A token's values are off by at most 1/254 of its largest one. A row holds the N scales, then the
    N * D numbers, then bytes that fill it up to whole scales.
    """

    name = "int8"

    def row_bytes(self, shape: Sequence[int]) -> int:
        """See ``RowFormat``."""
        tokens, width = shape
        return 4 * (tokens + math.ceil(tokens * width / 4))

    def pack(self, features: Tensor) -> Tensor:
        """See ``RowFormat``."""
        values = features.detach().float()  # (B, N, D)
        _check_finite(values, self.name)
        scales = values.abs().amax(-1, keepdim=True).div_(_LARGEST)  # (B, N, 1)
        # A token of zeros alone has no scale to divide by.
        numbers = (values / scales.clamp_min(torch.finfo().tiny)).round_().to("cpu", torch.int8)
        count, *shape = values.shape
        rows = torch.zeros(count, self.row_bytes(shape), dtype=torch.uint8)
        begin = 4 * shape[0]
        rows[:, :begin] = scales.squeeze(-1).cpu().contiguous().view(torch.uint8)
        rows[:, begin : begin + math.prod(shape)] = numbers.flatten(1).view(torch.uint8)
        return rows

    def unpack(self, row: Tensor, shape: Sequence[int]) -> Tensor:
        """See ``RowFormat``; in float16, as what is not rounded is kept."""
        begin, size = 4 * shape[0], math.prod(shape)
        scales = row[:begin].view(torch.float32)[:, None]  # (N, 1)
        numbers = row[begin : begin + size].view(torch.int8).view(*shape)
        return (numbers * scales).half()


FORMATS: dict[str, RowFormat] = {
    "fp16": Plain(torch.float16),
    "fp32": Plain(torch.float32),
    "int8": Int8(),
}


def row_format(name: str) -> RowFormat:
    """The format that ``run.feature_cache_dtype`` names.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in FORMATS:
        raise ConfigError(
            f"run.feature_cache_dtype is {name!r}, but must be one of {', '.join(FORMATS)}."
        )
    return FORMATS[name]


def _check_finite(values: Tensor, name: str) -> None:
    if not torch.isfinite(values).all():
        raise ResourceError(
            f"features of the encoder do not fit in {name} (or are not finite); set "
            "run.feature_cache to off."
        )
