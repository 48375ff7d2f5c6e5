"""Run under torchrun by ``test_two_processes``: ``two_processes.py FOLDER``."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch
from toy_run import make_runner, toy_data

from minigpt4.common.distributed import rank, world_size
from minigpt4.datasets.schema import Batch
from minigpt4.runners import runner_base
from minigpt4.tasks.base import BaseTask, TrainingData


class InterruptedInRankOne(BaseTask):
    """One of the processes gets Ctrl-C in its fourth step."""

    calls = 0

    def training_loss(self, model: Any, batch: Batch) -> torch.Tensor:
        self.calls += 1
        if self.calls == 4 and rank() == 1:
            os.kill(os.getpid(), signal.SIGINT)
        return super().training_loss(model, batch)


def data(**settings: Any) -> TrainingData:
    return toy_data(rank=rank(), world_size=world_size(), **settings)


def main(folder: Path) -> None:
    runner_base.plot_curves = lambda *_: None
    make_runner(folder / "plain", data=data(valid=True), dropout=0.0, max_grad_norm=0.5).train()
    make_runner(folder / "whole", data=data()).train()
    with contextlib.suppress(KeyboardInterrupt):
        make_runner(folder / "stopped", data=data(), task=InterruptedInRankOne()).train()
    saved = folder / "stopped" / "checkpoint_interrupted.pth"
    make_runner(folder / "resumed", data=data(), resume=saved).train()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
