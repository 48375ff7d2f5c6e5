"""Which samples a training step sees: a pure function of (seed, step).

Nothing about the order is state, so a run resumes at any step by saying so, and every process of a
run works out its own share of the same global batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from torch.utils.data import Sampler

_CHUNK = 4096


class MixedDraw(NamedTuple):
    """One sample of one of several data sets.

    ``row`` is its index and ``salt`` the pass over that data set; of a stream, ``row`` is the
    position and there are no passes.
    """

    dataset: int
    row: int
    salt: int


class MixedBatchSampler(Sampler[list[MixedDraw]]):
    """Batches from several data sets, one data set a step, chosen with odds ``odds``.

    A step is of the same data set in all processes, so that none of them waits for another's
    longer sequences. A data set with an index is gone through in a shuffled order of its own,
    reshuffled every pass; of a stream, whose order is its own affair, positions are counted up.
    A step takes the next ``world_size * batch_size`` of it and this process its share of them: of
    a stream those whose position leaves ``rank`` when divided by ``world_size``, for the same
    lanes then always belong to the same process.

    Args:
        sizes: Samples of each data set; None for a stream.
        batch_sizes: Samples per step and process, of each data set.
        odds: Weight of each data set at a step; see ``step_odds``.
        seed: Seed of choice and order.
        num_steps: Steps to give.
        start_step: Steps of the same run that came before.
        rank: Number of this process.
        world_size: Number of processes.

    Raises:
        ValueError: An empty data set, a batch size below 1, or no positive weight.
    """

    def __init__(
        self,
        sizes: Sequence[int | None],
        *,
        batch_sizes: Sequence[int],
        odds: Sequence[float],
        seed: int,
        num_steps: int,
        start_step: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if not sizes or any(size == 0 for size in sizes) or min(batch_sizes) < 1:
            raise ValueError(f"data sets of {list(sizes)} in batches of {list(batch_sizes)}")
        if min(odds) < 0 or sum(odds) <= 0:
            raise ValueError(f"sample ratios must be positive, not {list(odds)}")
        if not len(sizes) == len(batch_sizes) == len(odds):
            raise ValueError("one batch size and one sample ratio per data set")
        self._sizes = list(sizes)
        self._batch_sizes = list(batch_sizes)
        self._edges = np.cumsum(np.asarray(odds, dtype=np.float64) / sum(odds))
        self._seed = seed
        self._num_steps = num_steps
        self._start_step = start_step
        self._rank = rank
        self._world_size = world_size
        self._orders: dict[int, tuple[int, np.ndarray]] = {}

    def __len__(self) -> int:
        return self._num_steps

    def __iter__(self) -> Iterator[list[MixedDraw]]:
        # How often each data set was chosen before a step says where in its order the step begins.
        turns = [0] * len(self._sizes)
        for step in range(0, self._start_step, _CHUNK):
            chosen = self.chosen(step, min(step + _CHUNK, self._start_step))
            for dataset, count in enumerate(np.bincount(chosen, minlength=len(turns))):
                turns[dataset] += int(count)
        end = self._start_step + self._num_steps
        for first in range(self._start_step, end, _CHUNK):
            for dataset in self.chosen(first, min(first + _CHUNK, end)).tolist():
                yield self._batch(dataset, turns[dataset])
                turns[dataset] += 1

    def chosen(self, start: int, stop: int) -> np.ndarray:
        """Data set of each step from ``start`` to ``stop``, shape (stop - start,)."""
        draws = uniform(self._seed, np.arange(start, stop, dtype=np.uint64))
        last = np.flatnonzero(np.diff(self._edges, prepend=0.0))[-1]
        return np.minimum(np.searchsorted(self._edges, draws, side="right"), last)

    def _batch(self, dataset: int, turn: int) -> list[MixedDraw]:
        size = self._batch_sizes[dataset]
        begin = turn * self._world_size * size
        total = self._sizes[dataset]
        if total is None:
            end = begin + self._world_size * size
            positions = range(begin + self._rank, end, self._world_size)
            return [MixedDraw(dataset, position, 0) for position in positions]
        first = begin + self._rank * size
        return [self._draw(dataset, total, position) for position in range(first, first + size)]

    def _draw(self, dataset: int, total: int, position: int) -> MixedDraw:
        salt, place = divmod(position, total)
        known = self._orders.get(dataset)
        if known is None or known[0] != salt:
            rng = np.random.default_rng([self._seed, dataset, salt])
            known = (salt, rng.permutation(total))
            self._orders[dataset] = known
        return MixedDraw(dataset, int(known[1][place]), salt)


def uniform(seed: int, counters: np.ndarray) -> np.ndarray:
    """One number in [0, 1) per counter, by mixing its bits with the seed's (splitmix64)."""
    with np.errstate(over="ignore"):
        key = np.uint64(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
        bits = counters.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key
        bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        bits ^= bits >> np.uint64(31)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


def step_odds(
    ratios: Sequence[float], batch_sizes: Sequence[int], mixing: str = "samples"
) -> list[float]:
    """Odds of each data set at a step.

    Args:
        ratios: ``sample_ratio`` of each data set.
        batch_sizes: Samples per step, of each data set.
        mixing: ``samples``: their share of the samples follows the ratios; ``steps``: their share
            of the steps does, as in the original, so that larger batches weigh more.
    """
    if mixing == "steps":
        return list(ratios)
    return [ratio / size for ratio, size in zip(ratios, batch_sizes, strict=True)]


def describe_mixture(
    names: Sequence[str], odds: Sequence[float], batch_sizes: Sequence[int]
) -> str:
    """Each data set's share of samples and of steps, in words."""
    samples = [weight * size for weight, size in zip(odds, batch_sizes, strict=True)]
    return ", ".join(
        f"{name} {100 * part / sum(samples):.1f} % of samples "
        f"({100 * weight / sum(odds):.1f} % of steps)"
        for name, part, weight in zip(names, samples, odds, strict=True)
    )


def one_pass_steps(sizes: Sequence[int], batch_sizes: Sequence[int], *, world_size: int = 1) -> int:
    """Steps that go once through all data sets together."""
    return sum(
        -(-size // (batch * world_size)) for size, batch in zip(sizes, batch_sizes, strict=True)
    )
