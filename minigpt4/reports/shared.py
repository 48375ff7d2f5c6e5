"""What sections of several kinds of evaluation are made of.

Metrics may come from older files or from scoring without resampling: what is missing is left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.metrics import percent
from minigpt4.reports import plots
from minigpt4.reports.gallery import Verdict
from minigpt4.reports.page import Figure, Interval, Matrix, Note, Plot, Section, Table
from minigpt4.scoring.kinds import Kind
from minigpt4.scoring.prediction import Prediction

MATRIX_NAMES = 12
"""Rows of a matrix of answers; the others are counted together."""
OTHER = "(other)"


def interval_of(metrics: Mapping[str, Any], name: str) -> Interval | None:
    """The 95 % interval of a metric, where there is one."""
    found = (metrics.get("intervals") or {}).get(name)
    return None if found is None or None in found else found


def share_figure(metrics: Mapping[str, Any], name: str, label: str, note: str = "") -> list[Figure]:
    """A headline number with its interval; nothing where the metric is not there at all."""
    if name not in metrics:
        return []
    return [Figure(label, percent(metrics[name]), note, interval_of(metrics, name))]


def asking_figures(metrics: Mapping[str, Any]) -> list[Figure]:
    """What answers took, and how often those that could not be read were asked again."""
    figures = []
    steps, again = metrics.get("mean_steps"), metrics.get("resampled")
    if steps:
        figures.append(Figure("Steps an answer", f"{steps:.1f}", "through the language model"))
    if again:
        note = (
            f"in {again['rounds']} rounds, as they could not be read; {again['remaining']} remain"
        )
        figures.append(Figure("Asked again", str(again["asked"]), note))
    return figures


def verdict_of(kind: Kind, prediction: Prediction) -> Verdict:
    """What an answer is worth."""
    if not kind.can_read(prediction):
        return "unparsed"
    return "right" if kind.is_right(prediction) else "wrong"


def group_intervals(metrics: Mapping[str, Any], key: str, metric: str) -> dict[str, Interval]:
    """The intervals of a metric in each group of ``metrics[key]``, of those that have one."""
    groups = metrics.get(key) or {}
    found = {name: interval_of(group, metric) for name, group in groups.items()}
    return {name: each for name, each in found.items() if each is not None}


def group_table(
    metrics: Mapping[str, Any],
    key: str,
    title: str,
    columns: Mapping[str, str],
    *,
    bars: Sequence[int] = (1,),
    note: str = "",
    fewest: int = 2,
) -> list[Table]:
    """A row for each group of ``metrics[key]``; nothing where there are fewer than ``fewest``.

    Args:
        columns: A group's key to the column's heading; a key that no group has is left out. The
            interval of the first stands behind it.
    """
    groups: Mapping[str, Mapping[str, Any]] = metrics.get(key) or {}
    shown = {
        name: head for name, head in columns.items() if any(name in g for g in groups.values())
    }
    if len(groups) < fewest or not shown:
        return []
    intervals = group_intervals(metrics, key, next(iter(shown)))
    rows = []
    for name, group in groups.items():
        row = [name, *(group.get(column) for column in shown)]
        if intervals:
            row.insert(2, range_text(intervals.get(name)))
        rows.append(row)
    heads = ["", *shown.values()]
    if intervals:
        heads.insert(2, "95 %")
        bars = [column + (column > 1) for column in bars]
    return [Table(title, heads, rows, bars=[b for b in bars if b < len(heads)], note=note)]


def range_text(interval: Interval | None) -> str:
    """An interval of shares for a table's cell."""
    return "–" if interval is None else f"{interval[0] * 100:.1f} – {interval[1] * 100:.1f}"


def group_plot(
    metrics: Mapping[str, Any], key: str, title: str, *, metric: str = "accuracy", x: str = ""
) -> list[Plot]:
    """Bars with whiskers, for two groups or more."""
    groups = metrics.get(key) or {}
    values = {name: each[metric] for name, each in groups.items() if each.get(metric) is not None}
    if len(values) < 2:
        return []
    intervals = group_intervals(metrics, key, metric)
    caption = "Whiskers are 95 % intervals." if intervals else ""
    drawn = plots.shares(values, x=x or metric.replace("_", " "), intervals=intervals)
    return [Plot(drawn, title, caption)]


def reliability_plot(metrics: Mapping[str, Any], what: str) -> list[Plot]:
    """Whether the model's probabilities can be believed.

    Args:
        what: What the probabilities are of.
    """
    calibration = metrics.get("calibration") or {}
    bins = calibration.get("bins")
    if not bins or not any(each["count"] for each in bins):
        return []
    error = calibration.get("ece")
    caption = f"Probabilities of {what}: on the dashed line they mean what they say. "
    if error is not None:
        caption += f"The mean distance from it (ECE) is {percent(error)}."
    return [Plot(plots.reliability(bins), "Reliability", caption.strip())]


def confidence_plot(
    confidences: Sequence[float | None], verdicts: Sequence[Verdict], x: str
) -> list[Plot]:
    """How often each confidence occurs, right and wrong."""
    series: dict[str, list[float]] = {"right": [], "wrong": []}
    for value, verdict in zip(confidences, verdicts, strict=True):
        if value is not None:
            series["right" if verdict == "right" else "wrong"].append(value)
    if not any(series.values()):
        return []
    caption = "A model that knows what it knows puts its wrong answers at the left."
    return [Plot(plots.histogram(series, x=x), "How sure the model was", caption)]


def confusion(
    pairs: Sequence[tuple[str, str]],
    title: str,
    *,
    note: str = "",
    names: Sequence[str] = (),
    language: str = "",
) -> list[Matrix]:
    """What was true against what was said.

    Args:
        pairs: True and said, one pair a sample.
        names: Rows and columns to begin with; the rest are those with most mistakes.
        language: Of the names.
    """
    if not pairs:
        return []
    mistakes: Counter[str] = Counter()
    occurs: Counter[str] = Counter()
    for pair in pairs:
        occurs.update(set(pair))
        if pair[0] != pair[1]:
            mistakes.update(pair)
    ranked = sorted(occurs, key=lambda name: (-mistakes[name], -occurs[name], name))
    kept = list(dict.fromkeys([*names, *ranked]))[: max(MATRIX_NAMES, len(names))]
    counts = Counter(
        (true if true in kept else OTHER, said if said in kept else OTHER) for true, said in pairs
    )
    rows = [name for name in [*kept, OTHER] if any(true == name for true, _ in counts)]
    columns = [name for name in [*kept, OTHER] if any(said == name for _, said in counts)]
    return [
        Matrix(
            title,
            rows,
            columns,
            [[counts[true, said] for said in columns] for true in rows],
            note=note,
            language=language,
        )
    ]


def baseline_sections(metrics: Mapping[str, Any], columns: Mapping[str, str]) -> list[Table]:
    """The model beside answers that need no look at the picture.

    Args:
        columns: Metrics to show and their headings; the first has its interval behind it.
    """
    baselines: Mapping[str, Mapping[str, Any]] = metrics.get("baselines") or {}
    shown = {
        name: head
        for name, head in columns.items()
        if any(each.get(name) is not None for each in baselines.values())
    }
    if not shown:
        return []
    first = next(iter(shown))
    rows = [
        [
            name.replace("_", " "),
            each.get(first),
            range_text(interval_of(each, first)),
            *(each.get(column) for column in shown if column != first),
            each.get("description", ""),
        ]
        for name, each in {"this model": metrics, **baselines}.items()
    ]
    heads = ["", shown.pop(first), "95 %", *shown.values(), "what it answers"]
    return [
        Table(
            "Beside blind guessing",
            heads,
            rows,
            bars=[1],
            note="The same samples, answered without looking at the picture: what looking adds is "
            "the distance to the best of these.",
        )
    ]


def overlap_section(metrics: Mapping[str, Any], counts: Mapping[str, Any] | None) -> list[Section]:
    """The figures on what does not also occur in training.

    Args:
        counts: What evaluation and training share, from the head of a predictions file.
    """
    part = metrics.get("no_overlap") or {}
    said = overlap_statement(counts) if counts else ""
    if not part.get("count") or part["count"] == metrics.get("count"):
        return [Note("Overlap with training", said)] if said else []
    rows = [
        [name, each.get("accuracy"), range_text(interval), each.get("count")]
        for name, each, interval in (
            ("all", metrics, interval_of(metrics, "accuracy")),
            ("picture not in training", part, interval_of(metrics, "no_overlap")),
        )
    ]
    columns = ["", "accuracy", "95 %", "samples"]
    return [Table("Overlap with training", columns, rows, bars=[1], note=said)]


def overlap_statement(counts: Mapping[str, Any]) -> str:
    """What evaluation and training share, in one sentence; empty where it is not known.

    Args:
        counts: From the head of a predictions file.
    """
    if "pictures" not in counts:
        return ""
    shared, total = counts.get("pictures_in_training", 0), counts["pictures"]
    where = f" ({counts['train_file']})" if counts.get("train_file") else ""
    if not shared:
        return f"None of the {total:,} test pictures occurs in training{where}."
    found = f"{shared:,} of {total:,} test pictures ({100 * shared / total:.0f} %)"
    if counts.get("pairs") is not None:
        found += f" and {counts['pairs']:,} exact pairs of picture and question"
    return f"{found} also occur in training{where}."
