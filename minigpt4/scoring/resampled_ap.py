"""COCO's average precision when pictures occur several times, for many resamples at once.

Matching found boxes to true ones looks at one picture at a time, so it is done once, by
pycocotools; only what follows, precision and recall over the sorted detections, depends on which
pictures were drawn. A picture that counts w times moves both by w at once. The points that its
copies would have made in between do not matter: precision rises while right detections follow each
other, and recall stands still while wrong ones do.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from minigpt4.scoring.coco import CocoResult, LabelMatches

_RECALLS = np.linspace(0.0, 1.0, 101)
_AT_50, _AT_75 = 0, 5


def label_precision(matches: LabelMatches, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Average precision of one label.

    Copies of a detection stand together in the order of scores.

    Args:
        matches: COCO's matching.
        weights: How often each of P pictures counts in each of R resamples, (R, P).
    Returns:
        (R, 10): by resample and IoU threshold; NaN where no true box is left.
    """
    true = weights @ matches.true  # (R,)
    each = weights[:, matches.pictures]  # (R, D)
    counted = np.cumsum(each, axis=1)
    result = np.zeros((len(weights), len(matches.right)))
    for row, right in enumerate(matches.right):
        if right.any():
            hits = np.cumsum(each[:, right], axis=1)  # (R, right ones)
            result[:, row] = _area(hits, counted[:, right], true)
    result[true == 0] = np.nan
    return result


def _area(
    hits: NDArray[np.float64], counted: NDArray[np.float64], true: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean interpolated precision at 101 recalls, from the points where recall rises.

    Args:
        hits: Right detections up to each point, (R, H).
        counted: All detections up to it, (R, H).
        true: True boxes, (R,).
    """
    recall = hits / np.maximum(true, 1)[:, None]
    precision = hits / (counted + np.spacing(1))  # COCO's guard against 0 / 0
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]  # at this recall or above
    reached = np.searchsorted(_RECALLS, recall, side="right")  # how many of the recalls
    return (best * np.diff(reached, axis=1, prepend=0)).sum(axis=1) / len(_RECALLS)


def map_statistics(
    result: CocoResult, weights: NDArray[np.float64], *, names: Mapping[int, str]
) -> dict[str, NDArray[np.float64]]:
    """Mean average precision and the labels' own, in each resample.

    Args:
        result: What COCO's evaluation gave.
        weights: How often each picture counts, (R, P).
        names: What the average precision of a label is called; others only enter the mean.
    Returns:
        ``map``, ``map_50``, ``map_75`` and ``names``, each (R,), NaN where undefined.
    """
    labels = [label_precision(each, weights) for each in result.matches]
    stacked = np.stack(labels, axis=1)  # (R, K, 10)
    defined = np.isfinite(stacked)
    count = defined.sum(axis=1)  # (R, 10)
    means = np.full(count.shape, np.nan)
    np.divide(np.where(defined, stacked, 0.0).sum(axis=1), count, out=means, where=count > 0)
    statistics = {
        "map": means.mean(axis=1),
        "map_50": means[:, _AT_50],
        "map_75": means[:, _AT_75],
    }
    for k, label in enumerate(result.labels):
        if label in names:
            statistics[names[label]] = stacked[:, k].mean(axis=1)
    return statistics
