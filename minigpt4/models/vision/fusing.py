"""Convolutions of a frozen CNN with what surrounds them in one call: padding and activation.

TensorFlow's "same" padding may be one wider at the right than at the left, which a convolution here
cannot do by itself, so timm copies every map into a larger one first. With a kernel that has zeros
where the left side would be wider, the padding is even and needs no copy. Activations are left to
oneDNN, which applies them while the result is still in the cache.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_TOLERANCE = 1e-4
"""Largest relative change of a feature map that rounding may explain."""
_ACTIVATIONS: dict[type[nn.Module], tuple[str, list[float]]] = {
    nn.ReLU: ("relu", []),
    nn.ReLU6: ("hardtanh", [0.0, 6.0]),
}
"""oneDNN's names of activations, and their limits."""


class FusedConv2d(nn.Conv2d):
    """A frozen convolution under its old parameter names.

    Args:
        conv: The convolution; its parameters are shared.
        activation: What follows it; None for nothing.
        side: Side of the maps that it is applied to; others are padded by copying.
    """

    wide: Tensor

    def __init__(self, conv: nn.Conv2d, activation: nn.Module | None, side: int) -> None:
        super().__init__(
            conv.in_channels,
            conv.out_channels,
            conv.kernel_size,  # type: ignore[arg-type]
            conv.stride,  # type: ignore[arg-type]
            conv.padding,  # type: ignore[arg-type]
            conv.dilation,  # type: ignore[arg-type]
            conv.groups,
            bias=conv.bias is not None,
            device="meta",
        )
        self.weight, self.bias = conv.weight, conv.bias
        self.activation = activation
        self.pads_same = type(conv).__name__ == "Conv2dSame"
        self.margins = self._margins(side) if self.pads_same else (0, 0)
        left, right = self.margins
        extra = (right - left, 0)
        self.register_buffer(
            "wide",
            F.pad(conv.weight.detach(), extra * 2).contiguous(memory_format=torch.channels_last),
            persistent=False,
        )

    def forward(self, maps: Tensor) -> Tensor:
        """Maps (B, C, h, w) to (B, C', h', w'), the activation applied."""
        weight: Tensor = self.weight
        padding: Any = self.padding
        if self.pads_same:
            high, wide = (self._margins(side) for side in maps.shape[2:])
            if high == wide == self.margins:
                weight, padding = self.wide, (self.margins[1],) * 2
            else:
                maps, padding = F.pad(maps, (*wide, *high)), (0, 0)
        arguments = (self.stride, padding, self.dilation, self.groups)
        if self.activation is None or not _takes_activation(maps):
            maps = F.conv2d(maps, weight, self.bias, *arguments)
            return maps if self.activation is None else self.activation(maps)
        name, limits = _ACTIVATIONS[type(self.activation)]
        result: Tensor = torch.ops.mkldnn._convolution_pointwise(
            maps, weight, self.bias, padding, self.stride, self.dilation, self.groups,
            name, limits, "",
        )  # fmt: skip
        return result

    def _margins(self, side: int) -> tuple[int, int]:
        """Padding before and after a side, so that the stride divides its length (rounded up)."""
        stride = self.stride[0]
        covered = (-(-side // stride) - 1) * stride + (self.kernel_size[0] - 1) * self.dilation[0]
        total = max(covered + 1 - side, 0)
        return total // 2, total - total // 2


def _takes_activation(maps: Tensor) -> bool:
    """Whether oneDNN can apply an activation: float32 on a CPU, without autograd or autocast."""
    return (
        maps.device.type == "cpu"
        and maps.dtype == torch.float32
        and torch.backends.mkldnn.is_available()
        and hasattr(torch.ops.mkldnn, "_convolution_pointwise")
        and not torch.is_autocast_enabled("cpu")
        and not (torch.is_grad_enabled() and maps.requires_grad)
    )


@torch.no_grad()
def fuse_convolutions(net: nn.Module, probe: Tensor) -> int:
    """Fuse each convolution of a frozen network with its padding and the activation after it.

    Pairs are found by order within a module, as timm's CNNs name them, and the result is checked on
    ``probe``: where an activation follows another layer than its neighbour, nothing is changed.

    Args:
        net: A network in evaluation mode that returns a list of feature maps, its batch norms
            folded; changed in place.
        probe: Pictures (B, 3, S, S) of the size that it is going to see.
    Returns:
        Number of convolutions fused.
    """
    sides: dict[nn.Module, int] = {}
    hooks = [
        module.register_forward_pre_hook(lambda m, args: sides.__setitem__(m, args[0].shape[-1]))
        for module in net.modules()
        if isinstance(module, nn.Conv2d)
    ]
    before = [feature_map.clone() for feature_map in net(probe)]
    for hook in hooks:
        hook.remove()
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    count = 0
    for module in list(net.modules()):
        children = [
            (name, child)
            for name, child in module.named_children()
            if not isinstance(child, nn.Identity)
        ]
        for (name, child), (after_name, after) in pairwise([*children, ("", None)]):
            if child not in sides or not _can_fuse(child):
                continue
            activation = after if type(after) in _ACTIVATIONS else None
            if activation is None and type(child).__name__ != "Conv2dSame":
                continue
            undo.append((module, name, child))
            setattr(module, name, FusedConv2d(child, activation, sides[child]))  # type: ignore[arg-type]
            if activation is not None:
                undo.append((module, after_name, activation))
                setattr(module, after_name, nn.Identity())
            count += 1
    same = all(
        (a - b).abs().max() <= _TOLERANCE * b.abs().max().clamp_min(1e-6)
        for a, b in zip(net(probe), before, strict=True)
    )
    if same:
        return count
    for module, name, child in reversed(undo):
        setattr(module, name, child)
    return 0


def _can_fuse(child: nn.Module) -> bool:
    """Whether a layer is a convolution of the plain kind or of timm's with "same" padding."""
    return (
        isinstance(child, nn.Conv2d)
        and (type(child) is nn.Conv2d or type(child).__name__ == "Conv2dSame")
        and child.padding_mode == "zeros"
        and not isinstance(child.padding, str)
        and len(set(child.kernel_size)) == len(set(child.stride)) == len(set(child.dilation)) == 1
    )
