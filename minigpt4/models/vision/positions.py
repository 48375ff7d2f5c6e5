"""How many positions a picture takes in a prompt, without its encoder's weights."""

from __future__ import annotations

import dataclasses

import torch

from minigpt4.common.settings import ModelSettings
from minigpt4.models.projector import merged_tokens
from minigpt4.models.vision import build_vision
from minigpt4.models.vision.eva import EVA_CLIP_G
from minigpt4.models.vision.weights import RANDOM


def picture_positions(settings: ModelSettings) -> int:
    """Positions of one picture in the prompt of a model with these settings.

    Raises:
        ConfigError: An unknown encoder or size.
    """
    if settings.arch == "minigpt4" and settings.has_qformer:
        return settings.num_query_token
    return _encoder_tokens(settings) // merged_tokens(settings.token_merge)


def _encoder_tokens(settings: ModelSettings) -> int:
    side = settings.image_size
    if settings.vit_model == "eva_clip_g":
        patch = (settings.vit_config or {}).get("patch_size", EVA_CLIP_G["patch_size"])
        return int(side // patch) ** 2
    with torch.device("meta"):  # shapes alone: nothing is drawn, nothing is computed
        encoder = build_vision(dataclasses.replace(settings, vit_weights=RANDOM))
        tokens = encoder(torch.zeros(1, 3, side, side))  # (1, N, D)
    return int(tokens.shape[1])
