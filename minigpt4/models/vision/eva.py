"""EVA-CLIP ViT-g as in BLIP-2, on timm's EVA class, under the original weight names."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from timm.models.eva import Eva, EvaAttention
from torch import Tensor, nn

from minigpt4.common.errors import ConfigError, WeightsError
from minigpt4.common.settings import ModelSettings
from minigpt4.models.vision.base import VisionEncoder
from minigpt4.models.vision.download import eva_vit_g
from minigpt4.models.vision.narrow import NarrowLayers
from minigpt4.models.vision.weights import RANDOM, check_complete, encoder_weights, weight_file

logger = logging.getLogger(__name__)

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
        merged = _checked_sizes(image_size, sizes)
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
        self._narrow = NarrowLayers(self.patch_embed, self.blocks)

    @property
    def network(self) -> Eva:
        """The encoder itself is timm's model."""
        return self

    def adapt(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Resize the position embeddings of weights that were trained on another grid."""
        adapted = dict(weights)
        if "pos_embed" in adapted:
            length = self.state_dict()["pos_embed"].shape[1]
            adapted["pos_embed"] = resize_positions(adapted["pos_embed"], length)
        return adapted

    def forward(self, pixel_values: Tensor) -> Tensor:  # type: ignore[override]
        """Encode pictures (B, 3, S, S) to patch tokens (B, (S / patch) ** 2, D)."""
        tokens = self.forward_features(pixel_values.to(self.dtype))
        return tokens[:, self.num_prefix_tokens :]  # (B, 1 + N, D) -> (B, N, D)

    def forward_features(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Pictures (B, 3, S, S) to tokens (B, 1 + N, D), the class token first."""
        if args or kwargs or not self._narrow.can_take(x):
            tokens: Tensor = super().forward_features(x, *args, **kwargs)
            return tokens
        tokens, _ = self._pos_embed(self._narrow.embed(x))
        return self._narrow(tokens)


def build_eva(settings: ModelSettings) -> EvaEncoder:
    """EVA-CLIP with the weights that ``model.vit_weights`` names, or the public ones.

    An encoder of sizes that the public weights do not fit starts at random where none are named.

    Raises:
        ConfigError: Sizes that do not exist or do not fit.
        WeightsError: Weights that do not fit.
        AccessError: The public weights cannot be downloaded.
    """

    def build() -> EvaEncoder:
        return EvaEncoder(
            image_size=settings.image_size,
            drop_path_rate=settings.drop_path_rate,
            sizes=settings.vit_config,
        )

    if settings.vit_weights is None and _has_own_sizes(settings.vit_config):
        if not settings.ckpt:
            logger.warning(
                "model.vit_config has sizes that the public weights do not fit, and neither "
                "model.vit_weights nor model.ckpt names others: the image encoder is random"
            )
        return build()
    if settings.vit_weights == RANDOM:
        return build()
    path = weight_file(settings.vit_weights) if settings.vit_weights else eva_vit_g()
    weights = encoder_weights(path)
    with torch.device("meta"):  # a billion weights are not drawn only to be overwritten
        encoder = build()
    own = encoder.state_dict()
    weights = encoder.adapt(weights)
    check_complete(encoder, weights, str(path))
    encoder.load_state_dict({name: weights[name] for name in own}, assign=True)
    for module in encoder.modules():
        if isinstance(module, EvaAttention):
            # A constant that no file holds.
            module.register_buffer("k_bias", torch.zeros_like(module.q_bias), persistent=False)
    return encoder


def resize_positions(positions: Tensor, length: int) -> Tensor:
    """Interpolate learned positions to another square grid.

    Bicubic without antialiasing, as trained weights expect; timm's own resize uses antialiasing,
    which shifts the encoder's output.

    Args:
        positions: Class token's position first, shape (1, 1 + n * n, D).
        length: 1 + m * m.
    Returns:
        Tensor of shape (1, length, D).
    Raises:
        WeightsError: The positions are those of no square grid.
    """
    if positions.shape[1] == length:
        return positions
    old, new = math.isqrt(positions.shape[1] - 1), math.isqrt(length - 1)
    if old * old != positions.shape[1] - 1:
        raise WeightsError(
            f"pos_embed has {positions.shape[1]} positions, which is no square grid and a class "
            "token: these are not the weights of this encoder."
        )
    grid = positions[:, 1:].reshape(1, old, old, -1).permute(0, 3, 1, 2)  # (1, D, n, n)
    grid = F.interpolate(
        grid.float(), size=(new, new), mode="bicubic", align_corners=False, antialias=False
    )
    grid = grid.permute(0, 2, 3, 1).flatten(1, 2).to(positions.dtype)  # (1, m * m, D)
    return torch.cat([positions[:, :1], grid], dim=1)


def _has_own_sizes(sizes: Mapping[str, Any] | None) -> bool:
    """Whether sizes differ from the public weights' in more than taking fewer blocks."""
    sizes = sizes or {}
    return any(
        sizes.get(key, value) != value for key, value in EVA_CLIP_G.items() if key != "depth"
    )


def _checked_sizes(image_size: int, sizes: Mapping[str, Any] | None) -> dict[str, Any]:
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
    return merged
