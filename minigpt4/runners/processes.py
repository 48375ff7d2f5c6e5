"""Numbers of one process to those of all; every process must take part."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from accelerate import Accelerator


def sum_over(accelerator: Accelerator, value: float) -> float:
    """Sum of a number over all processes."""
    if accelerator.num_processes == 1:
        return value
    # MPS has no float64, but also never more than one process.
    tensor = torch.tensor(value, dtype=torch.float64, device=accelerator.device)
    return float(accelerator.reduce(tensor, reduction="sum").item())


def mean_over(accelerator: Accelerator, value: float) -> float:
    """Mean of a number over all processes."""
    return sum_over(accelerator, value) / accelerator.num_processes


def count_over(accelerator: Accelerator, counts: Counter[str]) -> dict[str, int]:
    """Sums of counts over all processes, those that are zero left out."""
    if accelerator.num_processes > 1:
        from accelerate.utils import gather_object

        counts = sum((Counter(each) for each in gather_object([counts])), Counter())
    return {name: number for name, number in counts.items() if number}
