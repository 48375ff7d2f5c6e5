"""How much a step must compute, and how fast this machine multiplies matrices.

Only products of matrices are counted, two operations a multiplication and addition; norms,
activations, softmax and rotary positions are left out, as is usual for model FLOPs.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch

from speed.sizes import Sizes

_SIDE = 2048


def encode_flops(sizes: Sizes, batch: int) -> float:
    """Operations of the image encoder's forward pass."""
    tokens, width = sizes.patches + 1, sizes.vision_width
    linear = 2 * tokens * width * width * (4 + 2 * sizes.mlp_ratio)
    attention = 4 * tokens * tokens * width
    patching = 2 * sizes.patches * 3 * sizes.patch**2 * width
    return batch * (sizes.vision_depth * (linear + attention) + patching)


def language_flops(sizes: Sizes, batch: int, *, length: int, outputs: int) -> float:
    """Operations of the language model's forward pass with LoRA that its outputs depend on.

    In the last layer these are keys and values of every position, and the rest at outputs alone.

    Args:
        sizes: The model's.
        batch: Sequences.
        length: Positions of each.
        outputs: Positions whose logits are wanted.
    """
    hidden = sizes.hidden
    keys_values = 2 * (2 * hidden * hidden + 2 * hidden * sizes.lora_r)
    others = keys_values + 2 * 3 * hidden * sizes.intermediate
    layer = length * (keys_values + others)
    last = length * keys_values + outputs * others
    head = 2 * outputs * hidden * sizes.vocabulary
    return batch * (
        (sizes.layers - 1) * layer + last + attention_flops(sizes, length, outputs) + head
    )


def attention_flops(sizes: Sizes, length: int, outputs: int) -> float:
    """Operations of attention's forward pass on one sequence."""
    causal = 4 * length * length * sizes.hidden / 2  # half of the square
    return (sizes.layers - 1) * causal + 4 * outputs * length * sizes.hidden


def projection_flops(sizes: Sizes, batch: int) -> float:
    """Operations of the projection's forward pass."""
    return batch * 2 * sizes.picture_tokens * sizes.merged * sizes.vision_width * sizes.hidden


def train_flops(sizes: Sizes, batch: int, *, cached: bool) -> float:
    """Operations that a training step cannot do without.

    Frozen weights need the gradient of their input only, so the backward pass costs what the
    forward pass does, and once more for the weights of LoRA and of the projection.
    """
    language = language_flops(sizes, batch, length=sizes.length, outputs=sizes.answer)
    positions = (2 * sizes.layers - 1) * sizes.length + sizes.answer  # of q and v in all layers
    lora = batch * positions * 2 * 2 * sizes.hidden * sizes.lora_r
    # Attention's backward pass multiplies twice as much as its forward pass.
    attention = batch * attention_flops(sizes, sizes.length, sizes.answer)
    projection = 2 * projection_flops(sizes, batch)  # forward and weights
    total = 2 * language + lora + attention + projection
    return total if cached else total + encode_flops(sizes, batch)


def step_flops(sizes: Sizes, batch: int) -> dict[str, float]:
    """Operations that each of a step's parts cannot do without, by the name of what is timed."""
    return {
        f"encode_b{batch}": encode_flops(sizes, batch),
        f"train_b{batch}": train_flops(sizes, batch, cached=False),
        f"train_b{batch}_cached": train_flops(sizes, batch, cached=True),
    }


def gemm_gflops(dtype: torch.dtype, *, runs: int = 5) -> float:
    """Median rate of the product of two 2048-cube matrices, in GFLOP/s."""
    a, b = torch.randn(_SIDE, _SIDE).to(dtype), torch.randn(_SIDE, _SIDE).to(dtype)
    a @ b
    seconds = []
    for _ in range(runs):
        begin = time.perf_counter()
        a @ b
        seconds.append(time.perf_counter() - begin)
    return 2 * _SIDE**3 / statistics.median(seconds) / 1e9


def shares_of_rate(
    action: Callable[[], Any], operations: float, dtype: torch.dtype, *, runs: int = 7
) -> list[tuple[float, float]]:
    """Which share of the rate of products an action reaches, run by run.

    Each run stands between two timings of products, whose mean counts: a machine that others use as
    well multiplies twice as fast in one second as in the next.

    Args:
        action: What is timed.
        operations: That it cannot do without.
        dtype: The type of the products.
        runs: After one that does not count.

    Returns:
        For each run the rate of products beside it, in GFLOP/s, and the share.
    """
    action()
    found = []
    before = gemm_gflops(dtype)
    for _ in range(runs):
        begin = time.perf_counter()
        action()
        seconds = time.perf_counter() - begin
        after = gemm_gflops(dtype)
        rate = (before + after) / 2
        found.append((rate, operations / 1e9 / seconds / rate))
        before = after
    return found
