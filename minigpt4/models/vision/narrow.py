"""EVA's layers in bfloat16 on a CPU, for an encoder that does not train.

Under autocast each layer casts its weights anew, and a bias is a pass over memory of its own. Here
weights are cast once, and oneDNN adds biases within its products, of which the one of patches takes
half of a convolution's time. Values equal autocast's up to rounding.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt4.models.merging import fits
from minigpt4.models.products import has_pointwise

_WIDTH = 16
"""oneDNN is quicker where the width between the MLP's products is a multiple of it."""


class NarrowLayers:
    """Layers of one encoder; several threads may use them.

    Args:
        patches: timm's ``PatchEmbed`` without a norm.
        blocks: Its ``EvaBlock``s with one query, key and value projection, GELU, and neither rotary
            positions nor layer scales.
    """

    def __init__(self, patches: Any, blocks: Iterable[Any]) -> None:
        self._patches = patches
        self._blocks = blocks
        self._seen: tuple[Any, ...] = ()
        self._kept: _Layers | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return NarrowLayers, (self._patches, self._blocks)  # a copy of an encoder casts its own

    def can_take(self, pictures: Tensor) -> bool:
        """Whether autocast would compute on these in bfloat16 on a CPU, with no gradient.

        Args:
            pictures: Of the size that the encoder is for, (B, 3, S, S).
        """
        is_narrowed = (
            pictures.device.type == "cpu"
            and pictures.shape[2:] == self._patches.img_size
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        )
        if not is_narrowed or torch.is_grad_enabled() or not has_pointwise():
            return False
        drops = any(
            block.training and not isinstance(block.drop_path1, nn.Identity)
            for block in self._blocks
        )
        return not drops and self._weights() is not None

    def embed(self, pictures: Tensor) -> Tensor:
        """Pictures (B, 3, S, S) to patch tokens (B, N, D) in bfloat16; see ``can_take``."""
        weights = self._weights()
        assert weights is not None
        high, wide = self._patches.patch_size
        rows = pictures.to(torch.bfloat16).unflatten(3, (-1, wide)).unflatten(2, (-1, high))
        rows = rows.permute(0, 2, 4, 1, 3, 5).flatten(3).flatten(0, 2)  # (B * N, 3 * high * wide)
        return _product(rows, weights.patches).unflatten(0, (len(pictures), -1))

    def __call__(self, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) through all blocks; see ``can_take``."""
        weights = self._weights()
        assert weights is not None
        for block, narrow in zip(self._blocks, weights.blocks, strict=True):
            tokens = narrow(block, tokens)
        return tokens

    def _weights(self) -> _Layers | None:
        """The layers' weights as they are now; None where there is no memory for copies."""
        modules = [self._patches, *self._blocks]
        parameters = [each for module in modules for each in module.parameters()]
        seen = tuple((each.data_ptr(), each._version) for each in parameters)
        kept = self._kept
        if kept is None or seen != self._seen:
            if not fits(parameters):
                return None
            with torch.inference_mode(False), torch.no_grad():
                convolution = self._patches.proj
                kept = _Layers(
                    patches=_narrow(convolution.weight.flatten(1), convolution.bias),
                    blocks=[_Block.of(block) for block in self._blocks],
                )
            self._kept, self._seen = kept, seen
        return kept


@dataclass(frozen=True, slots=True)
class _Layers:
    """Weights and biases in bfloat16."""

    patches: tuple[Tensor, Tensor]
    blocks: list[_Block]


@dataclass(frozen=True, slots=True)
class _Block:
    """A block's weights and biases in bfloat16."""

    heads: tuple[Tensor, Tensor]
    output: tuple[Tensor, Tensor]
    up: tuple[Tensor, Tensor]
    down: tuple[Tensor, Tensor]

    @staticmethod
    def of(block: Any) -> _Block:
        """Cast a block's weights, the MLP's inner width filled up with zeros."""
        attention, mlp = block.attn, block.mlp
        bias = torch.cat([attention.q_bias, attention.k_bias, attention.v_bias])
        more = -mlp.fc1.out_features % _WIDTH
        return _Block(
            heads=_narrow(attention.qkv.weight, bias),
            output=_narrow(attention.proj.weight, attention.proj.bias),
            up=_narrow(F.pad(mlp.fc1.weight, (0, 0, 0, more)), F.pad(mlp.fc1.bias, (0, more))),
            down=_narrow(F.pad(mlp.fc2.weight, (0, more)), mlp.fc2.bias),
        )

    def __call__(self, block: Any, tokens: Tensor) -> Tensor:
        """Tokens (B, N, D) through a block whose weights these are."""
        batch, count, width = tokens.shape
        rows = tokens.flatten(0, 1)  # (B * N, D)
        joined = _product(block.norm1(rows), self.heads)  # (B * N, 3 * D)
        split = joined.view(batch, count, 3, block.attn.num_heads, -1).permute(2, 0, 3, 1, 4)
        queries, keys, values = split.unbind(0)
        seen = F.scaled_dot_product_attention(queries, keys, values)  # (B, H, N, d)
        rows = rows + _product(seen.transpose(1, 2).reshape(-1, width), self.output)
        inner = F.gelu(_product(block.norm2(rows), self.up))
        return rows.add_(_product(inner, self.down)).view(batch, count, width)


def _narrow(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    return weight.to(torch.bfloat16), bias.to(torch.bfloat16)


def _product(x: Tensor, layer: tuple[Tensor, Tensor]) -> Tensor:
    """(R, in) of any type to (R, out) in bfloat16."""
    result: Tensor = torch.ops.mkldnn._linear_pointwise(
        x.to(torch.bfloat16), *layer, "none", [], ""
    )
    return result
