"""``loss.png``: training and validation loss, and the learning rate below."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def plot_curves(records: list[dict[str, Any]], path: Path) -> None:
    """Draw the lines of a ``log.txt``.

    Args:
        records: Its objects; ``train`` lines give loss and lr, ``valid`` lines the other curve.
        path: Picture file, replaced whole.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    train = [r for r in records if r["kind"] == "train"]
    valid = [r for r in records if r["kind"] == "valid"]
    figure = Figure(figsize=(8, 5.5), layout="constrained")
    canvas = FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    upper.plot([r["step"] for r in train], [r["loss"] for r in train], label="train")
    if valid:
        steps = [r["step"] for r in valid]
        upper.plot(steps, [r["loss"] for r in valid], marker="o", label="validation")
    upper.set_ylabel("loss")
    upper.legend()
    lower.plot([r["step"] for r in train], [r["lr"] for r in train], color="tab:gray")
    lower.set_ylabel("learning rate")
    lower.set_xlabel("iteration")
    for axis in (upper, lower):
        axis.grid(alpha=0.3)
    partial = path.with_suffix(".tmp")
    with partial.open("wb") as file:
        canvas.print_figure(file, format="png", dpi=110)
    partial.replace(path)
