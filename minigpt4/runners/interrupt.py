"""Ctrl-C and SIGTERM as a wish that the loop fulfils between two optimizer steps."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

import torch

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class InterruptGuard:
    """Within ``with``, the first signal only sets a flag; a second one stops at once.

    Attributes:
        requested: Whether a signal came to this process.
    """

    def __init__(self, *, device: torch.device, world_size: int = 1) -> None:
        self.requested = False
        self._device = device
        self._world_size = world_size
        self._at_once = False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> InterruptGuard:
        # Python lets only the main thread set handlers; elsewhere the host program decides.
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._previous[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous.clear()

    def agreed(self) -> bool:
        """Whether any process was asked to stop; all processes get the same answer."""
        if self._world_size == 1:
            return self.requested
        flag = torch.tensor([float(self.requested)], device=self._device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        return bool(flag.item())

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """A stretch in which nothing changes that is saved: a signal raises KeyboardInterrupt.

        Only with one process; several have to stay in step and look at ``agreed``.
        """
        if self.requested and self._world_size == 1:
            raise KeyboardInterrupt
        self._at_once = self._world_size == 1
        try:
            yield
        finally:
            self._at_once = False

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested or self._at_once:
            self.requested = True
            raise KeyboardInterrupt
        self.requested = True
        logger.warning(
            "%s: saving after this step (once more to stop at once without saving)",
            signal.Signals(number).name,
        )
