"""Drawings for reports, as SVG that takes the page's text colour and font."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Points = tuple[Sequence[float], Sequence[float]]
"""x and y of a curve."""

PALETTE = ("#2a78d6", "#e0762f", "#1f9d6b", "#b04fc4", "#c2413b", "#7a8794")
_INK = "#010203"
"""Stands for the page's text colour, which differs between light and dark."""
_FONT = re.compile(r"font(?:-family)?: (?:([\d.]+px) )?[^;\"]*'[^;\"]*")
_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"


def curves(
    series: Mapping[str, Points],
    *,
    x: str,
    y: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
    diagonal: bool = False,
) -> str:
    """Lines over one pair of axes.

    Args:
        series: Name to points; names show in a legend when there are several.
        x: What the horizontal axis is.
        y: What the vertical axis is.
        x_range: Its limits; None for those of the data.
        y_range: Its limits; None for those of the data.
        diagonal: Also draw the line from (0, 0) to (1, 1).
    """
    figure, axes = _axes(x, y, x_range, y_range)
    if diagonal:
        axes.plot([0, 1], [0, 1], color=_INK, alpha=0.3, linewidth=1, linestyle="--")
    for colour, (name, (xs, ys)) in zip(_colours(len(series)), series.items(), strict=True):
        axes.plot(xs, ys, label=name, color=colour, linewidth=1.8)
    if len(series) > 1:
        axes.legend(frameon=False, labelcolor=_INK)
    return _svg(figure)


def histogram(series: Mapping[str, Sequence[float]], *, x: str, y: str = "samples") -> str:
    """How often shares (0 to 1) occur, by tenths, the series on top of each other."""
    figure, axes = _axes(x, y, (0, 1), None)
    axes.hist(
        list(series.values()),
        bins=[tenth / 10 for tenth in range(11)],
        stacked=True,
        label=list(series),
        color=_colours(len(series)),
        rwidth=0.92,
    )
    axes.legend(frameon=False, labelcolor=_INK)
    return _svg(figure)


def lengths(
    series: Mapping[str, Sequence[int]], *, x: str, limit: int | None = None, y: str = "samples"
) -> str:
    """How often whole numbers occur, the series on top of each other.

    Args:
        series: Name to numbers.
        x: What a number is.
        limit: Drawn as a line where it is near the numbers.
        y: What is counted.
    """
    most = max((max(numbers) for numbers in series.values() if len(numbers)), default=1)
    reach = most if limit is None or limit > 1.5 * most else max(most, limit)
    width = max(1, -(-reach // 40))
    figure, axes = _axes(x, y, None, None)
    axes.hist(
        [list(numbers) for numbers in series.values()],
        bins=[edge - 0.5 for edge in range(0, reach + 2 * width, width)],
        stacked=True,
        label=list(series),
        color=_colours(len(series)),
        rwidth=0.92,
    )
    if limit is not None and limit <= reach:
        axes.axvline(limit, color=_INK, linewidth=1.2, linestyle="--")
    if len(series) > 1:
        axes.legend(frameon=False, labelcolor=_INK)
    return _svg(figure)


def shares(
    values: Mapping[str, float],
    *,
    x: str,
    intervals: Mapping[str, Sequence[float]] | None = None,
) -> str:
    """Shares (0 to 1) by name, one bar below the other.

    Args:
        values: Name to share, from the top down.
        x: What a share is.
        intervals: Low and high end by name, drawn as whiskers; names may be missing.
    """
    names = list(values)
    figure, axes = _axes(x, "", (0, 1), None, height=0.9 + 0.34 * len(names))
    places = range(len(names), 0, -1)
    axes.barh(places, list(values.values()), height=0.55, color=PALETTE[0], alpha=0.75)
    for place, name in zip(places, names, strict=True):
        if intervals and name in intervals:
            low, high = intervals[name]
            axes.plot(
                [low, high], [place, place], color=_INK, linewidth=1.4, marker="|", markersize=8
            )
    axes.set_yticks(list(places), names)
    axes.grid(visible=False, axis="y")
    return _svg(figure)


def reliability(bins: Sequence[Mapping[str, Any]]) -> str:
    """How often answers of each confidence are right, over how many answers there are.

    Args:
        bins: ``low``, ``high``, ``confidence`` (their mean), ``accuracy`` and ``count`` of each;
            a bin without answers may have None.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 4.2), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    _style(upper, "", "share that is right", (0, 1), (0, 1))
    _style(lower, "the model's probability", "answers", (0, 1), None)
    upper.plot([0, 1], [0, 1], color=_INK, alpha=0.3, linewidth=1, linestyle="--")
    filled = [each for each in bins if each["count"]]
    for axes, key in ((upper, "accuracy"), (lower, "count")):
        axes.bar(
            [each["low"] for each in filled],
            [each[key] for each in filled],
            width=[0.94 * (each["high"] - each["low"]) for each in filled],
            align="edge",
            color=PALETTE[0],
            alpha=0.4,
        )
    upper.plot(
        [each["confidence"] for each in filled],
        [each["accuracy"] for each in filled],
        color=PALETTE[1],
        marker="o",
        markersize=4.5,
        linewidth=1.4,
    )
    for each in filled:
        lower.annotate(
            str(each["count"]),
            ((each["low"] + each["high"]) / 2, each["count"]),
            ha="center",
            va="bottom",
            fontsize=7.5,
            color=_INK,
        )
    lower.margins(y=0.25)
    return _svg(figure)


def _colours(count: int) -> list[str]:
    return [PALETTE[i % len(PALETTE)] for i in range(count)]


def _axes(
    x: str,
    y: str,
    x_range: tuple[float, float] | None,
    y_range: tuple[float, float] | None,
    *,
    height: float = 3.4,
) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, height), layout="constrained")
    axes = figure.subplots()
    _style(axes, x, y, x_range, y_range)
    return figure, axes


def _style(
    axes: Axes,
    x: str,
    y: str,
    x_range: tuple[float, float] | None,
    y_range: tuple[float, float] | None,
) -> None:
    axes.set_xlabel(x, color=_INK)
    axes.set_ylabel(y, color=_INK)
    for limits, setter in ((x_range, axes.set_xlim), (y_range, axes.set_ylim)):
        if limits is not None:
            margin = 0.02 * (limits[1] - limits[0])
            setter(limits[0] - margin, limits[1] + margin)
    axes.set_facecolor("none")
    axes.tick_params(colors=_INK, which="both", length=0)
    axes.grid(alpha=0.15, color=_INK)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_INK)
        spine.set_alpha(0.4)


def _svg(figure: Figure) -> str:
    import matplotlib

    buffer = io.StringIO()
    # Letters stay letters, and a drawing's ids depend on nothing but its contents.
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "report"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    view = re.search(r'viewBox="[^"]*"', text)
    body = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", text, flags=re.DOTALL)
    body = body[body.index("<svg") :].partition(">")[2]
    body = _FONT.sub(_page_font, body).replace(_INK, "currentColor")
    # Without a width of its own the drawing fills the place that the page gives it.
    return f'<svg xmlns="{_SVG}" xmlns:xlink="{_XLINK}" {view and view[0]} role="img">{body}'


def _page_font(match: re.Match[str]) -> str:
    size = f"font-size: {match[1]}; " if match[1] else ""
    return f"{size}font-family: inherit"
