"""Products with frozen weights on a CPU, in layouts that PyTorch's own calls do not keep.

In float32 MKL has a layout for one number of rows; in bfloat16 oneDNN has one for any.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor


class Product(Protocol):
    """``x W' + b`` with W and b given before, (R, in) to (R, out)."""

    def __call__(self, x: Tensor) -> Tensor:
        """(R, in) to (R, out)."""


def can_lay_out(dtype: torch.dtype) -> bool:
    """Whether products in this type have a layout here."""
    if dtype == torch.float32:
        return torch.backends.mkl.is_available() and hasattr(torch.ops.mkl, "_mkl_linear")
    return dtype == torch.bfloat16 and has_pointwise()


def has_pointwise() -> bool:
    """Whether oneDNN multiplies in bfloat16, with a bias added within the product."""
    return (
        torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_linear_pointwise")
        and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    )


def laid_out(weight: Tensor, bias: Tensor | None, rows: int | None) -> Product:
    """A product in the type of its weight, see ``can_lay_out``.

    Args:
        weight: (out, in).
        bias: (out,).
        rows: Their number, in float32; fewer are filled up to it. None: any, in bfloat16.
    """
    return _OfOneDnn(weight, bias) if rows is None else _OfMkl(weight, bias, rows)


class _OfMkl:
    """In float32, for R rows; fewer are filled up."""

    def __init__(self, weight: Tensor, bias: Tensor | None, rows: int) -> None:
        self._rows = rows
        self._packed = torch.ops.mkl._mkl_reorder_linear_weight(weight.contiguous(), rows)
        self._like = weight.new_empty(1, 1).expand(weight.shape)  # the shape is looked at alone
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        few = len(x)
        if few < self._rows:  # the layout is good for R rows alone
            x = F.pad(x, (0, 0, 0, self._rows - few))
        result: Tensor = torch.ops.mkl._mkl_linear(
            x, self._packed, self._like, self._bias, self._rows
        )
        return result[:few]


class _OfOneDnn:
    """In bfloat16, for any number of rows of any type."""

    def __init__(self, weight: Tensor, bias: Tensor | None) -> None:
        self._packed = torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), None)
        self._bias = bias

    def __call__(self, x: Tensor) -> Tensor:
        result: Tensor = torch.ops.mkldnn._linear_pointwise(
            x.to(torch.bfloat16), self._packed, self._bias, "none", [], ""
        )
        return result
