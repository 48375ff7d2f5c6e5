"""The precision that suits a device, and weights that suit the precision."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

_TYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


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
    """Mixed precision where it is faster: CUDA, and CPUs with bf16 instructions."""
    if not amp:
        return Precision(mixed="no", reason="run.amp is off")
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return Precision(mixed="bf16", reason="this GPU computes in bf16")
        return Precision(mixed="fp16", reason="this GPU has no bf16; the loss is scaled")
    if device.type == "cpu" and _cpu_has_bf16():
        return Precision(mixed="bf16", reason="this CPU has bf16 instructions")
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


def _cpu_has_bf16() -> bool:
    # Public queries of single instruction sets are newer than the oldest PyTorch we accept.
    names = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(bool(getattr(torch.cpu, name, lambda: False)()) for name in names)
