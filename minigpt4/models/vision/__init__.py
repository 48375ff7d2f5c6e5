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
    from minigpt4.models.vision import weights

    encoder: VisionEncoder
    if settings.vit_model == "eva_clip_g":
        from minigpt4.models.vision.eva import EvaEncoder

        eva = EvaEncoder(
            image_size=settings.image_size,
            drop_path_rate=settings.drop_path_rate,
            sizes=settings.vit_config,
        )
        weights.load_eva(eva, settings.vit_weights)
        eva.to(dtype)
        encoder = eva
    elif settings.vit_model.startswith(TIMM):
        from minigpt4.models.vision.timm_encoder import MapOptions, TimmEncoder

        name = settings.vit_model.removeprefix(TIMM)
        cnn = TimmEncoder(
            name,
            image_size=settings.image_size,
            options=MapOptions.parse(settings.vit_config),
            drop_path_rate=settings.drop_path_rate,
        )
        weights.load_timm(cnn, name, settings.vit_weights)
        if settings.freeze_vit:
            cnn.fold_batch_norms()
        cnn.net.to(dtype)
        encoder = cnn
    else:
        raise ConfigError(
            f"model.vit_model is {settings.vit_model!r}; use eva_clip_g, or timm/<name> for an "
            "encoder of timm."
        )
    if settings.use_grad_checkpoint and not settings.freeze_vit:
        encoder.set_grad_checkpointing(True)  # type: ignore[operator]
    return encoder
