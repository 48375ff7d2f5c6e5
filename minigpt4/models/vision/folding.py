"""Batch norms of a frozen CNN folded into the convolutions before them."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

_TOLERANCE = 1e-3
"""Largest relative change of a feature map that rounding may explain."""


@torch.no_grad()
def fold_batch_norms(net: nn.Module, probe: Tensor) -> int:
    """Fold each batch norm in evaluation mode into the convolution that it follows.

    A frozen network gives the same maps up to rounding, without a pass over memory per norm. Pairs
    are found by order within a module, as timm's CNNs name them, and the result is checked on
    ``probe``: where a norm follows another layer than its neighbour, nothing is changed.

    Args:
        net: A network in evaluation mode that returns a list of feature maps; changed in place.
        probe: Pictures (B, 3, S, S) to compare on.
    Returns:
        Number of norms folded; 0 when there are none or the maps would differ.
    """
    before = [feature_map.clone() for feature_map in net(probe)]
    saved = {name: value.clone() for name, value in net.state_dict().items()}
    undo: list[tuple[nn.Module, str, nn.Module]] = []
    bare: list[nn.Conv2d] = []
    for module in list(net.modules()):
        last: nn.Module | None = None
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Identity):
                continue
            if isinstance(child, nn.BatchNorm2d) and isinstance(last, nn.Conv2d):
                if last.bias is None:
                    bare.append(last)
                last.weight, last.bias = fuse_conv_bn_weights(
                    last.weight,
                    last.bias,
                    child.running_mean,  # type: ignore[arg-type]
                    child.running_var,  # type: ignore[arg-type]
                    child.eps,
                    child.weight,
                    child.bias,
                )
                undo.append((module, name, child))
                setattr(module, name, getattr(child, "act", nn.Identity()))
            last = child
    after = net(probe)
    same = all(
        (a - b).abs().max() <= _TOLERANCE * b.abs().max().clamp_min(1e-6)
        for a, b in zip(after, before, strict=True)
    )
    if same:
        return len(undo)
    for module, name, child in undo:
        setattr(module, name, child)
    for convolution in bare:
        convolution.bias = None
    net.load_state_dict(saved)
    return 0
