"""Runs on the same samples against each other: what differs, and whether chance could do it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt4.scoring.intervals import Interval, percentiles, whole_resamples
from minigpt4.scoring.kinds import Kind, Metrics, ScoreOptions
from minigpt4.scoring.prediction import Prediction

FIXED, BROKEN, BOTH_WRONG, BOTH_RIGHT = "fixed", "broken", "both wrong", "both right"
CHANGES = (FIXED, BROKEN, BOTH_WRONG, BOTH_RIGHT)
"""What became of a sample from the first run to another; of both: as it was."""

_NAMES = {
    "accuracy": "accuracy",
    "soft_accuracy": "soft accuracy",
    "no_overlap": "accuracy on pictures not in training",
    "anls": "ANLS",
    "token_f1": "token F1",
    "map": "mAP",
    "map_50": "mAP 50",
    "map_75": "mAP 75",
    "ap_defect": "AP of defect",
    "ap_not_defect": "AP of not-defect",
    "auroc": "image AUROC",
    "f1": "F1",
    "mean_iou_defect": "mean IoU of defects",
    "class_accuracy": "object named",
}
"""Figures in the order of their columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunScore:
    """One run, scored.

    Attributes:
        name: As it is shown.
        path: Its file of predictions.
        run: The file's first line.
        predictions: In an order that all compared runs share.
        metrics: Everything that scoring gave.
        figures: Those that are compared, by key.
        resampled: The same figures in every resample, (R,) each.
        right: Whether each sample was answered rightly.
        unread: Answers that could not be read.
    """

    name: str
    path: str
    run: Mapping[str, Any]
    predictions: Sequence[Prediction] = field(repr=False)
    metrics: Metrics = field(repr=False)
    figures: Mapping[str, float]
    resampled: Mapping[str, NDArray[np.float64]] = field(repr=False)
    right: Sequence[bool] = field(repr=False)
    unread: int

    def interval(self, key: str) -> Interval | None:
        """The 95 % interval of a figure, where there is one."""
        values = self.resampled.get(key)
        return None if values is None else percentiles(values)


@dataclass(frozen=True, slots=True)
class Difference:
    """A figure of a later run less that of the first, with its paired 95 % interval."""

    value: float
    interval: Interval | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A later run against the first.

    Attributes:
        name: The later run.
        differences: By figure.
        changes: What became of each sample, see ``CHANGES``.
        p_value: Of McNemar's exact test.
    """

    name: str
    differences: Mapping[str, Difference]
    changes: Sequence[str] = field(repr=False)
    p_value: float

    @property
    def counts(self) -> dict[str, int]:
        """How many samples of each change."""
        found = Counter(self.changes)
        return {each: found[each] for each in CHANGES}


@dataclass(frozen=True, slots=True, kw_only=True)
class DataComparison:
    """Runs on one data set.

    Attributes:
        name: The data set.
        kind: Its kind of evaluation.
        options: How all runs were scored.
        runs: The first is what the others are compared to.
        pairs: One for each other run.
        notes: What a reader must know besides, a sentence each.
    """

    name: str
    kind: Kind
    options: ScoreOptions
    runs: Sequence[RunScore]
    pairs: Sequence[Pair]
    notes: Sequence[str] = ()

    @property
    def keys(self) -> list[str]:
        """Figures that every run has, the kind's primary one first."""
        shared = [key for key in self.runs[0].figures if all(key in r.figures for r in self.runs)]
        order = [self.kind.primary, *_NAMES]
        return sorted(shared, key=lambda key: order.index(key) if key in order else len(order))

    @property
    def samples(self) -> int:
        """Samples of the data set."""
        return len(self.runs[0].predictions)

    @property
    def pictures(self) -> int:
        """Different pictures of the data set."""
        return len({each.picture or each.id for each in self.runs[0].predictions})


def figure_name(key: str) -> str:
    """A figure's name for people."""
    return _NAMES.get(key, key.replace("_", " "))


def score_run(
    predictions: Sequence[Prediction],
    *,
    kind: Kind,
    options: ScoreOptions,
    name: str,
    path: str = "",
    run: Mapping[str, Any] | None = None,
) -> RunScore:
    """Score one run and keep the values of its figures in every resample."""
    with whole_resamples():
        metrics = kind.score(predictions, options)
    resampled = {key: np.asarray(each) for key, each in metrics.get("intervals", {}).items()}
    metrics["intervals"] = {key: percentiles(each) for key, each in resampled.items()}
    figures = {
        key: value
        for key, value in metrics.items()
        if isinstance(value, float) and (key in _NAMES or key in resampled)
    }
    apart = (metrics.get("no_overlap") or {}).get("accuracy")
    # Where nothing overlaps it is the accuracy once more.
    if apart is not None and metrics["no_overlap"]["count"] < len(predictions):
        figures["no_overlap"] = apart
    return RunScore(
        name=name,
        path=path,
        run=run or {},
        predictions=predictions,
        metrics=metrics,
        figures=figures,
        resampled={key: each for key, each in resampled.items() if key in figures},
        right=[kind.is_right(each) for each in predictions],
        unread=sum(not kind.can_read(each) for each in predictions),
    )


def compare_pair(first: RunScore, other: RunScore) -> Pair:
    """A run against the first one; both hold the same samples in the same order.

    Raises:
        ValueError: They do not.
    """
    if [each.id for each in first.predictions] != [each.id for each in other.predictions]:
        raise ValueError(f"{first.name} and {other.name} do not hold the same samples in order")
    differences = {
        key: Difference(value - first.figures[key], _paired(first, other, key))
        for key, value in other.figures.items()
        if key in first.figures
    }
    changes = [
        _change(before, after) for before, after in zip(first.right, other.right, strict=True)
    ]
    found = Counter(changes)
    return Pair(
        name=other.name,
        differences=differences,
        changes=changes,
        p_value=mcnemar(fixed=found[FIXED], broken=found[BROKEN]),
    )


def mcnemar(*, fixed: int, broken: int) -> float:
    """Two-sided p-value of McNemar's exact test.

    If both runs were equally good, each sample that only one of them answers rightly would be as
    likely the one's as the other's: a fair coin. The test takes samples as independent, which
    several questions about one picture are not quite; the paired intervals do not.

    Args:
        fixed: Samples that only the later run answers rightly.
        broken: Samples that only the first does.
    Returns:
        1 where the runs agree on every sample.
    """
    from scipy.stats import binomtest

    if not fixed + broken:
        return 1.0
    return float(binomtest(fixed, fixed + broken, 0.5).pvalue)


def _paired(first: RunScore, other: RunScore, key: str) -> Interval | None:
    """Both runs were drawn alike, so each resample's values belong together."""
    before, after = first.resampled.get(key), other.resampled.get(key)
    if before is None or after is None:
        return None
    return percentiles(after - before)


def _change(before: bool, after: bool) -> str:
    if before == after:
        return BOTH_RIGHT if after else BOTH_WRONG
    return FIXED if after else BROKEN
