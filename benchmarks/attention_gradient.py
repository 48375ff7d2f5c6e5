"""The gradient of causal attention in bfloat16 on a CPU: PyTorch's kernel, and products in turn.

    python benchmarks/attention_gradient.py [--json FILE]

Both give the gradients of queries, keys and values of the same sequences, in one process.
Errors are relative to float64, of all three gradients together.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path[:0] = [str(Path(__file__).resolve().parent.parent)]  # the project is run from its folder

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402

from minigpt4.common.errors import run_cli  # noqa: E402

_SHAPES = ((32, 60), (16, 120), (4, 307), (4, 600), (1, 1000))
"""Sequences and their positions; the first are like the quick start's, the third the yardstick."""
_HEADS, _WIDTH = 8, 64


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, print a line for each shape, write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    figures = {}
    for batch, length in _SHAPES:
        name = f"{batch} x {length}"
        figures[name] = compare(batch, length, args.pairs)
        sys.stdout.write(f"{name}: {figures[name]}\n")
    if args.json is not None:
        from minigpt4.common.files import write_json

        write_json(args.json, figures)


def compare(batch: int, length: int, pairs: int) -> dict[str, float]:
    """Median milliseconds of both, the median of the pairs' ratios and its extremes, and errors."""
    from minigpt4.models.attention import attend

    shape = (batch, length, _HEADS, _WIDTH)
    states = [torch.randn(shape).bfloat16().transpose(1, 2).requires_grad_() for _ in range(3)]
    upstream = torch.randn(batch, _HEADS, length, _WIDTH).bfloat16()
    scaling = _WIDTH**-0.5

    def kernel(*of: torch.Tensor) -> torch.Tensor:
        return F.scaled_dot_product_attention(*of[:3], is_causal=True, scale=scaling)

    def own(*of: torch.Tensor) -> torch.Tensor:
        return attend(*of[:3], scaling=scaling)

    seconds: dict[str, list[float]] = {"kernel": [], "own": []}
    found: dict[str, tuple[torch.Tensor, ...]] = {}
    for turn in range(pairs + 1):
        for name, forward in (("kernel", kernel), ("own", own)):
            value = forward(*states)
            begin = time.perf_counter()
            found[name] = torch.autograd.grad(value, states, upstream)
            if turn:  # the first pair warms up
                seconds[name].append(time.perf_counter() - begin)
    wide = [each.detach().double().requires_grad_() for each in states]
    exact = torch.autograd.grad(kernel(*wide), wide, upstream.double())
    ratios = [a / b for a, b in zip(seconds["kernel"], seconds["own"], strict=True)]
    return {
        "kernel_ms": round(1e3 * statistics.median(seconds["kernel"]), 2),
        "own_ms": round(1e3 * statistics.median(seconds["own"]), 2),
        "ratio": round(statistics.median(ratios), 2),
        "lowest": round(min(ratios), 2),
        "highest": round(max(ratios), 2),
        "kernel_error": round(_error(found["kernel"], exact), 4),
        "own_error": round(_error(found["own"], exact), 4),
    }


def _error(found: Sequence[torch.Tensor], exact: Sequence[torch.Tensor]) -> float:
    """Relative to the exact gradients, all together."""
    difference = torch.stack(
        [(f.double() - e).square().sum() for f, e in zip(found, exact, strict=True)]
    )
    size = torch.stack([e.square().sum() for e in exact])
    return float((difference.sum() / size.sum()).sqrt())


if __name__ == "__main__":
    sys.exit(run_cli(main))
