"""Attention and its gradient in bfloat16, against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from minigpt4.models import attention
from minigpt4.models.attention import attend

SCALING = 0.3


def states(rows: int, length: int, *, shared: int = 1, dtype: Any = torch.bfloat16) -> list[Any]:
    """Queries (3, 4, rows, 16), keys and values (3, 4 / shared, length, 16)."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(rows, 4), (length, 4 // shared), (length, 4 // shared)]
    made = [torch.randn(3, n, heads, 16, generator=generator) for n, heads in sizes]
    return [each.to(dtype).transpose(1, 2).requires_grad_() for each in made]


def gradients(found: torch.Tensor, of: list[Any]) -> tuple[torch.Tensor, ...]:
    weights = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    return torch.autograd.grad(found, of, weights.to(found.dtype))


def exact(of: list[Any], mask: torch.Tensor | None) -> tuple[torch.Tensor, ...]:
    """Value and gradients in float64."""
    wide = [each.detach().double().requires_grad_() for each in of]
    found = F.scaled_dot_product_attention(
        *wide, attn_mask=mask, is_causal=mask is None, scale=SCALING, enable_gqa=True
    )
    return (found, *gradients(found, wide))


def check(of: list[Any], mask: torch.Tensor | None) -> None:
    found = attend(*of, scaling=SCALING, mask=mask)
    assert "_Attention" in type(found.grad_fn).__name__
    with torch.no_grad():
        alone = attend(*of, scaling=SCALING, mask=mask)
    values = exact(of, mask)
    everything = (alone, found, *gradients(found, of))
    for ours, expected in zip(everything, (values[0], *values), strict=True):
        assert ours.dtype == torch.bfloat16
        error = (ours.double() - expected).norm()
        assert error <= 0.01 * expected.norm(), "some roundings of 2 ** -9"


@pytest.mark.parametrize("shared", [1, 2, 4])
@pytest.mark.parametrize("length", [1, 7, 60, 200, 201, 450])
def test_causal(length, shared):
    check(states(length, length, shared=shared), None)


@pytest.mark.parametrize("shared", [1, 4])
@pytest.mark.parametrize("rows", [1, 5, 230])
def test_masked(rows, shared):
    """Each row of a batch sees its own number of keys."""
    limits = torch.randint(0, 40, (3, rows), generator=torch.Generator().manual_seed(2))
    mask = torch.arange(40) <= limits[:, None, :, None]
    check(states(rows, 40, shared=shared), mask)


def test_no_score_passes_what_is_hidden():
    """Values that nothing attends to have no gradient, whatever they are."""
    queries, keys, values = states(30, 30)
    with torch.no_grad():
        keys[:, :, 20:] = 1e4
        values[:, :, 20:] = -1e4
    found = attend(queries, keys, values, scaling=SCALING)[:, :, :20]
    for_queries, for_keys, for_values = gradients(found, [queries, keys, values])
    assert for_queries.isfinite().all()
    assert not for_queries[:, :, 20:].any()
    assert not for_keys[:, :, 20:].any()
    assert not for_values[:, :, 20:].any()


def test_under_autocast_as_without():
    of = states(9, 9)
    found = attend(*of, scaling=SCALING)
    plain = gradients(found, of)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = attend(*of, scaling=SCALING)
        for ours, expected in zip(gradients(found, of), plain, strict=True):
            assert torch.equal(ours, expected)


def test_elsewhere_the_kernel_alone(monkeypatch):
    def forbidden(*_: Any) -> None:
        raise AssertionError("the own gradient")

    monkeypatch.setattr(attention, "_gradients", forbidden)
    of = states(9, 9, dtype=torch.float32)
    found = attend(*of, scaling=SCALING)
    for ours, expected in zip((found, *gradients(found, of)), exact(of, None), strict=True):
        torch.testing.assert_close(ours.double(), expected, rtol=1e-4, atol=1e-5)
    narrow = states(9, 9)
    with torch.no_grad():
        assert not attend(*narrow, scaling=SCALING).requires_grad
    dropped = attend(*narrow, scaling=SCALING, dropout=0.5)
    gradients(dropped, narrow)
