"""8 bit and 4 bit weights through bitsandbytes, and its trap on some CPUs."""

from __future__ import annotations

import importlib.util
import logging
from typing import Any

import torch
from torch import nn

from minigpt4.common.errors import ConfigError, ResourceError
from minigpt4.common.settings import ModelSettings

logger = logging.getLogger(__name__)


def quantization_config(settings: ModelSettings, device: torch.device) -> Any | None:
    """What transformers needs to load the language model quantized, or None for not at all.

    Raises:
        ConfigError: 8 and 4 bit at once, or a quantized model that is to train whole.
        ResourceError: bitsandbytes is missing, or does not run on this kind of device.
    """
    if not (settings.low_resource or settings.load_in_4bit):
        return None
    key = "model.load_in_4bit" if settings.load_in_4bit else "model.low_resource"
    if settings.low_resource and settings.load_in_4bit:
        raise ConfigError("model.low_resource (8 bit) and model.load_in_4bit exclude each other.")
    if not settings.freeze_llm:
        raise ConfigError(
            f"{key} cannot go with model.freeze_llm=False, as quantized weights do not train: "
            "drop one of them."
        )
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ResourceError(f"{key} needs bitsandbytes: pip install bitsandbytes, or turn it off.")
    if device.type not in ("cuda", "cpu", "xpu"):
        raise ResourceError(
            f"{key} does not work on {device.type}: turn it off, or use CUDA or the CPU."
        )
    from transformers import BitsAndBytesConfig

    compute = torch.float32
    if device.type == "cuda":
        compute = torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
    else:
        logger.warning("%s saves memory on %s, but not time", key, device.type.upper())
    if settings.low_resource:
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute,
    )


def make_trainable(model: nn.Module) -> None:
    """Keep gradients flowing through quantized layers, whatever was evaluated before.

    On CPUs with AVX512-BF16 a 4 bit layer that runs in evaluation mode rearranges its weights for a
    faster kernel that has no gradient and never puts them back, so that training after a
    validation would learn nothing, in silence. The layers are told that the CPU lacks it.
    """
    from bitsandbytes.nn import Linear4bit

    for module in model.modules():
        if isinstance(module, Linear4bit):
            module.support_avx512bf16_for_cpu = False
    _quiet()


def _quiet() -> None:
    """Drop the line that bitsandbytes logs at every layer of every step when the input is fp32."""
    source = logging.getLogger("bitsandbytes.autograd._functions")
    if not any(isinstance(each, _CastNotice) for each in source.filters):
        source.addFilter(_CastNotice())


class _CastNotice(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        return "inputs will be cast" not in str(record.msg)
