"""Data loaders for training and evaluation."""

from __future__ import annotations

import logging
import os
import signal
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from minigpt4.common.errors import DEAD_READER, ResourceError, UserError
from minigpt4.datasets.base import Draw, RecordDataset
from minigpt4.datasets.collate import collate
from minigpt4.datasets.sampling import MixedBatchSampler, MixedDraw
from minigpt4.datasets.schema import Batch, Sample
from minigpt4.datasets.streams.dataset import StreamDataset
from minigpt4.datasets.streams.shards import Pair

logger = logging.getLogger(__name__)

_MOST_WORKERS = 8
_PREFETCH = 4
_MOST_WARNINGS = 20
"""Unusable samples that are named, of each data set; further ones are only counted."""

TrainingSet: TypeAlias = RecordDataset | StreamDataset


class StreamDraw(NamedTuple):
    """One sample of a stream, read by the process that trains."""

    dataset: int
    pair: Pair


class _Batches(Dataset[Batch]):
    """Several data sets read a batch at a time.

    A mistake of the user's data raised in a worker process would reach the main one wrapped in a
    traceback; it is handed over as a value instead and raised there.
    """

    def __init__(self, datasets: Sequence[TrainingSet]) -> None:
        self._datasets = list(datasets)

    def __getitems__(
        self, draws: Sequence[MixedDraw | StreamDraw] | UserError
    ) -> Batch | UserError:
        if isinstance(draws, UserError):
            return draws
        try:
            batch = collate(self._samples(draws))
        except UserError as error:
            return error
        batch["dataset"] = self._datasets[draws[0].dataset].name
        return batch

    def _samples(self, draws: Sequence[MixedDraw | StreamDraw]) -> list[Sample]:
        dataset = self._datasets[draws[0].dataset]
        if isinstance(dataset, StreamDataset):
            return dataset.samples([draw.pair for draw in draws if isinstance(draw, StreamDraw)])
        return [dataset[Draw(d.row, d.salt)] for d in draws if isinstance(d, MixedDraw)]


class _Feeder(Sampler[Any]):
    """Puts raw samples in the place of a stream's positions, in the process that trains.

    So every sample of a stream is read once, however many workers decode them.
    """

    def __init__(
        self, sampler: MixedBatchSampler, datasets: Sequence[TrainingSet], *, world_size: int
    ) -> None:
        self._sampler = sampler
        self._datasets = datasets
        self._world_size = world_size

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[Any]:
        for draws in self._sampler:
            number = draws[0].dataset
            dataset = self._datasets[number]
            if not isinstance(dataset, StreamDataset):
                yield draws
                continue
            try:
                yield [
                    StreamDraw(number, dataset.pair(draw.row, stride=self._world_size))
                    for draw in draws
                ]
            except UserError as error:
                yield error  # to be raised where its batch would have come


class BatchLoader(DataLoader[Batch]):
    """A ``DataLoader`` of finished batches; iterate over it, and do not let others rebuild it."""

    def __iter__(self) -> Iterator[Batch]:  # type: ignore[override]
        """Give the batches.

        Raises:
            UserError: The mistake that a data set found while reading.
            ResourceError: A worker was ended from outside. (Where it ends while nothing is
                received, PyTorch raises a ``RuntimeError`` at any place.)
        """
        tally = _Tally()
        for batch in self._received():
            if isinstance(batch, UserError):
                raise batch
            tally.add(batch)
            yield batch
        tally.report()

    def _received(self) -> Iterator[Any]:
        try:
            yield from super().__iter__()
        except (ConnectionError, EOFError) as error:
            if not self.num_workers:
                raise
            raise ResourceError(DEAD_READER) from error


class _Tally:
    """What could not be used: the first of each data set are named, all are counted."""

    def __init__(self) -> None:
        self._named: dict[str, set[str]] = {}
        self._replaced: Counter[str] = Counter()
        self._boxes: Counter[str] = Counter()

    def add(self, batch: Batch) -> None:
        name = batch.get("dataset", "")
        for meta in batch["meta"]:
            self._boxes[name] += meta.get("unusable_boxes", 0)
            for reason in meta.get("skipped", ()):
                named = self._named.setdefault(name, set())
                self._replaced[name] += 1
                if reason not in named and len(named) < _MOST_WARNINGS:
                    named.add(reason)
                    logger.warning("%s Another sample is used.", reason)
                    if len(named) == _MOST_WARNINGS:
                        logger.warning("%s: further ones are only counted", name)

    def report(self) -> None:
        for name, count in self._replaced.items():
            logger.warning("%s: others stood in for unusable samples %d times", name, count)
        for name, count in (+self._boxes).items():
            logger.warning("%s: %d boxes could not be used and were left out", name, count)


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
    datasets: Sequence[TrainingSet],
    *,
    batch_sizes: Sequence[int],
    odds: Sequence[float],
    seed: int,
    num_steps: int,
    start_step: int = 0,
    num_workers: int = 0,
    rank: int = 0,
    world_size: int = 1,
    pin_memory: bool = False,
) -> BatchLoader:
    """Mix data sets and streams; see ``MixedBatchSampler``.

    Args:
        datasets: Opened for training.
        batch_sizes: Samples per step and process, of each data set.
        odds: Odds of each data set at a step; see ``step_odds``.
        seed: Seed of the order.
        num_steps: Batches to give.
        start_step: Batches that the same run gave before.
        num_workers: Reading processes; negative: by the machine.
        rank: Number of this process.
        world_size: Number of processes; all work on the same global batch.
        pin_memory: For copies to CUDA.
    """
    sampler = MixedBatchSampler(
        [None if isinstance(each, StreamDataset) else len(each) for each in datasets],
        batch_sizes=batch_sizes,
        odds=odds,
        seed=seed,
        num_steps=num_steps,
        start_step=start_step,
        rank=rank,
        world_size=world_size,
    )
    batches = _Feeder(sampler, datasets, world_size=world_size)
    return _loader(datasets, batches, num_workers=num_workers, pin_memory=pin_memory)


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
    datasets: Sequence[TrainingSet], batches: Any, *, num_workers: int, pin_memory: bool
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
