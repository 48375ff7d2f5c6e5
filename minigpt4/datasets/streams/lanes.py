"""A stream of shards as numbered samples, read ahead by threads with bounded room.

A stream is a function of its seed. In every pass the shards are dealt anew to a fixed number of
lanes; each lane reads its shards one after the other and shuffles within windows of a shard.
Sample ``p`` of the stream is sample ``p // lanes`` of lane ``p % lanes``. So a position says all
there is to say about how far a stream is, whatever the number of processes and workers.
"""

from __future__ import annotations

import itertools
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from minigpt4.common.errors import DataError
from minigpt4.datasets.streams.counts import ShardCounts
from minigpt4.datasets.streams.shards import Pair

_WINDOW_BYTES = 16 << 20
"""A window ends early when its pictures take more."""
_FAREWELL = 2.0
"""Seconds that a reading thread has to end when the program does."""
_ALIVE = 2
"""Windows of a lane in memory: one is being used up, one is read meanwhile."""
_MOST_UNUSABLE = 1000
"""So many unusable members in a row are a mistake in the settings, not a few broken ones."""
_MOST_BARREN = 32
"""So many shards in a row without a sample are given up on, or all where there are fewer."""
_FAR = 1024
"""Samples that are rather skipped by the shards' counts than read and thrown away."""

ReadShard = Callable[[str], Iterator["Pair | str"]]


class Lane:
    """One of the ways through the shards; samples are taken in order.

    Args:
        number: Which lane this is.
        lanes: How many there are.
        shards: All shards of the stream.
        seed: Numbers that orders are drawn from.
        window: Samples shuffled together.
        read: Gives a shard's pairs and problems; OSError when it cannot be read.
        counts: Sizes of shards, used and added to.
        skip_broken: Go on with the next shard when one cannot be read.
    """

    def __init__(
        self,
        number: int,
        lanes: int,
        shards: Sequence[str],
        *,
        seed: Sequence[int],
        window: int,
        read: ReadShard,
        counts: ShardCounts,
        skip_broken: bool,
    ) -> None:
        self._number = number
        self._lanes = lanes
        self._shards = shards
        self._seed = list(seed)
        self._window = window
        self._read = read
        self._counts = counts
        self._skip_broken = skip_broken
        self._problems: list[str] = []
        self._next = -1
        self._samples: deque[Pair] = deque()
        self._ahead: _ReadAhead | None = None

    @property
    def started(self) -> bool:
        """Whether the lane reads ahead already."""
        return self._ahead is not None

    def start(self, index: int) -> None:
        """Begin to read ahead at a sample, unless that is where the lane is."""
        if self._ahead is not None and self._next <= index <= self._next + _FAR:
            return
        self.stop()
        self._next = index
        self._ahead = _ReadAhead(self.windows(index))

    def take(self, index: int) -> Pair:
        """One sample; those between the last one taken and this one are left out.

        Raises:
            DataError: No sample can be read.
        """
        self.start(index)
        assert self._ahead is not None
        while True:
            while not self._samples:
                self._samples.extend(self._ahead.next())
            sample = self._samples.popleft()
            self._next += 1
            if self._next > index:
                return sample

    def stop(self) -> None:
        """Let the reading thread end; what it had read is dropped."""
        if self._ahead is not None:
            self._ahead.stop()
        self._ahead = None
        self._samples.clear()

    def windows(self, start: int) -> Iterator[list[Pair]]:
        """Shuffled windows from a sample on, without end."""
        self._problems = []
        skip = start
        barren: set[str] = set()
        for turn in itertools.count():
            order = np.random.default_rng([*self._seed, turn]).permutation(len(self._shards))
            for place in order[self._number :: self._lanes].tolist():
                shard = self._shards[place]
                known = self._counts.get(shard)
                barren.add(shard)
                if known and known <= skip:
                    skip -= known
                    barren.clear()
                    self._problems = []  # its first sample brought them along
                    continue
                for window in self._shard_windows(shard, turn, place):
                    barren.clear()
                    if skip < len(window):
                        yield window[skip:]
                    skip = max(0, skip - len(window))
                if len(barren) == min(len(self._shards), _MOST_BARREN):
                    problem = self._problems[0] if self._problems else "they are empty."
                    raise DataError(f"no sample can be read from the shards: {problem}")

    def _shard_windows(self, shard: str, turn: int, place: int) -> Iterator[list[Pair]]:
        rng = np.random.default_rng([*self._seed, turn, place, 1])
        window: list[Pair] = []
        size = count = unusable = 0
        complete = False
        try:
            for item in self._read(shard):
                if isinstance(item, str):
                    self._problems.append(item)
                    unusable += 1
                    if unusable == _MOST_UNUSABLE:
                        raise DataError(f"{unusable} samples in a row cannot be used: {item}")
                    continue
                if window and (len(window) >= self._window or size > _WINDOW_BYTES):
                    yield self._shuffled(window, rng)
                    window, size = [], 0
                item.skipped, self._problems = self._problems, []
                window.append(item)
                size += len(item.picture)
                count += 1
                unusable = 0
            complete = True
        except OSError as error:
            problem = f"the shard {shard} cannot be read: {error}."
            if not self._skip_broken:
                raise DataError(
                    f"{problem} Mend its address, or go on without it (build_info.on_broken=skip)."
                ) from error
            self._problems.append(problem)
        if complete:
            self._counts.remember(shard, count)
        if window:
            window[-1].skipped += self._problems
            self._problems = []
            yield self._shuffled(window, rng)

    def _shuffled(self, window: list[Pair], rng: np.random.Generator) -> list[Pair]:
        return [window[k] for k in rng.permutation(len(window))] if self._window > 1 else window


class _ReadAhead:
    """An iterator that a thread runs ahead of whoever asks, by at most ``_ALIVE`` items."""

    def __init__(self, items: Iterator[list[Pair]]) -> None:
        self._items = items
        self._ready: queue.SimpleQueue[list[Pair] | BaseException] = queue.SimpleQueue()
        self._room = threading.Semaphore(_ALIVE)
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._given = 0
        # A daemon, so that a connection that hangs cannot keep a program from ending.
        self._thread = threading.Thread(target=self._run, name="shard reader", daemon=True)
        # Not to be caught freeing tensors when the interpreter is taken down: that would abort.
        self._done = threading.Event()
        weakref.finalize(self._thread, _await, self._stop, self._room, self._done)
        self._thread.start()

    def next(self) -> list[Pair]:
        """The next item; the one before it is done with."""
        if self._failure is None:
            if self._given:
                self._room.release()
            self._given += 1
            item = self._ready.get()
            if not isinstance(item, BaseException):
                return item
            self._failure = item
        raise self._failure

    def stop(self) -> None:
        self._stop.set()
        self._room.release()

    def _run(self) -> None:
        try:
            while True:
                self._room.acquire()
                if self._stop.is_set():
                    break
                self._ready.put(next(self._items))
        except BaseException as error:
            self._ready.put(error)
        finally:
            self._items.close()  # type: ignore[attr-defined] # a generator; closes its file
            self._done.set()


def _await(stop: threading.Event, room: threading.Semaphore, done: threading.Event) -> None:
    """See a reading thread end as the program does, unless what it reads from hangs."""
    stop.set()
    room.release()
    done.wait(_FAREWELL)


class StreamReader:
    """Samples of a stream by position.

    Args:
        shards: All shards.
        lanes: Most lanes; a power of two not above it and the number of shards is used.
        seed: Numbers that orders are drawn from.
        shuffle: Samples shuffled together, over all lanes.
        read: See ``Lane``.
        counts: See ``Lane``.
        skip_broken: See ``Lane``.
    """

    def __init__(
        self,
        shards: Sequence[str],
        *,
        lanes: int,
        seed: Sequence[int],
        shuffle: int,
        read: ReadShard,
        counts: ShardCounts,
        skip_broken: bool,
    ) -> None:
        count = 1 << (min(lanes, len(shards)).bit_length() - 1)
        self.lanes = [
            Lane(
                number,
                count,
                shards,
                seed=seed,
                window=max(1, -(-shuffle // count)),
                read=read,
                counts=counts,
                skip_broken=skip_broken,
            )
            for number in range(count)
        ]
        # The threads know their lanes only, so that a reader that is dropped takes them along.
        weakref.finalize(self, _stop_all, self.lanes)

    def take(self, position: int, *, stride: int = 1) -> Pair:
        """The sample at a position; fast when positions rise by ``stride``.

        Args:
            position: From 0 on, without end.
            stride: What this process's positions rise by (the number of processes), which says
                which lanes it needs.
        Raises:
            DataError: No sample can be read.
        """
        count = len(self.lanes)
        for later in range(position, position + count * stride, stride):
            lane = self.lanes[later % count]
            if not lane.started:
                lane.start(later // count)
        sample = self.lanes[position % count].take(position // count)
        sample.position = position
        return sample

    def stop(self) -> None:
        """Stop reading ahead; the next ``take`` starts anew."""
        _stop_all(self.lanes)


def _stop_all(lanes: Sequence[Lane]) -> None:
    for lane in lanes:
        lane.stop()
