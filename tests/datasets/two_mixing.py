"""Run under torchrun by ``test_mixed_training``: ``two_mixing.py FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from minigpt4.common.config import Config
from minigpt4.common.distributed import rank, world_size
from minigpt4.runners.device import build_accelerator
from minigpt4.tasks import ImageTextPretrainTask

STEPS = 6
ACCUMULATED = 2


def train(cfg: Config, *, rank: int | None, world_size: int) -> tuple[dict[str, Any], list[str]]:
    """A few optimizer steps, some on pictures, some on text alone.

    Args:
        cfg: What to train on what.
        rank: This process's number; None to do the work of all of them in one process.
        world_size: How many processes share the work.
    Returns:
        The trained weights, and the data set of each step.
    """
    run = cfg.run()
    task = ImageTextPretrainTask()
    accelerator, _ = build_accelerator(run)
    splits = task.build_datasets(cfg, ["train"])
    torch.manual_seed(1)
    model = task.build_model(cfg)
    # Not Adam: it would hide gradients of another scale, and make much of rounding.
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    wrapped = accelerator.prepare_model(model, device_placement=False)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    numbers = range(world_size) if rank is None else [rank]
    shares = []
    for number in numbers:
        # A stream is read by each process for itself.
        own = task.build_datasets(cfg, ["train"]) if number else splits
        data = task.training_data(run, own, [], rank=number, world_size=world_size)
        shares.append(data.train_batches(0, 0))
    steps = []
    for step in range(STEPS):
        losses = []
        for share in shares:
            batch = next(share)
            losses.append(wrapped(batch)["loss"])
            steps.append(batch["dataset"])
        closes = (step + 1) % ACCUMULATED == 0
        with accelerator.no_sync(wrapped) if not closes else torch.enable_grad():
            accelerator.backward(sum(losses) / len(losses) / ACCUMULATED)
        if closes:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
    return model.trainable_state_dict(), steps


def main(folder: Path) -> None:
    cfg = Config(SimpleNamespace(cfg_path=str(folder / "two.yaml"), options=None))
    weights, _ = train(cfg, rank=rank(), world_size=world_size())
    if rank() == 0:
        torch.save(weights, folder / "two.pt")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
