"""What a runner asks of a task: the loss of a batch, and figures to tell epochs apart."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from minigpt4.datasets.schema import Batch


@dataclass(kw_only=True)
class EvaluationData:
    """Every sample of some splits once, shared out among the processes.

    Attributes:
        iters: Batches, the same number in every process.
        batches: Gives them; None instead of a batch for a process that has run out.
        source: What the task takes its own figures on.
    """

    iters: int
    batches: Callable[[], Iterator[Batch | None]]
    source: Any = None


@dataclass(kw_only=True)
class TrainingData:
    """Batches of a run.

    Attributes:
        iters_per_epoch: Batches of an epoch, the same number in every process.
        batch_size: Samples of a batch of one process (of the first data set when they differ).
        train_batches: ``(epoch, first)`` to the batches of that epoch from number ``first`` on.
        valid: What is validated on after each epoch, if anything.
    """

    iters_per_epoch: int
    batch_size: int
    train_batches: Callable[[int, int], Iterator[Batch]]
    valid: EvaluationData | None = None


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

    def evaluation_figures(self, model: Any, data: EvaluationData) -> dict[str, float]:
        """Figures besides the loss, the same in every process."""
        return {}

    def validation_score(self, figures: dict[str, float]) -> list[float]:
        """What the best epoch has most of; later numbers decide between equal earlier ones.

        Args:
            figures: ``loss``, and what ``evaluation_figures`` gave.
        """
        return [-figures["loss"]]
