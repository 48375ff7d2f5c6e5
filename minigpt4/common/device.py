"""Devices by name, refused with a remedy where there are none."""

from __future__ import annotations

import torch

from minigpt4.common.errors import ConfigError, ResourceError


def check_device(device: str) -> torch.device:
    """The device of ``run.device``, checked to exist.

    Raises:
        ResourceError: There is no such device on this machine.
        ConfigError: It is not the name of a device.
    """
    try:
        chosen = torch.device(device)
    except RuntimeError:
        raise ConfigError(f"run.device is {device!r}; it can be cuda, cpu or mps.") from None
    if chosen.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if count == 0:
            raise ResourceError(
                "run.device is cuda, but PyTorch sees no CUDA GPU here: install a driver and a "
                "CUDA build of PyTorch, or run on the CPU with --options run.device=cpu."
            )
        if chosen.index is not None and chosen.index >= count:
            raise ResourceError(f"run.device is {device}, but there are only {count} GPUs.")
    elif chosen.type == "mps" and not torch.backends.mps.is_available():
        raise ResourceError(
            "run.device is mps, but this machine has none: use --options run.device=cpu."
        )
    elif chosen.type not in ("cuda", "cpu", "mps"):
        raise ConfigError(f"run.device is {device!r}; it can be cuda, cpu or mps.")
    return chosen
