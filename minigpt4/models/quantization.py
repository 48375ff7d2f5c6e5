"""8 bit and 4 bit weights through bitsandbytes, and its trap on some CPUs."""

from __future__ import annotations

import logging
from typing import Any

import torch
from torch import nn

from minigpt4.common.errors import ConfigError
from minigpt4.common.settings import ModelSettings

logger = logging.getLogger(__name__)


def quantization_config(settings: ModelSettings, device: torch.device) -> Any | None:
    """What transformers needs to load the language model quantized, or None for not at all.

    Raises:
        ConfigError: Both 8 bit and 4 bit are asked for.
        ResourceError: bitsandbytes is missing or does not run on this device.
    """
    if not (settings.low_resource or settings.load_in_4bit):
        return None
    if settings.low_resource and settings.load_in_4bit:
        raise ConfigError("model.low_resource (8 bit) and model.load_in_4bit exclude each other.")
    from transformers import BitsAndBytesConfig

    if settings.load_in_4bit:
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.float16 if device.type == "cuda" else torch.float32,
        )
    return BitsAndBytesConfig(load_in_8bit=True)


def keep_trainable(model: nn.Module) -> None:
    """Placeholder until the bitsandbytes guard is in place."""
