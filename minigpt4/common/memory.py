"""Memory that a process holds without using it."""

from __future__ import annotations

import ctypes
import sys
from typing import Any

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's settings, from its malloc.h."""
_LARGEST_BLOCK = 32 << 20
"""The most that glibc takes for the second."""
_MOST_KEPT = 1 << 30
_SHARE = 8
"""The part of available memory that may be kept is one in so many."""


def give_back_freed_memory() -> None:
    """Let the C library return to the system what was freed; some ten milliseconds with glibc.

    It keeps what large tensors leave between smaller ones, which after training steps was a
    quarter of the process. Other C libraries are left alone.
    """
    trim = _function("malloc_trim")
    if trim is not None:
        trim(0)


def keep_freed_memory() -> None:
    """Let the C library keep up to 1 GiB of what is freed, or an eighth of what is available.

    By itself glibc returns what is free at the end of its heap, and a training step that needs it
    again gets it page by page: up to 30,000 times a step. Other C libraries are left alone.
    """
    import psutil

    setting = _function("mallopt")
    if setting is not None:
        kept = min(_MOST_KEPT, psutil.virtual_memory().available // _SHARE)
        setting(_MMAP_THRESHOLD, _LARGEST_BLOCK)  # the other one alone leaves it as it is
        setting(_TRIM_THRESHOLD, kept)


def _function(name: str) -> Any:
    """A function of the C library; None where it has none of the name."""
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
