"""Seconds and bytes: how long until when, and the most memory so far."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from itertools import pairwise

import torch

GIB = 1024**3


def duration(seconds: float) -> str:
    """Seconds in words: ``42 s``, ``3 min 20 s``, ``2 h 20 min``, ``3 d 4 h``."""
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    units = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    for (name, size), (smaller, part) in pairwise(units):
        if whole >= size:
            # Of the smaller unit only whole ones, so that 59.6 min are not 60.
            rest = whole % size // part
            return f"{whole // size} {name}" + (f" {rest} {smaller}" if rest else "")
    return f"{whole} s"


def time_of_day(seconds: float, now: datetime | None = None) -> str:
    """When so many seconds have passed: ``22:10``, with the date where it is another day."""
    now = now or datetime.now()
    then = now + timedelta(seconds=seconds)
    return then.strftime("%H:%M" if then.date() == now.date() else "%Y-%m-%d %H:%M")


def gib(count: float) -> str:
    """Bytes as ``3.1 GiB``."""
    return f"{count / GIB:.1f} GiB" if count >= GIB / 10 else f"{count / 1024**2:.0f} MiB"


def peak_memory(device: torch.device) -> int:
    """Most bytes so far: of tensors on a CUDA device, else of this process."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        import psutil

        return int(psutil.Process().memory_info().peak_wset)
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def timed(device: torch.device, action: Callable[[], object], times: int = 2) -> float:
    """The shortest of some runs, in seconds."""
    found = []
    for _ in range(times):
        synchronize(device)
        begun = time.perf_counter()
        action()
        synchronize(device)
        found.append(time.perf_counter() - begun)
    return min(found)
