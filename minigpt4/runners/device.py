"""Accelerate on the device of a run, in the precision that suits it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from minigpt4.common.device import check_device
from minigpt4.common.settings import RunSettings
from minigpt4.models.precision import Precision, choose_precision

if TYPE_CHECKING:
    from accelerate import Accelerator


def build_accelerator(run: RunSettings) -> tuple[Accelerator, Precision]:
    """Accelerate on the device of ``run``, one process a launcher's rank.

    The gradient is accumulated by the runner itself, so accelerate's own division stays at 1.

    Args:
        run: ``device`` and ``amp`` are looked at.
    Raises:
        ResourceError: The device does not exist.
    """
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    device = check_device(run.device)
    precision = choose_precision(device, amp=run.amp)
    if device.type == "cuda" and device.index is not None:
        torch.cuda.set_device(device)
    # Accelerate keeps one state a process and refuses another precision; runs follow one another.
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=device.type == "cpu", mixed_precision=precision.mixed)
    return accelerator, precision
