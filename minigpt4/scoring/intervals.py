"""How sure a figure is: 95 % bootstrap intervals, with whole pictures drawn again.

Samples of one picture are not independent (three questions about it are right or wrong together),
so a resample draws pictures, each with all of its samples. Nothing is copied: a resample is a whole
number a picture, and every statistic here takes such weights, for many resamples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Interval = list[float]
"""Low and high end."""
Weights = NDArray[np.float64]
"""How often each of P clusters occurs in each of R resamples: (R, P)."""

LEVEL = 0.95
_NO_WIDTH = 1e-12
_BLOCK = 100  # resamples computed at once: bounds the memory


class Bootstrap:
    """Resamples of clusters, drawn once and shared by all metrics of an evaluation.

    The intervals are percentile intervals (Efron and Tibshirani, An Introduction to the Bootstrap,
    1993, chapter 13). A resample that leaves a figure undefined, say one without any defect, is
    left out of that figure's interval.
    """

    def __init__(
        self, clusters: Sequence[Hashable], *, resamples: int = 1000, seed: int = 0
    ) -> None:
        """Draw.

        Args:
            clusters: The cluster of each sample, its picture; an empty name or None is a cluster of
                its own.
            resamples: How many; 0 for no intervals at all.
            seed: The same seed and clusters give the same resamples.
        """
        names: dict[Hashable, int] = {}
        self.cluster = np.array(
            [
                names.setdefault(name if name not in ("", None) else (place,), len(names))
                for place, name in enumerate(clusters)
            ],
            np.int64,
        )
        """Number of each sample's cluster, (N,)."""
        self.count = len(names)
        self._counts = np.zeros((0, self.count), np.uint16)  # (R, P)
        if resamples and self.count > 1:  # of one cluster nothing can vary
            even = np.full(self.count, 1 / self.count)
            drawn = np.random.default_rng(seed).multinomial(self.count, even, size=resamples)
            self._counts = drawn.astype(np.uint16)

    def intervals(
        self, statistics: Callable[[Weights], Mapping[str, NDArray[np.float64]]]
    ) -> dict[str, Interval]:
        """Intervals of several figures that are computed together.

        Args:
            statistics: Weights (r, P) of r resamples to r values of each figure, NaN where
                undefined.
        Returns:
            Those that are defined in some resample.
        """
        parts: dict[str, list[NDArray[np.float64]]] = {}
        for begin in range(0, len(self._counts), _BLOCK):
            block = self._counts[begin : begin + _BLOCK].astype(np.float64)
            for name, values in statistics(block).items():
                parts.setdefault(name, []).append(values)
        summary = _SUMMARY.get()
        found = {name: summary(np.concatenate(values)) for name, values in parts.items()}
        return found_intervals(found)

    def interval(self, statistic: Callable[[Weights], NDArray[np.float64]]) -> Interval | None:
        """The interval of one figure; see ``intervals``."""
        return self.intervals(lambda weights: {"": statistic(weights)}).get("")

    def mean(self, values: ArrayLike, where: ArrayLike | None = None) -> Interval | None:
        """The interval of a mean over samples, or over those that ``where`` picks."""
        chosen = np.ones(len(self.cluster)) if where is None else np.asarray(where, float)
        sums = self._per_cluster(np.asarray(values, float) * chosen)
        counts = self._per_cluster(chosen)
        return self.interval(lambda weights: ratio(weights @ sums, weights @ counts))

    def f1(self, positive: ArrayLike, predicted: ArrayLike) -> Interval | None:
        """The interval of the positive class's F1."""
        is_so, said = np.asarray(positive, bool), np.asarray(predicted, bool)
        hits, there, marked = (
            self._per_cluster(np.asarray(each, float))
            for each in (is_so & said, is_so, is_so.astype(int) + said)
        )

        def statistic(weights: Weights) -> NDArray[np.float64]:
            values = ratio(2 * (weights @ hits), weights @ marked)
            values[weights @ there == 0] = np.nan
            return values

        return self.interval(statistic)

    def auroc(self, positive: ArrayLike, scores: ArrayLike) -> Interval | None:
        """The interval of the area under the ROC curve (pairs in order, ties counting half)."""
        is_so = np.asarray(positive, bool)
        levels, level = np.unique(np.asarray(scores, float), return_inverse=True)

        def at_levels(chosen: NDArray[np.bool_], weights: Weights) -> Weights:
            each = weights[:, self.cluster[chosen]]  # (r, samples of one class)
            order = np.argsort(level[chosen], kind="stable")
            totals = np.cumsum(np.pad(each[:, order], ((0, 0), (1, 0))), axis=1)
            ends = np.searchsorted(level[chosen][order], np.arange(len(levels)), side="right")
            return np.asarray(np.diff(totals[:, ends], axis=1, prepend=0.0))  # (r, levels)

        def statistic(weights: Weights) -> NDArray[np.float64]:
            good, bad = at_levels(is_so, weights), at_levels(~is_so, weights)
            below = np.cumsum(bad, axis=1) - bad / 2
            return ratio((good * below).sum(axis=1), good.sum(axis=1) * bad.sum(axis=1))

        return self.interval(statistic)

    def _per_cluster(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(self.cluster, weights=values, minlength=self.count), float)


def found_intervals(intervals: Mapping[str, Interval | None]) -> dict[str, Interval]:
    """Those that are defined."""
    return {name: each for name, each in intervals.items() if each is not None}


def ratio(part: NDArray[np.float64], whole: NDArray[np.float64]) -> NDArray[np.float64]:
    """Shares, NaN of nothing."""
    return np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0)


def percentiles(values: NDArray[np.float64]) -> Interval | None:
    """The interval of a figure from its values in all resamples, NaN where it is undefined.

    None where they are all the same: of three right answers in three, drawing again says nothing
    about how sure the figure is, and an interval without width would say that it is certain.
    """
    defined = values[~np.isnan(values)]
    if not defined.size or np.ptp(defined) < _NO_WIDTH:
        return None
    ends = 100 * np.array([(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    low, high = np.percentile(defined, ends)
    return [float(low), float(high)]


_SUMMARY: ContextVar[Callable[[NDArray[np.float64]], Any]] = ContextVar(
    "summary", default=percentiles
)


@contextmanager
def whole_resamples() -> Iterator[None]:
    """Within it every interval is instead the figure's values in all resamples, (R,).

    For paired comparisons: two runs on the same samples are drawn alike, so the difference of a
    figure is resampled by subtracting the one's values from the other's.
    """
    token = _SUMMARY.set(lambda values: values)
    try:
        yield
    finally:
        _SUMMARY.reset(token)
