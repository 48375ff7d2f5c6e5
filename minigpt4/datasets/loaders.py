"""Data loaders for training and evaluation."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from minigpt4.common.errors import UserError
from minigpt4.datasets.base import Draw, RecordDataset
from minigpt4.datasets.collate import collate
from minigpt4.datasets.sampling import MixedBatchSampler, MixedDraw
from minigpt4.datasets.schema import Batch

logger = logging.getLogger(__name__)

_MOST_WORKERS = 8
_PREFETCH = 4


class _Batches(Dataset[Batch]):
    """Several data sets read a batch at a time.

    A mistake of the user's data raised in a worker process would reach the main one wrapped in a
    traceback; it is handed over as a value instead and raised there.
    """

    def __init__(self, datasets: Sequence[RecordDataset]) -> None:
        self._datasets = list(datasets)

    def __getitems__(self, draws: Sequence[MixedDraw]) -> Batch | UserError:
        try:
            batch = collate([self._datasets[d.dataset][Draw(d.row, d.salt)] for d in draws])
            batch["dataset"] = self._datasets[draws[0].dataset].name
            return batch
        except UserError as error:
            return error


class BatchLoader(DataLoader[Batch]):
    """A ``DataLoader`` of finished batches; iterate over it, and do not let others rebuild it."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the batches.

        Raises:
            UserError: The mistake that a data set found while reading.
        """
        broken: set[str] = set()
        for batch in super().__iter__():
            if isinstance(batch, UserError):
                raise batch
            for meta in batch["meta"]:
                for reason in meta.get("skipped", ()):
                    if reason not in broken:
                        logger.warning("%s The next sample is used (on_broken: skip).", reason)
                        broken.add(reason)
            yield batch
        if broken:
            logger.warning("%d pictures could not be read and were replaced", len(broken))


def _as_it_is(batch: Any) -> Any:
    return batch


def leave_signals_to_the_main_process(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal; the main one still wants its batches then."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def worker_count(asked: int) -> int:
    """Loader processes: as asked, or by the machine when negative (one core left to train)."""
    if asked >= 0:
        return asked
    can_tell = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if can_tell else os.cpu_count() or 1
    return max(0, min(_MOST_WORKERS, cores - 1))


def train_loader(
    datasets: Sequence[RecordDataset],
    *,
    batch_sizes: Sequence[int],
    ratios: Sequence[float],
    seed: int,
    num_steps: int,
    start_step: int = 0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> BatchLoader:
    """Mix data sets by ratio; see ``MixedBatchSampler``.

    Args:
        datasets: Opened for training.
        batch_sizes: Samples per step and process, of each data set.
        ratios: Odds of each data set at a step.
        seed: Seed of the order.
        num_steps: Batches to give.
        start_step: Batches that the same run gave before.
        num_workers: Reading processes; negative: by the machine.
        rank: Number of this process.
        world_size: Number of processes; all work on the same global batch.
        pin_memory: For copies to CUDA.
    """
    sampler = MixedBatchSampler(
        [len(dataset) for dataset in datasets],
        batch_sizes=batch_sizes,
        ratios=ratios,
        seed=seed,
        num_steps=num_steps,
        start_step=start_step,
        rank=rank,
        world_size=world_size,
    )
    return _loader(datasets, sampler, num_workers=num_workers, pin_memory=pin_memory)


def eval_loader(
    dataset: RecordDataset,
    *,
    batch_size: int,
    num_workers: int = 0,
    indices: Sequence[int] | None = None,
    pin_memory: bool = False,
) -> BatchLoader:
    """Every sample once, in order.

    Args:
        dataset: Opened for evaluation.
        batch_size: Samples per batch; the last one may be smaller.
        num_workers: Reading processes; negative: by the machine.
        indices: Only these samples, in this order (a process's share, or what is left to do).
        pin_memory: For copies to CUDA.
    """
    wanted = range(len(dataset)) if indices is None else indices
    batches = [
        [MixedDraw(0, index, 0) for index in wanted[start : start + batch_size]]
        for start in range(0, len(wanted), batch_size)
    ]
    return _loader([dataset], batches, num_workers=num_workers, pin_memory=pin_memory)


def _loader(
    datasets: Sequence[RecordDataset], batches: Any, *, num_workers: int, pin_memory: bool
) -> BatchLoader:
    workers = worker_count(num_workers)
    return BatchLoader(
        _Batches(datasets),
        batch_sampler=batches,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=_PREFETCH if workers else None,
        pin_memory=pin_memory,
        worker_init_fn=leave_signals_to_the_main_process,
        # Of its own, so that reading pictures does not change what a model draws.
        generator=torch.Generator().manual_seed(0),
    )
