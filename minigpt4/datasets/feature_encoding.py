"""Pictures through the frozen encoder, batch by batch, in order."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from minigpt4.common.errors import DataError
from minigpt4.datasets.loaders import leave_signals_to_the_main_process
from minigpt4.datasets.pictures import load_picture

logger = logging.getLogger(__name__)

Encode = Callable[[Tensor], Tensor]

_MOST_THREADS = 4
_NOTE_AFTER = 2.0
"""Seconds of encoding before the time that is left is told."""

_Read = list[tuple[str, Tensor | str]]
"""Pixel values by key, or why there are none."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A batch that went through the encoder.

    Attributes:
        keys: Of the pictures that could be read.
        features: Theirs, (len(keys), N, D); None where there are none.
        broken: By key, why a picture could not be read.
    """

    keys: list[str]
    features: Tensor | None
    broken: dict[str, str]


def encode_pictures(
    pictures: Sequence[tuple[str, str]],
    encode: Encode,
    processor: Callable[..., Tensor],
    *,
    batch_size: int,
    num_workers: int = 0,
    threads: int | None = None,
) -> Iterator[Encoded]:
    """Read, process and encode pictures.

    On a CPU several batches go through the encoder side by side, each on its share of the cores:
    small convolutions do not fill several cores, and reading takes its turns meanwhile.

    Args:
        pictures: Key and path of each.
        encode: Pixel values (B, 3, S, S) to features (B, N, D), on any device.
        processor: Picture to pixel values (3, S, S).
        batch_size: Pictures in the encoder at once, of all threads together.
        num_workers: Processes that read pictures; 0: whoever encodes them.
        threads: Batches side by side; None: by the machine.
    """
    if threads is None:
        # A GPU takes one batch after the other anyway.
        threads = 1 if torch.cuda.is_available() else min(torch.get_num_threads(), _MOST_THREADS)
    size = max(1, batch_size // threads)
    source = _Pictures(pictures, processor)
    batches: Iterable[Callable[[], _Read]]
    if num_workers:
        loader: DataLoader[Any] = DataLoader(
            source,
            batch_size=size,
            num_workers=num_workers,
            collate_fn=list,
            worker_init_fn=leave_signals_to_the_main_process,
            generator=torch.Generator().manual_seed(0),
        )
        batches = (partial(_as_it_is, read) for read in loader)
    else:
        starts = range(0, len(pictures), size)
        batches = (partial(source.part, start, start + size) for start in starts)
    jobs = (partial(_encode, batch, encode) for batch in batches)
    yield from (job() for job in jobs) if threads == 1 else _side_by_side(jobs, threads)


def _as_it_is(read: _Read) -> _Read:
    return read


def _encode(read: Callable[[], _Read], encode: Encode) -> Encoded:
    pairs = read()
    good = {key: value for key, value in pairs if isinstance(value, Tensor)}
    broken = {key: value for key, value in pairs if isinstance(value, str)}
    if not good:
        return Encoded([], None, broken)
    with torch.inference_mode():
        features = encode(torch.stack(list(good.values())))
    return Encoded(list(good), features, broken)


def _side_by_side(jobs: Iterator[Callable[[], Encoded]], threads: int) -> Iterator[Encoded]:
    """Results in the order of the jobs, of which few are begun ahead."""
    cores = torch.get_num_threads()
    share = max(1, cores // threads)
    pending: deque[Future[Encoded]] = deque()
    with ExitStack() as stack:
        # A thread that begins takes the number over, so it is put back for later ones.
        stack.callback(torch.set_num_threads, cores)
        pool = ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(share,))
        stack.callback(pool.shutdown, cancel_futures=True)
        for job in jobs:
            pending.append(pool.submit(job))
            if len(pending) > threads:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()


class StartNote:
    """Says once, soon after the first pictures are encoded, what all of them take.

    Args:
        count: Pictures to encode.
    """

    def __init__(self, count: int) -> None:
        self._count = count
        self._begun = time.monotonic()
        self._first = 0
        self._told = False

    def tell(self, encoded: int, row_bytes: int, dtype: str) -> None:
        """Say it some time after the first batch, which takes longer than others.

        Args:
            encoded: Pictures so far.
            row_bytes: What one takes.
            dtype: How it is kept.
        """
        if self._told:
            return
        if not self._first and encoded < self._count:
            self._first, self._begun = encoded, time.monotonic()
            return
        taken = time.monotonic() - self._begun
        if taken < _NOTE_AFTER and encoded < self._count:  # batches side by side come together
            return
        self._told = True
        left = self._count - encoded
        seconds = taken / max(1, encoded - self._first)
        mib, gib = row_bytes / 1024**2, self._count * row_bytes / 1024**3
        logger.info(
            "encoding %d pictures once: %.2f MiB each in %s, %.2f GiB in all; about %.0f s left",
            self._count, mib, dtype, gib, left * seconds,
        )  # fmt: skip


class _Pictures(Dataset[tuple[str, Tensor | str]]):
    """Pixel values by key; for a picture that cannot be read the reason instead."""

    def __init__(self, pictures: Sequence[tuple[str, str]], processor: Callable[..., Tensor]):
        self._pictures = pictures
        self._processor = processor

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: int) -> tuple[str, Tensor | str]:
        key, path = self._pictures[index]
        try:
            return key, self._processor(load_picture(path))
        except DataError as error:
            return key, str(error)

    def part(self, start: int, end: int) -> _Read:
        """Some of the pictures."""
        return [self[index] for index in range(start, min(end, len(self)))]
