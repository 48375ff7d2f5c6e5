"""One line at the start of every training: how fast it is and when it will be done."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterator
from dataclasses import replace

import torch

from minigpt4.common.settings import RunSettings
from minigpt4.datasets.schema import Batch
from minigpt4.runners.plan.clock import duration, gib, peak_memory, synchronize, time_of_day
from minigpt4.tasks.base import TrainingData

logger = logging.getLogger(__name__)

_STEPS, _SECONDS, _LONGEST = 5, 2.0, 60.0
"""Steps and seconds after which the pace is known; the longest to wait for so many steps."""


def announce_pace(data: TrainingData, run: RunSettings, device: torch.device) -> TrainingData:
    """The same data, which say how fast their batches are used once some were.

    A loop asks for its next batch when it is done with the one before, so nothing in the loop has
    to know. The first step, which is slower, is left out, and whole accumulations are counted.

    Args:
        data: Batches of a run.
        run: Section ``run``.
        device: Where it trains.
    """
    pace = _Pace(data, run, device)

    def train_batches(epoch: int, first: int) -> Iterator[Batch]:
        return pace.follow(data.train_batches(epoch, first), epoch=epoch, first=first)

    return replace(data, train_batches=train_batches)


class _Pace:
    def __init__(self, data: TrainingData, run: RunSettings, device: torch.device) -> None:
        self._iters = data.iters_per_epoch
        self._run = run
        self._device = device
        self._validates = data.valid is not None
        self._said = False

    def follow(self, batches: Iterator[Batch], *, epoch: int, first: int) -> Iterator[Batch]:
        done = epoch * self._iters + first
        left = self._run.max_epoch * self._iters - done
        since = 0.0
        for number, batch in enumerate(batches):
            if number == 1 and not self._said:
                since = self._now()
            elif number > 1 and not self._said and self._is_known(number - 1, since):
                seconds = (self._now() - since) / (number - 1)
                self._say(seconds, left - number)
            yield batch

    def _is_known(self, steps: int, since: float) -> bool:
        elapsed = time.perf_counter() - since
        if elapsed > _LONGEST:
            return True
        whole = steps % self._run.accum_grad_iters == 0
        return steps >= _STEPS and elapsed >= _SECONDS and whole

    def _now(self) -> float:
        synchronize(self._device)
        return time.perf_counter()

    def _say(self, seconds: float, left: int) -> None:
        self._said = True
        rest = seconds * left
        logger.info(
            "about %s s a step: %s to the end (%s)%s, peak memory %s",
            _seconds(seconds),
            duration(rest),
            time_of_day(rest),
            " without validation" if self._validates else "",
            gib(peak_memory(self._device)),
        )


def _seconds(value: float) -> str:
    """Two figures that count: ``0.042``, ``0.42``, ``4.2``, ``42``."""
    digits = max(0, 1 - math.floor(math.log10(max(value, 1e-6))))
    return f"{value:.{digits}f}"
