"""What the C library does with freed memory, in a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc's")

_BLOCKS = """
import resource
import sys

import numpy as np

from minigpt4.common.memory import give_back_freed_memory, keep_freed_memory


def faults() -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [np.ones(4 << 20, dtype=np.uint8) for _ in range(40)]  # 40,960 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


faults()
print(faults())
keep_freed_memory()
faults()
print(faults())
give_back_freed_memory()
print(faults())
"""


def test_freed_memory_is_kept_until_it_is_to_be_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", _BLOCKS], capture_output=True, text=True)
    plain, kept, given_back = map(int, done.stdout.split())
    assert plain > 10_000
    assert kept < 1_000
    assert given_back > 10_000
