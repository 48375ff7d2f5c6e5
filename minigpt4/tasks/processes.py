"""The processes that a launcher started for one evaluation, and what they tell each other.

Only small Python objects travel, so the processes meet over gloo, whatever their devices.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from minigpt4.common.distributed import rank, world_size
from minigpt4.common.errors import UserError

T = TypeVar("T")

_PATIENCE = timedelta(days=7)
"""Processes wait for the slowest; one that died is the launcher's to notice, which ends all."""
_GRACE = 5.0
"""Seconds that the others leave the main process to say what is wrong."""


@dataclass(frozen=True, slots=True)
class Processes:
    """One of the processes.

    Attributes:
        rank: Its number.
        size: How many there are.
        group: How they are reached; None for a single one.
    """

    rank: int = 0
    size: int = 1
    group: Any = None

    @property
    def is_main(self) -> bool:
        """Whether it is the one that writes and reports."""
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        """The values of all, in the order of their numbers; every process must ask."""
        if self.size == 1:
            return [value]
        import torch.distributed as dist

        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def share(self, value: T) -> T:
        """The main process's value; every process must ask."""
        if self.size == 1:
            return value
        import torch.distributed as dist

        values: list[Any] = [value]
        dist.broadcast_object_list(values, src=0, group=self.group)
        shared: T = values[0]
        return shared

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Do something that a user's mistake may stop: then all stop, and one says why.

        Raises:
            UserError: In the main process, the first mistake of any.
            SystemExit: In the others.
        """
        mistake: UserError | None = None
        try:
            yield
        except UserError as error:
            if self.size == 1:
                raise
            mistake = error
        first = next((each for each in self.gather(mistake) if each is not None), None)
        if first is not None and self.is_main:
            raise first
        if first is not None:
            time.sleep(_GRACE)  # the launcher ends this process as soon as the main one is through
            raise SystemExit(first.exit_code)


def join_processes() -> Processes:
    """Meet the other processes of a launcher; nothing to do where there are none."""
    if world_size() == 1:
        return Processes()
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo", timeout=_PATIENCE)
    return Processes(rank(), world_size(), dist.new_group(backend="gloo", timeout=_PATIENCE))
