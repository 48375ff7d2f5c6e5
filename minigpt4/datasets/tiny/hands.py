"""Many pictures made by several processes, in the same order as by one.

Each picture is a function of the seed and its number alone, so it does not matter who makes it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

from minigpt4.common.logger import progress

_MOST = 8
_FEW = 300
"""Pictures that are made sooner than processes have started."""
_CHUNK = 16

Item = TypeVar("Item")
Result = TypeVar("Result")


class Hands:
    """Processes that are started when there is enough to do.

    Args:
        count: How many; None: as many as there are cores.
    """

    def __init__(self, count: int | None = None) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
        self._count = count if count is not None else min(_MOST, cores or 1)
        self._pool: Executor | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop()

    def map(
        self, make: Callable[[Item], Result], items: Sequence[Item], *, desc: str
    ) -> list[Result]:
        """``make(item)`` of each item, in order, with a progress bar.

        Args:
            make: A function of a module, or a ``partial`` of one.
            items: What to give it.
            desc: Name of the progress bar.
        """
        made: Iterable[Result] = map(make, items)
        if self._count > 1 and len(items) > _FEW:
            if self._pool is None:
                self._pool = ProcessPoolExecutor(
                    self._count,
                    # Not forked: libraries that run threads may be loaded.
                    mp_context=multiprocessing.get_context("spawn"),
                    initializer=signal.signal,
                    initargs=(signal.SIGINT, signal.SIG_IGN),  # Ctrl-C is for the main process
                )
            made = self._pool.map(make, items, chunksize=_CHUNK)
        try:
            return list(progress(made, total=len(items), desc=desc))
        except BaseException:
            self._stop()  # nobody writes any more when the folder is removed
            raise

    def _stop(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


ONE = Hands(1)
"""Makes everything in this process."""
