"""What a runner asks of a task: the loss of a batch, and figures to tell epochs apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from minigpt4.datasets.schema import Batch


@dataclass(kw_only=True)
class TrainingData:
    """Batches of a run.

    Attributes:
        iters_per_epoch: Batches of an epoch, the same in every process.
        batch_size: Samples of a batch of one process (of the first data set when they differ).
        train_batches: ``(epoch, first)`` to the batches of that epoch from number ``first`` on.
        valid_iters: Batches of a validation, the same in every process.
        valid_batches: Gives ``valid_iters`` batches, or None for a process that has run out; None
            where there is no validation.
    """

    iters_per_epoch: int
    batch_size: int
    train_batches: Callable[[int, int], Iterator[Batch]]
    valid_iters: int = 0
    valid_batches: Callable[[], Iterator[Batch | None]] | None = None


class BaseTask:
    """The loss is the model's own; subclasses build model and data and may add figures."""

    def training_loss(self, model: Any, batch: Batch) -> Tensor:
        """Loss of a batch, a scalar with a gradient."""
        loss: Tensor = model(batch)["loss"]
        return loss

    def sample_losses(self, model: Any, batch: Batch) -> Tensor:
        """Loss of each sample, shape (B,): a mean over them does not depend on the batching."""
        losses: Tensor = model(batch, reduction="none")["loss"]
        return losses

    def validation_figures(self, model: Any) -> dict[str, float]:
        """Figures besides the loss after an epoch, the same in every process."""
        return {}

    def validation_score(self, figures: dict[str, float]) -> float:
        """What the best epoch has most of."""
        return -figures["valid_loss"]
