"""Devices that are there or not, and the precision that suits them."""

from __future__ import annotations

import pytest
import torch

from minigpt4.common.device import check_device
from minigpt4.common.errors import ConfigError, ResourceError
from minigpt4.common.settings import RunSettings
from minigpt4.runners import device as devices
from minigpt4.runners.device import build_accelerator, choose_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_missing_gpu_is_told_with_the_option_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"--options run\.device=cpu"):
        check_device("cuda")


def test_a_gpu_number_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ResourceError, match="only 2 GPUs"):
        check_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "meta"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cuda, cpu or mps"):
        check_device(name)


@pytest.mark.parametrize(
    ("device", "amp", "bf16", "mixed"),
    [
        (CPU, False, True, "no"),
        (CPU, True, True, "bf16"),
        (CPU, True, False, "no"),
        (CUDA, True, True, "bf16"),
        (CUDA, True, False, "fp16"),
        (CUDA, False, True, "no"),
        (torch.device("mps"), True, True, "no"),
    ],
)
def test_precision_follows_the_device(
    device: torch.device, amp: bool, bf16: bool, mixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert choose_precision(device, amp=amp).mixed == mixed


def test_runs_of_different_precision_can_follow_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(devices, "_cpu_has_bf16", lambda: True)
    for amp, expected in ((True, "bf16"), (False, "no"), (True, "bf16")):
        accelerator, _ = build_accelerator(RunSettings(device="cpu", amp=amp))
        assert accelerator.mixed_precision == expected
        assert accelerator.device.type == "cpu"
