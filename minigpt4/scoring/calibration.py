"""Whether a confidence of 80 % is right four times out of five."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

BINS = 10


def calibration(
    confidences: Sequence[float], right: Sequence[bool], *, bins: int = BINS
) -> dict[str, Any]:
    """Expected calibration error with bins of equal width, and what a reliability plot shows.

    The ECE (Naeini et al., 2015) is the mean distance between confidence and accuracy, over bins
    weighted by how many samples fall into them.

    Args:
        confidences: Probability that the model gave each answer, 0 to 1.
        right: Whether each answer was right.
        bins: How many; a bin holds its low end, the last one also 1.
    Returns:
        ``ece`` (None of nothing), ``count``, and ``bins``: for each ``low``, ``high``, ``count``,
        and the means ``confidence`` and ``accuracy`` (None where it is empty).
    """
    sure, good = np.asarray(confidences, float), np.asarray(right, float)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, sure, side="right") - 1, 0, bins - 1)
    counts, confidence, accuracy = (
        np.bincount(place, weights=weights, minlength=bins)
        for weights in (np.ones(len(sure)), sure, good)
    )
    error = np.abs(confidence - accuracy).sum() / len(sure) if len(sure) else None
    return {
        "ece": None if error is None else float(error),
        "count": len(sure),
        "bins": [
            {
                "low": float(edges[i]),
                "high": float(edges[i + 1]),
                "confidence": float(confidence[i] / counts[i]) if counts[i] else None,
                "accuracy": float(accuracy[i] / counts[i]) if counts[i] else None,
                "count": int(counts[i]),
            }
            for i in range(bins)
        ],
    }
