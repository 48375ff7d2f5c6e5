"""How much a step must compute, and how fast this machine multiplies matrices.

Only products of matrices are counted, two operations a multiplication and addition; norms,
activations, softmax and rotary positions are left out, as is usual for model FLOPs.
"""

from __future__ import annotations

import statistics
import time

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
    """Operations of the language model's forward pass with LoRA.

    Args:
        sizes: The model's.
        batch: Sequences.
        length: Positions of each.
        outputs: Positions whose logits are wanted.
    """
    hidden = sizes.hidden
    layer = 2 * length * (4 * hidden * hidden + 3 * hidden * sizes.intermediate)
    lora = 2 * length * 2 * (2 * hidden * sizes.lora_r)
    attention = 4 * length * length * hidden / 2  # causal: half of the square
    head = 2 * outputs * hidden * sizes.vocabulary
    return batch * (sizes.layers * (layer + lora + attention) + head)


def projection_flops(sizes: Sizes, batch: int) -> float:
    """Operations of the projection's forward pass."""
    return batch * 2 * sizes.picture_tokens * sizes.merged * sizes.vision_width * sizes.hidden


def train_flops(sizes: Sizes, batch: int, *, cached: bool) -> float:
    """Operations that a training step cannot do without.

    Frozen weights need the gradient of their input only, so the backward pass costs what the
    forward pass does, and once more for the weights of LoRA and of the projection.
    """
    language = language_flops(sizes, batch, length=sizes.length, outputs=sizes.answer)
    lora = batch * sizes.layers * 2 * sizes.length * 2 * 2 * sizes.hidden * sizes.lora_r
    # Attention's backward pass multiplies twice as much as its forward pass.
    attention = batch * sizes.layers * 2 * sizes.length**2 * sizes.hidden
    projection = 2 * projection_flops(sizes, batch)  # forward and weights
    total = 2 * language + lora + attention + projection
    return total if cached else total + encode_flops(sizes, batch)


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
