"""Metrics as plain functions on plain data; the libraries' numbers, our bookkeeping.

Shares lie between 0 and 1. A metric that the data does not define (no picture with that label, only
one class for a ROC curve) is None, never 0 or -1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def auroc(positive: Sequence[bool], scores: Sequence[float]) -> float | None:
    """Area under the ROC curve; None unless both classes occur."""
    from sklearn.metrics import roc_auc_score

    if len(set(positive)) < 2:
        return None
    return float(roc_auc_score(positive, scores))


def roc_curve(
    positive: Sequence[bool], scores: Sequence[float]
) -> tuple[list[float], list[float]] | None:
    """False and true positive rates over all thresholds; None unless both classes occur."""
    from sklearn.metrics import roc_curve as curve

    if len(set(positive)) < 2:
        return None
    false_rate, true_rate, _ = curve(positive, scores)
    return false_rate.tolist(), true_rate.tolist()


def f1(positive: Sequence[bool], predicted: Sequence[bool]) -> float | None:
    """F1 of the positive class; None when no sample is positive."""
    from sklearn.metrics import f1_score

    if not any(positive):
        return None
    return float(f1_score(positive, predicted, zero_division=0.0))


def best_f1(positive: Sequence[bool], scores: Sequence[float]) -> tuple[float, float] | None:
    """The threshold from which calling samples positive gives the best F1, and that F1.

    Of equally good thresholds the highest. The figure flatters: it is chosen on what it is measured
    on.

    Returns:
        Threshold and F1; None when no sample is positive.
    """
    from sklearn.metrics import precision_recall_curve

    if not any(positive):
        return None
    precision, recall, thresholds = precision_recall_curve(positive, scores)
    both = precision + recall
    f1_of = np.divide(2 * precision * recall, both, out=np.zeros_like(both), where=both > 0)[:-1]
    best = len(f1_of) - 1 - int(np.argmax(f1_of[::-1]))  # thresholds rise
    return float(thresholds[best]), float(f1_of[best])


def mean(values: Sequence[float]) -> float | None:
    """The mean, or None of nothing."""
    return float(np.mean(values)) if len(values) else None


def accuracy_by(groups: Sequence[str], shares: Sequence[float]) -> dict[str, dict[str, Any]]:
    """Accuracy of each group, by the group's name, with its counts.

    Args:
        groups: The group of each sample.
        shares: How right each sample's answer is, 0 to 1, or whether it is.
    Returns:
        ``{group: {"accuracy", "correct", "count"}}``, groups in sorted order; at least half right
        is correct.
    """
    members: dict[str, list[float]] = {}
    for group, share in zip(groups, shares, strict=True):
        members.setdefault(group, []).append(share)
    return {
        group: {
            "accuracy": float(np.mean(members[group])),
            "correct": sum(share >= 0.5 for share in members[group]),
            "count": len(members[group]),
        }
        for group in sorted(members)
    }


def percent(share: float | None) -> str:
    """``0.5935`` as ``59.35 %``."""
    return "–" if share is None else f"{share * 100:.2f} %"
