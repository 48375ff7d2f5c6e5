"""Each part against the operators it stands for, and its derivative against differences."""

from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from minigpt4.models.fused import _LoraLinear, gated, rms_norm, rotate
from minigpt4.models.loss import answer_losses, token_losses
from minigpt4.models.segments import Segments


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).requires_grad_()


def test_rms_norm():
    x, weight = drawn(3, 5), drawn(5, seed=1)
    expected = torch.nn.functional.rms_norm(x.float(), (5,), weight.float(), 1e-5)
    torch.testing.assert_close(rms_norm(x.float(), weight.float(), 1e-5), expected)
    for has_gradient in (True, False):
        scale = weight.detach().requires_grad_(has_gradient).float()
        y = x.detach().float().requires_grad_()
        wanted = [y, scale] if has_gradient else [y]
        plain = torch.nn.functional.rms_norm(y, (5,), scale, 1e-5)
        ours, theirs = (
            torch.autograd.grad((z * expected).sum(), wanted, retain_graph=True)
            for z in (rms_norm(y, scale, 1e-5), plain)
        )
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)


def test_rotation():
    from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

    x, angles = drawn(4, 2, 6), torch.arange(12.0, dtype=torch.float64).reshape(4, 3)
    cos, sin = (torch.cat([f(angles)] * 2, dim=-1) for f in (torch.cos, torch.sin))
    expected, _ = apply_rotary_pos_emb(x[None], x[None], cos[None], sin[None], unsqueeze_dim=2)
    torch.testing.assert_close(rotate(x, cos[:, None], sin[:, None]), expected[0])
    assert gradcheck(lambda y: rotate(y, cos[:, None], sin[:, None]), (x,))


def test_gated():
    gate, up = drawn(3, 5), drawn(3, 5, seed=1)
    torch.testing.assert_close(gated(gate, up), torch.nn.functional.silu(gate) * up)
    assert gradcheck(gated, (gate, up))


@pytest.mark.parametrize("bias", [None, drawn(3, seed=4).detach()])
def test_lora(bias):
    x, weight, down, up = drawn(4, 5), drawn(3, 5, seed=1), drawn(2, 5, seed=2), drawn(3, 2, seed=3)
    weight = weight.detach()
    found = _LoraLinear.apply(x, weight, bias, down, up, 1.5)
    expected = x @ weight.t() + 1.5 * (x @ down.t() @ up.t()) + (0 if bias is None else bias)
    torch.testing.assert_close(found, expected)
    assert gradcheck(lambda *v: _LoraLinear.apply(v[0], weight, bias, *v[1:], 1.5), (x, down, up))


@pytest.mark.parametrize("wanted", [None, [1, 2, 6]])
@pytest.mark.parametrize("lengths", [[3, 1, 4], [4, 4]])
def test_attention_within_sequences(lengths, wanted):
    """By hand: softmax over the positions of the same sequence up to one's own."""
    total = sum(lengths)
    rows = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
    seen = (rows[:, None] == rows) & (torch.arange(total)[:, None] >= torch.arange(total))
    chosen = torch.tensor(range(total) if wanted is None else wanted)
    queries, keys, values = drawn(total, 2, 4), drawn(total, 2, 4, seed=1), drawn(total, 2, 4)
    scores = torch.einsum("qhd,khd->hqk", queries, keys) * 0.3
    weights = scores.masked_fill(~seen, -torch.inf).softmax(-1)
    expected = torch.einsum("hqk,khd->qhd", weights, values)[chosen]
    segments = Segments(lengths, torch.device("cpu"))
    where = None if wanted is None else chosen

    def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        return segments.attend(q[chosen], k, v, 0.3, wanted=where)

    torch.testing.assert_close(attend(queries, keys, values), expected)
    assert gradcheck(attend, (queries, keys, values))


def test_losses_in_parts():
    states, head = drawn(7, 3), drawn(11, 3, seed=1)
    targets = torch.tensor([0, 10, 3, 3, 7, 1, 2])
    expected = token_losses(states @ head.t(), targets, None)
    widths = []

    def logits(some: torch.Tensor) -> torch.Tensor:
        widths.append(len(some))
        return some @ head.t()

    found = answer_losses(states, logits, targets, None, vocabulary=11, max_logits=25)
    assert max(widths) == 2
    torch.testing.assert_close(found, expected)
    weights = torch.arange(1.0, 8)
    ours, theirs = (
        torch.autograd.grad((losses * weights).sum(), [states, head], retain_graph=True)
        for losses in (found, expected)
    )
    torch.testing.assert_close(ours, theirs)
    assert max(widths) == 2, "the gradient too is computed in parts"


def test_the_logits_of_all_positions_are_never_held():
    """The largest tensor kept for the gradient, and the largest made, are those of a part."""
    from torch.utils._python_dispatch import TorchDispatchMode

    class Largest(TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            for each in result if isinstance(result, tuple) else (result,):
                if isinstance(each, torch.Tensor):
                    self.size = max(self.size, each.numel())
            return result

    states, head = torch.randn(600, 8, requires_grad=True), torch.randn(500, 8)
    targets = torch.zeros(600, dtype=torch.long)

    def peak(max_logits: int) -> int:
        with Largest() as largest:
            losses = answer_losses(
                states, lambda s: s @ head.t(), targets, None, vocabulary=500, max_logits=max_logits
            )
            losses.sum().backward()
        return largest.size

    assert peak(1 << 24) >= 600 * 500
    assert peak(20_000) <= 20_000
