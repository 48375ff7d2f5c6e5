"""A model of a few hundred parameters and made-up batches, to run the real loop on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from minigpt4.common.checkpoint import load_weights
from minigpt4.common.settings import RunSettings
from minigpt4.datasets.schema import Batch
from minigpt4.runners.checkpointing import read_checkpoint
from minigpt4.runners.device import build_accelerator
from minigpt4.runners.runner_base import RunnerBase
from minigpt4.tasks.base import BaseTask, EvaluationData, TrainingData

CLASSES = 3


class ToyModel(nn.Module):
    """Tells an answer's class (its length) from features; a frozen layer, dropout and a norm."""

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.frozen = nn.Linear(4, 8).requires_grad_(False)
        self.norm = nn.LayerNorm(8)
        self.dropout = nn.Dropout(dropout)
        self.llama_proj = nn.Linear(8, CLASSES)

    def forward(self, samples: Batch, reduction: str = "mean") -> dict[str, Tensor]:
        features = samples["image_features"].mean(1)  # (B, N, 4) -> (B, 4)
        logits = self.llama_proj(self.dropout(self.norm(self.frozen(features))))
        target = torch.tensor([len(answer) - 1 for answer in samples["answer"]])
        return {"loss": F.cross_entropy(logits, target, reduction=reduction)}

    def trainable_state_dict(self) -> dict[str, Tensor]:
        trained = {n for n, p in self.named_parameters() if p.requires_grad}
        return {n: v for n, v in self.state_dict().items() if n in trained}

    def load_checkpoint(self, path: str | Path) -> None:
        self.load_state_dict(load_weights(path), strict=False)


def samples(first: int, count: int) -> Batch:
    """Samples ``first`` to ``first + count`` of an endless data set."""
    features, answers = [], []
    for index in range(first, first + count):
        generator = torch.Generator().manual_seed(index)
        shift = torch.eye(4)[index % CLASSES]
        features.append(torch.randn(2, 4, generator=generator) + shift)
        answers.append("x" * (index % CLASSES + 1))
    return Batch(
        image_features=torch.stack(features),
        instruction_input=["?"] * count,
        answer=answers,
        dataset="toys",
        sample_id=[f"toy-{index}" for index in range(first, first + count)],
        meta=[{} for _ in range(count)],
    )


def toy_data(
    *,
    iters: int = 5,
    batch_size: int = 4,
    rank: int = 0,
    world_size: int = 1,
    valid: bool = False,
    change: Callable[[int, Batch], Batch] = lambda step, batch: batch,
) -> TrainingData:
    """Batches that are a function of the step; ``change`` may look at or alter one."""

    def train_batches(epoch: int, first: int) -> Iterator[Batch]:
        torch.rand(3)  # as a loader does, starting draws random numbers
        for step in range(epoch * iters + first, (epoch + 1) * iters):
            start = (step * world_size + rank) * batch_size
            yield change(step, samples(start, batch_size))

    def valid_batches() -> Iterator[Batch | None]:
        torch.rand(5)
        yield samples(10_000, 6)
        yield samples(10_006, 3)

    return TrainingData(
        iters_per_epoch=iters,
        batch_size=batch_size,
        train_batches=train_batches,
        valid=EvaluationData(iters=2, batches=valid_batches) if valid else None,
    )


def make_runner(
    folder: Path,
    *,
    data: TrainingData | None = None,
    task: BaseTask | None = None,
    resume: Path | None = None,
    dropout: float = 0.2,
    **settings: Any,
) -> RunnerBase:
    """A runner on the CPU over a toy model that starts the same every time."""
    values = {"init_lr": 0.05, "min_lr": 0.001, "warmup_steps": 3, "log_freq": 1, "max_epoch": 2}
    run = RunSettings(**{"device": "cpu", **values, **settings})
    accelerator, _ = build_accelerator(run)
    torch.manual_seed(7)
    model = ToyModel(dropout)
    if resume is not None:
        model.load_checkpoint(resume)
    folder.mkdir(parents=True, exist_ok=True)
    return RunnerBase(
        run=run,
        config={"run": {"max_epoch": run.max_epoch}},
        task=task or BaseTask(),
        model=model,
        data=data or toy_data(),
        folder=folder,
        accelerator=accelerator,
        checkpoint=None if resume is None else read_checkpoint(resume),
    )


def weights_of(runner: RunnerBase) -> dict[str, Tensor]:
    """A copy of the trained weights."""
    return {name: value.clone() for name, value in runner.model.trainable_state_dict().items()}
