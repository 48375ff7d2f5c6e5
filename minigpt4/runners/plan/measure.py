"""A few real steps of a run, timed; the run leaves nothing behind."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import registry
from minigpt4.datasets.schema import Batch
from minigpt4.runners.checkpointing import Position, position_of
from minigpt4.runners.meter import batch_size
from minigpt4.runners.plan.cache_work import CacheWork, as_cached, cache_work
from minigpt4.runners.plan.clock import peak_memory, synchronize, timed
from minigpt4.tasks.base import TrainingData

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.runners.setup import Setup

_FEWEST, _MOST = 5, 32
"""Steps to take besides the first."""
_LONGEST = 60.0
"""Seconds after which no further step is taken, but for the second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What was measured.

    Attributes:
        batch: Samples of a step.
        steps: Steps timed, the first not counted.
        first_seconds: The first step.
        step_seconds: A step, with its share of the optimizer's.
        read_seconds: Reading and preparing a batch, on one core.
        forward_seconds: The forward pass alone.
        half_share: Time of a forward and backward pass on half a batch over that on a whole one;
            None where a batch is one sample.
        build_seconds: Opening the data and building the model.
        steps_left: Iterations to the end of the run.
        loaded_bytes: Most memory before the first step.
        peak_bytes: Most memory in all.
        cache: Work of the feature cache; None where nothing can be kept.
    """

    batch: int
    steps: int
    first_seconds: float
    step_seconds: float
    read_seconds: float
    forward_seconds: float
    half_share: float | None
    build_seconds: float
    steps_left: int
    loaded_bytes: int
    peak_bytes: int
    cache: CacheWork | None


class _EnoughError(Exception):
    """Enough steps were taken."""


def measure(
    cfg: Config, setup: Setup, *, begun: float, before_model: Callable[[], None]
) -> Measured:
    """Build the model of a run and take some of its first steps.

    The weights are thrown away, and what the runner writes goes to a folder that is removed.

    Args:
        cfg: The run's configuration.
        setup: Its data, opened.
        begun: ``time.perf_counter()`` when opening began.
        before_model: Called before the model is built, to refuse what cannot work.
    Raises:
        ConfigError: There is nothing to train.
        UserError: Whatever the run would stop at.
    """
    with tempfile.TemporaryDirectory(prefix="plan-") as folder:
        return _measure(cfg, setup, Path(folder), begun=begun, before_model=before_model)


def _measure(
    cfg: Config, setup: Setup, folder: Path, *, begun: float, before_model: Callable[[], None]
) -> Measured:
    run, device = setup.run, setup.accelerator.device
    if run.evaluate:
        raise ConfigError("run.evaluate is True, so that there is no training to plan.")
    position = Position() if setup.checkpoint is None else position_of(setup.checkpoint)
    iters = setup.data.iters_per_epoch
    left = run.max_epoch * iters - position.epoch * iters - position.step
    before_model()
    model = setup.task.build_model(cfg, device)
    if setup.checkpoint is not None:
        model.load_checkpoint(str(Path(str(run.resume_ckpt_path)).expanduser()))
    build_seconds = time.perf_counter() - begun
    loaded = peak_memory(device)

    wanted = min(1 + max(_FEWEST, run.accum_grad_iters), 1 + _MOST, iters - position.step)
    batches, read_seconds = _read(setup, position, wanted)
    cache = cache_work(setup, model, batches, read_seconds=read_seconds)
    if run.feature_cache != "off":
        batches = [as_cached(model, batch) for batch in batches]
    steps = _Steps(batches, device)
    quiet = replace(run, tensorboard_log=False, wandb_log=False, log_freq=10**9)
    runner = registry.get_runner_class(run.runner)(
        run=quiet,
        config=cfg.to_dict(),
        task=setup.task,
        model=model,
        data=TrainingData(
            # One more than there are, so that the end of an epoch never comes.
            iters_per_epoch=position.step + len(batches) + 1,
            batch_size=setup.data.batch_size,
            train_batches=lambda epoch, first: steps.follow(),
        ),
        folder=folder,
        accelerator=setup.accelerator,
        checkpoint=setup.checkpoint,
    )
    with suppress(_EnoughError):
        runner.train()
    peak = peak_memory(device)
    last = batches[-1]
    forward = timed(device, lambda: _forward(setup, model, last))
    half = _half_share(setup, model, last, device)
    runner.close()
    return Measured(
        batch=batch_size(last),
        steps=max(len(steps.times) - 2, 0),
        first_seconds=steps.first,
        step_seconds=steps.typical,
        read_seconds=read_seconds,
        forward_seconds=forward,
        half_share=half,
        build_seconds=build_seconds,
        steps_left=left,
        loaded_bytes=loaded,
        peak_bytes=peak,
        cache=cache,
    )


class _Steps:
    """Gives batches to a training loop, and notes when it asks for them."""

    def __init__(self, batches: list[Batch], device: torch.device) -> None:
        self.times: list[float] = []
        self._batches = batches
        self._device = device

    def follow(self) -> Iterator[Batch]:
        for batch in self._batches:
            self._note()
            since = self.times[1] if len(self.times) > 1 else self.times[0]
            if len(self.times) > 2 and self.times[-1] - since > _LONGEST:
                break
            yield batch
        else:
            self._note()
        raise _EnoughError

    @property
    def first(self) -> float:
        """Seconds of the first step."""
        return self.times[1] - self.times[0]

    @property
    def typical(self) -> float:
        """Mean seconds of a later step; of the first where there is no other."""
        if len(self.times) < 3:
            return self.first
        return (self.times[-1] - self.times[1]) / (len(self.times) - 2)

    def _note(self) -> None:
        synchronize(self._device)
        self.times.append(time.perf_counter())


def _read(setup: Setup, position: Position, count: int) -> tuple[list[Batch], float]:
    """The run's next batches, read in this process, and the seconds of one after the first."""
    alone = replace(setup.run, num_workers=0)
    data = setup.task.training_data(alone, setup.train, [], **setup.share)
    source = data.train_batches(position.epoch, position.step)
    batches, times = [], [time.perf_counter()]
    for batch in islice(source, count):
        batches.append(batch)
        times.append(time.perf_counter())
    first = 1 if len(times) > 2 else 0
    return batches, (times[-1] - times[first]) / (len(times) - 1 - first)


def _forward(setup: Setup, model: Any, batch: Batch) -> None:
    model.train()
    with torch.no_grad(), setup.accelerator.autocast():
        setup.task.training_loss(model, batch)


def _half_share(setup: Setup, model: Any, batch: Batch, device: torch.device) -> float | None:
    size = batch_size(batch)
    if size < 2 or setup.run.accum_grad_iters < 2:
        return None
    part: Any = {
        key: value[: size // 2] if isinstance(value, list | Tensor) else value
        for key, value in batch.items()
    }

    def both(samples: Batch) -> None:
        model.train()
        with setup.accelerator.autocast():
            loss = setup.task.training_loss(model, samples)
        setup.accelerator.backward(loss)
        model.zero_grad(set_to_none=True)

    half = timed(device, lambda: both(part)) / (size // 2) * (size / 2)
    return half / timed(device, lambda: both(batch))
