"""EVA-CLIP ViT-g as in BLIP-2, on timm's EVA class, under the original weight names."""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.eva import Eva
from torch import Tensor, nn

from minigpt4.common.errors import ConfigError
from minigpt4.models.vision.base import VisionEncoder

EVA_CLIP_G: dict[str, Any] = {
    "embed_dim": 1408,
    "depth": 39,  # the published file has 40 blocks, the last of which is not used
    "num_heads": 16,
    "mlp_ratio": 4.3637,
    "patch_size": 14,
}


class EvaEncoder(VisionEncoder, Eva):
    """The patch tokens of the last block, without class token and without a final norm.

    Args:
        image_size: Side of the square pictures, in pixels.
        drop_path_rate: Stochastic depth.
        sizes: Overrides of ``EVA_CLIP_G``.
    Raises:
        ConfigError: An unknown size, or sizes that do not fit each other.
    """

    def __init__(
        self,
        *,
        image_size: int,
        drop_path_rate: float = 0.0,
        sizes: Mapping[str, Any] | None = None,
    ) -> None:
        unknown = sorted(set(sizes or {}) - set(EVA_CLIP_G))
        if unknown:
            raise ConfigError(
                f"model.vit_config holds {', '.join(unknown)}, which eva_clip_g does not have; "
                f"use {', '.join(EVA_CLIP_G)}."
            )
        merged = EVA_CLIP_G | dict(sizes or {})
        if merged["embed_dim"] % merged["num_heads"]:
            raise ConfigError("model.vit_config: embed_dim must be a multiple of num_heads.")
        if image_size % merged["patch_size"]:
            raise ConfigError(
                f"model.image_size {image_size} is not a multiple of the patch size "
                f"{merged['patch_size']}."
            )
        super().__init__(
            img_size=image_size,
            num_classes=0,
            global_pool="",
            qkv_bias=True,
            drop_path_rate=drop_path_rate,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_fc_norm=False,
            use_post_transformer_norm=False,
            **merged,
        )
        self.image_size = image_size
        self.source = f"eva_clip_g {sorted(merged.items())}"

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Encode pictures (B, 3, S, S) to patch tokens (B, (S / patch) ** 2, D)."""
        tokens = self.forward_features(pixel_values.to(self.dtype))
        return tokens[:, self.num_prefix_tokens :]  # (B, 1 + N, D) -> (B, N, D)

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Resize the position embeddings of ``weights`` to this encoder's grid."""
        adapted = dict(weights)
        positions = adapted.get("pos_embed")
        if positions is not None and self.pos_embed is not None:
            adapted["pos_embed"] = resize_positions(positions, self.pos_embed.shape[1])
        return adapted


def resize_positions(positions: Tensor, length: int) -> Tensor:
    """Interpolate learned positions to another square grid.

    Bicubic without antialiasing, as trained weights expect; timm's own resize uses antialiasing,
    which shifts the encoder's output.

    Args:
        positions: Class token's position first, shape (1, 1 + n * n, D).
        length: 1 + m * m.
    Returns:
        Tensor of shape (1, length, D).
    """
    if positions.shape[1] == length:
        return positions
    old, new = math.isqrt(positions.shape[1] - 1), math.isqrt(length - 1)
    grid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, D, n, n)
    grid = F.interpolate(
        grid.float(), size=(new, new), mode="bicubic", align_corners=False, antialias=False
    )
    grid = grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)  # (1, m * m, D)
    return torch.cat([positions[:, :1], grid], dim=1)
