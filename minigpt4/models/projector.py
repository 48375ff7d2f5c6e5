"""From the encoder's tokens to the language model's width."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt4.common.errors import ConfigError

MERGES = {"1x4": 4, "2x2": 4, "none": 1}
"""Ways to join neighbouring tokens, and how many tokens make one."""


def merged_tokens(how: str) -> int:
    """How many tokens ``model.token_merge`` makes one of.

    Raises:
        ConfigError: Unknown.
    """
    if how not in MERGES:
        raise ConfigError(f"model.token_merge is {how!r}; use {', '.join(MERGES)}.")
    return MERGES[how]


def merge_tokens(patches: Tensor, group: int = 4) -> Tensor:
    """Concatenate each run of ``group`` consecutive patch tokens.

    Args:
        patches: Encoder output without the class token, shape (B, N, D); N a multiple of ``group``.
        group: Tokens in a run.
    Returns:
        Tensor of shape (B, N / group, group * D).
    Raises:
        ValueError: N is not a multiple of ``group``.
    """
    batch, count, width = patches.shape
    if count % group:
        raise ValueError(f"{count} patch tokens cannot be merged by {group}")
    return patches.reshape(batch, count // group, group * width)


def merge_squares(patches: Tensor) -> Tensor:
    """Concatenate the four tokens of each 2x2 square of the grid.

    Args:
        patches: Tokens of a square grid in raster order, shape (B, S * S, D); S even.
    Returns:
        Tensor of shape (B, S * S / 4, 4 * D), raster order.
    Raises:
        ValueError: The grid is not square or its side is odd.
    """
    batch, count, width = patches.shape
    side = math.isqrt(count)
    if side * side != count or side % 2:
        raise ValueError(f"{count} patch tokens are not a square grid of even side")
    half = side // 2
    grid = patches.reshape(batch, half, 2, half, 2, width)
    return grid.transpose(2, 3).reshape(batch, half * half, 4 * width)


def merge(patches: Tensor, how: str) -> Tensor:
    """Join tokens as ``model.token_merge`` says: ``1x4``, ``2x2`` or ``none``.

    Raises:
        ConfigError: Unknown, or the number of tokens does not allow it.
    """
    if merged_tokens(how) == 1:
        return patches
    try:
        return merge_tokens(patches, 4) if how == "1x4" else merge_squares(patches)
    except ValueError as error:
        raise ConfigError(
            f"model.token_merge {how} does not fit this encoder and image_size: {error}."
        ) from error


class Fp32LayerNorm(nn.LayerNorm):
    """Layer norm computed in float32 whatever the input's type."""

    def forward(self, input: Tensor) -> Tensor:
        """Normalize the last dimension; the result has the input's type."""
        with torch.autocast(input.device.type, enabled=False):
            normed = F.layer_norm(
                input.float(),
                self.normalized_shape,
                self.weight.float(),
                self.bias.float(),
                self.eps,
            )
        return normed.to(input.dtype)
