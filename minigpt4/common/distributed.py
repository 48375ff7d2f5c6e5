"""Who this process is among those that a launcher started."""

from __future__ import annotations

import os


def rank() -> int:
    """This process's number, 0 when no launcher started it."""
    return int(os.environ.get("RANK", "0"))


def world_size() -> int:
    """Number of processes, 1 when no launcher started them."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def is_main() -> bool:
    """Whether this process is the one that writes and reports."""
    return rank() == 0


def barrier() -> None:
    """Wait until every process is here; nothing to wait for outside a process group."""
    import torch.distributed as dist

    if dist.is_available() and dist.is_initialized():
        dist.barrier()
