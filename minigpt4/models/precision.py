"""The precision that suits a device, and weights that suit the precision."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import nn

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_SIDE, _PRODUCTS = 1280, 5
"""Of the matrices by which a CPU is judged, and how many products."""
_WORTH_IT = 0.8
"""Share of float32's time that bf16 may take: casts between the two come on top."""


@dataclass(frozen=True, kw_only=True)
class Precision:
    """What the forward pass computes in.

    Attributes:
        mixed: ``no``, ``fp16`` (with a loss scaler) or ``bf16``.
        reason: Why, for the log.
    """

    mixed: str
    reason: str

    @property
    def dtype(self) -> torch.dtype | None:
        """The type that products are computed in; None: that of the weights."""
        return _TYPES.get(self.mixed)


def choose_precision(device: torch.device, *, amp: bool) -> Precision:
    """Mixed precision where it is faster: CUDA, and CPUs whose bf16 instructions gain something."""
    if not amp:
        return Precision(mixed="no", reason="run.amp is off")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(mixed="bf16", reason="this GPU computes in bf16")
        return Precision(mixed="fp16", reason="this GPU has no bf16; the loss is scaled")
    if device.type == "cpu" and _cpu_gains_from_bf16():
        return Precision(mixed="bf16", reason="this CPU is quicker in bf16")
    return Precision(mixed="no", reason=f"this {device.type} gains nothing from mixed precision")


def fit_weights(model: Any, mixed: str) -> None:
    """Give weights the types in which training is exact and needs no casts at each step.

    What trains is never in fp16, as AdamW's epsilon and the loss scaler both need fp32. Matrices of
    the language model that stay frozen are kept in the type that mixed precision would cast them to
    at each use; such a model must then run under autocast.

    Args:
        model: Changed in place; its part ``llama_model`` is the language model.
        mixed: See ``Precision``.
    """
    for parameter in model.parameters():
        if parameter.requires_grad and parameter.dtype == torch.float16:
            parameter.data = parameter.data.float()
    narrow = _TYPES.get(mixed)
    language = getattr(model, "llama_model", None)
    if narrow is None or language is None:
        return
    table = language.get_input_embeddings().weight  # perhaps tied to the head, and read by rows
    for module in language.modules():
        if type(module) is nn.Linear and module.weight is not table:
            for parameter in module.parameters(recurse=False):
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(narrow)


@cache
def _cpu_gains_from_bf16() -> bool:
    """Whether this CPU has bf16 instructions and multiplies matrices quicker in them.

    AMX does. With the instructions of AVX-512 alone products may take longer than in float32
    (twice, on one processor with AMX masked), so they are timed.
    """
    # Public queries of single instruction sets are newer than the oldest PyTorch we accept.
    if bool(getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()):
        return True
    if not bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()):
        return False
    return _product_seconds(torch.bfloat16) < _WORTH_IT * _product_seconds(torch.float32)


def _product_seconds(dtype: torch.dtype) -> float:
    """The shortest of some products of square matrices."""
    factor = torch.ones(_SIDE, _SIDE, dtype=dtype)
    factor @ factor
    seconds = []
    for _ in range(_PRODUCTS):
        begin = time.perf_counter()
        factor @ factor
        seconds.append(time.perf_counter() - begin)
    return min(seconds)
