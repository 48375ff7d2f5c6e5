"""Convolutions fused with padding and activation: the same maps, undone where they differ."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from conftest import pictures
from torch import nn

from minigpt4.models.vision.folding import fold_batch_norms
from minigpt4.models.vision.fusing import FusedConv2d, fuse_convolutions


def network(name: str = "tf_efficientnet_lite0") -> nn.Module:
    """A CNN of timm with norms folded that are not the identity."""
    torch.manual_seed(0)
    net = timm.create_model(name, features_only=True, out_indices=(1, 2)).eval()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    fold_batch_norms(net, pictures(1, 64, seed=1))
    return net


def same(found, expected) -> None:
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("size", [64, 96, 75])
def test_maps_stay_the_same_at_its_own_size_and_at_others(size):
    plain = network()
    fused = copy.deepcopy(plain)
    assert fuse_convolutions(fused, pictures(1, 64)) > 5
    with torch.inference_mode():
        same(fused(pictures(2, size)), plain(pictures(2, size)))


def test_names_and_weights_stay():
    plain = network()
    fused = copy.deepcopy(plain)
    fuse_convolutions(fused, pictures(1, 64))
    before, after = plain.state_dict(), fused.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("how", ["grad", "bf16", "autocast"])
def test_where_onednn_cannot_apply_the_activation(how):
    plain = network()
    fused = copy.deepcopy(plain)
    fuse_convolutions(fused, pictures(1, 64))
    x = pictures(1, 64)
    if how == "grad":
        same(fused(x.requires_grad_()), plain(x))
    elif how == "bf16":
        with torch.inference_mode():
            found, expected = fused.bfloat16()(x.bfloat16()), plain.bfloat16()(x.bfloat16())
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=0.05, atol=0.05)
    else:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
            assert fused(x)[0].dtype == plain(x)[0].dtype


class Misleading(nn.Module):
    """What stands after the convolution is not what follows it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.act = nn.ReLU()

    def forward(self, x):
        return [self.conv(self.act(x))]


def test_nothing_is_changed_where_the_order_misleads():
    net = Misleading().eval()
    assert fuse_convolutions(net, pictures(1, 16)) == 0
    assert type(net.conv) is nn.Conv2d
    assert type(net.act) is nn.ReLU


def test_layers_of_other_kinds_are_left_alone():
    net = network("test_resnet")
    reflect = nn.Sequential(nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), nn.ReLU())
    assert fuse_convolutions(nn.Sequential(reflect, nn.Unflatten(0, (1, -1))), pictures(1)) == 0
    fused = copy.deepcopy(net)
    count = fuse_convolutions(fused, pictures(1, 64))
    assert count == sum(isinstance(module, FusedConv2d) for module in fused.modules())
    with torch.inference_mode():
        same(fused(pictures(2, 64)), net(pictures(2, 64)))
