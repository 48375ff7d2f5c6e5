"""Losses of the steps done: read from the device seldom, checked to be finite, averaged."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minigpt4.common.errors import TrainingError
from minigpt4.datasets.schema import Batch

_SMOOTHING = 0.95


@dataclass
class LossMeter:
    """Averages the losses of an epoch.

    Reading a number makes the host wait for the device, so on an accelerator several are read
    together.

    Attributes:
        read_every: Values between readings; 1 on CPU.
        smoothed: Moving average, for the progress bar; None before the first reading.
        skipped: Samples that others stood in for, because their pictures could not be read.
    """

    read_every: int = 1
    smoothed: float | None = None
    skipped: int = 0
    _pending: list[tuple[str, Tensor, int, Batch]] = field(default_factory=list)
    _sum: float = 0.0
    _count: int = 0
    _recent_sum: float = 0.0
    _recent_count: int = 0
    _samples: int = 0
    _since: float = field(default_factory=time.perf_counter)

    def add(self, step: int, loss: Tensor, batch: Batch) -> None:
        """Take one step's loss (a scalar tensor).

        Raises:
            TrainingError: This loss, or one taken since the last reading, is not finite.
        """
        self._samples += batch_size(batch)
        self.skipped += sum(len(meta.get("skipped", ())) for meta in batch.get("meta", ()))
        self._push("loss", loss.detach(), step, batch)

    def check_norm(self, step: int, norm: Tensor, batch: Batch) -> None:
        """Take the gradient's norm after one step, only to see that it is finite.

        Raises:
            TrainingError: It is not, or a value taken since the last reading was not.
        """
        self._push("gradient's norm", norm.detach(), step, batch)

    def read(self) -> None:
        """Read what is pending.

        Raises:
            TrainingError: One of the values is not finite.
        """
        if not self._pending:
            return
        pending, self._pending = self._pending, []
        values = torch.stack([value.float() for _, value, _, _ in pending]).tolist()
        for (what, _, step, batch), value in zip(pending, values, strict=True):
            if not math.isfinite(value):
                raise TrainingError(
                    f"The {what} is {value} at iteration {step}, {describe_batch(batch)}: look at "
                    "these samples, or lower run.init_lr, set run.max_grad_norm=1, or turn run.amp "
                    "off; checkpoints written before are sound."
                )
            if what == "loss":
                self._sum += value
                self._recent_sum += value
                self._count += 1
                self._recent_count += 1
                before = value if self.smoothed is None else self.smoothed
                self.smoothed = _SMOOTHING * before + (1 - _SMOOTHING) * value

    def recent(self) -> tuple[float, float]:
        """Mean loss, and samples a second of this process, since the last call."""
        self.read()
        now = time.perf_counter()
        mean = self._recent_sum / max(self._recent_count, 1)
        speed = self._samples / max(now - self._since, 1e-9)
        self._recent_sum, self._recent_count, self._samples, self._since = 0.0, 0, 0, now
        return mean, speed

    def mean(self) -> float:
        """Mean loss of all steps taken."""
        self.read()
        return self._sum / max(self._count, 1)

    def state(self) -> list[float]:
        """What a resumed epoch needs to end on the same means."""
        self.read()
        return [self._sum, self._count, self._recent_sum, self._recent_count, self.skipped]

    def restore(self, state: list[float]) -> None:
        """Go on from ``state()``."""
        self._sum, self._recent_sum = state[0], state[2]
        self._count, self._recent_count, self.skipped = int(state[1]), int(state[3]), int(state[4])

    def _push(self, what: str, value: Tensor, step: int, batch: Batch) -> None:
        self._pending.append((what, value, step, batch))
        if len(self._pending) >= self.read_every:
            self.read()


def batch_size(batch: Batch) -> int:
    """Samples in a batch."""
    return len(batch["answer"] if "answer" in batch else batch["conv_a"])


def describe_batch(batch: Batch) -> str:
    """The data set and sample ids of a batch, for messages."""
    ids = ", ".join(batch.get("sample_id", [])) or "without ids"
    return f"data set {batch.get('dataset', '?')}, samples {ids}"
