"""Image encoders: ``build_vision`` gives the one that the settings name."""

from __future__ import annotations

import torch

from minigpt4.common.errors import ConfigError
from minigpt4.common.settings import ModelSettings
from minigpt4.models.vision.base import VisionEncoder

TIMM = "timm/"


def build_vision(settings: ModelSettings, dtype: torch.dtype = torch.float32) -> VisionEncoder:
    """Build the image encoder and load its weights.

    Args:
        settings: Section ``model``.
        dtype: Type of its weights.
    Raises:
        ConfigError: An unknown encoder or size.
        WeightsError: Weights that are missing, broken or of another shape.
        AccessError: Public weights cannot be downloaded.
    """
    encoder: VisionEncoder
    if settings.vit_model == "eva_clip_g":
        from minigpt4.models.vision.eva import build_eva

        encoder = build_eva(settings)
    elif settings.vit_model.startswith(TIMM):
        from minigpt4.models.vision.timm_encoder import build_timm

        encoder = build_timm(settings.vit_model.removeprefix(TIMM), settings)
    else:
        raise ConfigError(
            f"model.vit_model is {settings.vit_model!r}; use eva_clip_g, or timm/<name> for an "
            "encoder of timm."
        )
    encoder.network.to(dtype)
    if settings.use_grad_checkpoint and not settings.freeze_vit:
        encoder.network.set_grad_checkpointing(True)
    return encoder
