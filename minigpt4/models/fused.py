"""Small parts of a decoder layer with fewer passes over memory than operators one by one.

Each is a well-known formula with its derivative written down. Values equal the plain operators' up
to rounding.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

_FEW = range(3, 49)
"""Rows with which a CPU's product in float32 is quicker with the weights as its left factor."""


def rms_norm(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    """``weight * x / sqrt(mean(x ** 2) + eps)`` over the last dimension, computed in float32.

    Args:
        x: (..., D).
        weight: (D,).
        eps: Added to the mean square.
    Returns:
        Tensor (..., D) of the type that ``weight * x`` has.
    """
    if not torch.is_grad_enabled():  # an autograd function costs more than a small norm
        return _normed(x, weight, eps)[0]
    result: Tensor = _RmsNorm.apply(x, weight, eps)
    return result


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary positions: ``x * cos + rotate_half(x) * sin``, as Llama pairs the halves of a head.

    Args:
        x: (T, H, d).
        cos, sin: (T, 1, d), the two halves alike.
    """
    if not torch.is_grad_enabled():
        return _turn(x, cos, sin, 1)
    result: Tensor = _Rotate.apply(x, cos, sin)
    return result


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """``silu(gate) * up``, keeping for the gradient the two alone; all (T, D)."""
    if not torch.is_grad_enabled():
        return F.silu(gate).mul_(up)
    result: Tensor = _Gated.apply(gate, up)
    return result


def linear(module: nn.Module, x: Tensor) -> Tensor:
    """``module(x)``; where it is a plain LoRA layer, its terms are added within the products.

    Layers that are quantized, merged, switched off or of a variant of LoRA are called as they are.

    Args:
        module: Any layer from (T, in) to (T, out).
        x: (T, in).
    """
    adapter = _plain_adapter(module)
    if _is_little(x):
        found = _of_few(module, adapter, x)
        if found is not None:
            return found
    if adapter is None:
        result: Tensor = module(x)
        return result
    lora: Any = module
    base, scaling = lora.base_layer, lora.scaling[adapter]
    down, up = lora.lora_A[adapter].weight, lora.lora_B[adapter].weight
    dropout = lora.lora_dropout[adapter]
    drops = dropout.training and getattr(dropout, "p", 0.0) > 0
    mixed = torch.is_autocast_enabled(x.device.type)
    alike = x.dtype == base.weight.dtype == down.dtype
    if mixed or (drops and alike):
        return torch.addmm(base(x), F.linear(dropout(x), down), up.t(), alpha=scaling)
    if not alike or base.weight.requires_grad:
        result = module(x)
        return result
    result = _LoraLinear.apply(x, base.weight, base.bias, down, up, scaling)
    return result


def _is_little(x: Tensor) -> bool:
    """Whether x (T, in) is a step of answering a few prompts in float32 on a CPU."""
    is_plain = x.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    is_cpu = x.device.type == "cpu"
    return is_cpu and is_plain and len(x) in _FEW and not torch.is_grad_enabled()


def _of_few(module: Any, adapter: str | None, x: Tensor) -> Tensor | None:
    """``module(x)`` with the weights as the left factor; None where it is no plain product.

    Args:
        module: See ``linear``.
        adapter: Its ``_plain_adapter``.
        x: (T, in) of ``_FEW`` rows.
    Returns:
        Tensor (T, out) laid out column after column, as the next product takes it best.
    """
    base = module.base_layer if adapter or _is_merged(module) else module
    if type(base) is not nn.Linear or base.weight.dtype != x.dtype:
        return None
    columns = x.t().contiguous()  # (in, T)
    result = torch.mm(base.weight, columns)
    if base.bias is not None:
        result += base.bias[:, None]
    if adapter is not None:
        down, up = module.lora_A[adapter].weight, module.lora_B[adapter].weight
        if down.dtype != x.dtype or module.training:
            return None
        result = result.addmm_(up, torch.mm(down, columns), alpha=module.scaling[adapter])
    return result.t()


def _is_merged(module: Any) -> bool:
    """Whether a LoRA layer's weights have its adapters in them."""
    return hasattr(module, "lora_A") and module.merged and not module.disable_adapters


def _plain_adapter(module: nn.Module) -> str | None:
    """The one adapter of a LoRA layer without further features, else None."""
    if not hasattr(module, "lora_A"):
        return None
    from peft.tuners.lora import Linear

    if type(module) is not Linear or type(module.base_layer) is not nn.Linear:
        return None
    if module.merged or module.disable_adapters or module.fan_in_fan_out:
        return None
    if len(module.active_adapters) != 1:
        return None
    name: str = module.active_adapters[0]
    if name not in module.lora_A or name in module.lora_variant:
        return None
    return name if module.lora_B[name].bias is None else None


def _normed(x: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm (..., D) and what x was multiplied by, (..., 1)."""
    wide = x.float()
    norm = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)  # (..., 1)
    scale = norm.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    result = (wide * weight).mul_(scale)
    return result.to(torch.promote_types(x.dtype, weight.dtype)), scale


class _RmsNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        result, scale = _normed(x, weight, eps)
        ctx.save_for_backward(x, weight, scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        wide, upstream = x.float(), gradients[0].float()
        for_weight = None
        if ctx.needs_input_grad[1]:
            for_weight = (upstream * wide).mul_(scale).flatten(0, -2).sum(0).to(weight.dtype)
        inner = upstream * weight
        share = torch.linalg.vecdot(inner, wide).unsqueeze(-1)  # (..., 1)
        share = share.mul_(scale.square()).div_(-x.shape[-1])
        for_x = inner.addcmul_(wide, share).mul_(scale)
        return for_x.to(x.dtype), for_weight, None


def _turn(x: Tensor, cos: Tensor, sin: Tensor, sign: int) -> Tensor:
    half = x.shape[-1] // 2
    wide = x.to(torch.promote_types(x.dtype, cos.dtype))
    result = wide * cos
    result[..., :half].addcmul_(wide[..., half:], sin[..., :half], value=-sign)
    result[..., half:].addcmul_(wide[..., :half], sin[..., half:], value=sign)
    return result.to(x.dtype)


class _Rotate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        ctx.save_for_backward(cos, sin)
        return _turn(x, cos, sin, 1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos, sin = ctx.saved_tensors
        return _turn(gradients[0], cos, sin, -1), None, None  # a rotation's inverse


class _Gated(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        for_gate = torch.ops.aten.silu_backward(gradients[0] * up, gate)
        return for_gate, F.silu(gate).mul_(gradients[0])


class _LoraLinear(torch.autograd.Function):
    """``x W' + b + s (x A') B'`` with W and b frozen."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        down: Tensor,
        up: Tensor,
        scaling: float,
    ) -> Tensor:
        narrow = x @ down.t()  # (T, r)
        ctx.save_for_backward(x, weight, down, up, narrow)
        ctx.scaling = scaling
        return F.linear(x, weight, bias).addmm_(narrow, up.t(), alpha=scaling)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, down, up, narrow = ctx.saved_tensors
        upstream = gradients[0]
        back = (upstream @ up).mul_(ctx.scaling)  # (T, r)
        for_x = None
        if ctx.needs_input_grad[0]:
            for_x = (upstream @ weight).addmm_(back, down)
        return for_x, None, None, back.t() @ x, (upstream.t() @ narrow).mul_(ctx.scaling), None
