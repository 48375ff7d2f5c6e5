"""Figures as words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigpt4.common.metrics import percent


def with_interval(metrics: Mapping[str, Any], name: str, note: str = "") -> str:
    """A figure with its interval: ``89.60 % (95 % interval 87.1 to 91.9; 448 of 500)``.

    Args:
        metrics: Of a scoring, or of a group of it, with or without ``intervals``.
        name: Of a share, or of a group that has an accuracy.
        note: What else the brackets hold.
    """
    figure = metrics[name]["accuracy"] if isinstance(metrics[name], Mapping) else metrics[name]
    interval = metrics.get("intervals", {}).get(name)
    said = [f"95 % interval {interval[0] * 100:.1f} to {interval[1] * 100:.1f}"] if interval else []
    said += [note] if note else []
    return f"{percent(figure)} ({'; '.join(said)})" if said else percent(figure)


def listed(groups: Mapping[str, Mapping[str, Any]], key: str = "accuracy") -> str:
    """One figure of each group: ``bottle 61.20 %, cable 48.00 %``."""
    return ", ".join(f"{name} {percent(each[key])}" for name, each in groups.items())
