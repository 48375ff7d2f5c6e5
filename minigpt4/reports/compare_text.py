"""A comparison of runs as text: for a terminal, as Markdown, as plain data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from minigpt4.common.metrics import percent
from minigpt4.reports.gallery import composed
from minigpt4.scoring.comparison import (
    BROKEN,
    CHANGES,
    FIXED,
    DataComparison,
    Difference,
    Pair,
    RunScore,
    figure_name,
)
from minigpt4.scoring.intervals import Interval

_WIDTH = 110
"""Columns of a terminal that a table may fill; what does not fit goes below it."""
_EXAMPLES = 20
"""Changed samples of each pair in Markdown; the JSON file holds all."""
_LEGEND = "In brackets: 95 % intervals, by resampling pictures; of differences: paired."


def plain(parts: Sequence[DataComparison]) -> str:
    """All comparisons, for a terminal."""
    lines: list[str] = []
    if len(parts) > 1:
        lines += [*_aligned(*overview(parts)), ""]
    for part in parts:
        lines += [heading(part), ""]
        columns, rows = table(part)
        for block in _blocks(columns, rows):
            lines += [*_aligned(*block), ""]
        lines += [verdict(part, pair) for pair in part.pairs]
        lines += [*part.notes, ""]
    return "\n".join([*lines, _LEGEND])


def markdown(parts: Sequence[DataComparison]) -> str:
    """All comparisons as a Markdown document."""
    lines = ["# Comparison of runs", ""]
    if len(parts) > 1:
        lines += [*_piped(*overview(parts)), ""]
    for part in parts:
        lines += [f"## {heading(part)}", "", *_piped(*table(part)), ""]
        lines += [f"- {verdict(part, pair)}" for pair in part.pairs]
        lines += [f"- {note}" for note in part.notes]
        lines += ["", *_piped(["run", "checkpoint", "file"], [made(r) for r in part.runs]), ""]
        for pair in part.pairs:
            lines += _examples(part, pair)
    return "\n".join([*lines, _LEGEND, ""])


def overview(parts: Sequence[DataComparison]) -> tuple[list[str], list[list[str]]]:
    """Runs by data sets, each with its primary figure."""
    columns = ["", *(f"{part.name}: {figure_name(part.kind.primary)}" for part in parts)]
    rows = [
        [run.name, *(_cell(part.runs[number], part.kind.primary) for part in parts)]
        for number, run in enumerate(parts[0].runs)
    ]
    return columns, rows


def table(part: DataComparison) -> tuple[list[str], list[list[str]]]:
    """Runs by figures, then each later run less the first."""
    keys = part.keys
    rows = [[run.name, *(_cell(run, key) for key in keys), str(run.unread)] for run in part.runs]
    for pair in part.pairs:
        cells = [difference_text(pair.differences[key]) for key in keys]
        unread = _run(part, pair).unread - part.runs[0].unread
        rows.append([f"{pair.name} − {part.runs[0].name}", *cells, f"{unread:+d}"])
    return ["", *(figure_name(key) for key in keys), "unread"], rows


def heading(part: DataComparison) -> str:
    """What was asked about."""
    samples, pictures = part.samples, part.pictures
    about = f" about {pictures:,} pictures" if pictures < samples else ""
    return f"{part.name}: {samples:,} samples{about}"


def verdict(part: DataComparison, pair: Pair) -> str:
    """What became of the samples, and whether that can be chance, in one sentence."""
    counts = pair.counts
    said = ", ".join(f"{counts[each]:,} {each}" for each in CHANGES)
    first = part.runs[0].name
    text = f"{pair.name} against {first}: {said}; McNemar's exact test {p_text(pair.p_value)}"
    difference = pair.differences.get(part.kind.primary)
    if difference is None or difference.interval is None:
        return f"{text}."
    low, high = difference.interval
    what = figure_name(part.kind.primary)
    if low <= 0 <= high:
        return f"{text}. The difference in {what} may be chance."
    return f"{text}. {pair.name} is {'better' if low > 0 else 'worse'} in {what}."


def p_text(value: float) -> str:
    """A p-value: ``p = 0.043``, ``p < 0.001``."""
    return "p < 0.001" if value < 0.001 else f"p = {value:.3g}"


def interval_text(interval: Interval | None) -> str:
    """An interval of shares, in per cent."""
    return "" if interval is None else f"[{interval[0] * 100:.2f}, {interval[1] * 100:.2f}]"


def difference_text(difference: Difference) -> str:
    """A difference of shares in points of per cent, with its interval."""
    value = round(difference.value * 100, 2) + 0.0  # not -0.00
    return f"{value:+.2f} {_signed(difference.interval)}".strip()


def _signed(interval: Interval | None) -> str:
    if interval is None:
        return ""
    low, high = (round(end * 100, 2) + 0.0 for end in interval)
    return f"[{low:+.2f}, {high:+.2f}]"


def figure_text(run: RunScore, key: str) -> str:
    """A figure with its interval."""
    return f"{percent(run.figures[key])} {interval_text(run.interval(key))}".strip()


def _cell(run: RunScore, key: str) -> str:
    return figure_text(run, key) if key in run.figures else "–"


def made(run: RunScore) -> list[str]:
    """A run, what made it, and its file."""
    return [run.name, str(run.run.get("ckpt") or "–"), run.path]


def as_json(part: DataComparison) -> dict[str, Any]:
    """Everything about a comparison, every sample that any run gets wrong included."""
    keys = part.keys
    return {
        "name": part.name,
        "kind": part.kind.name,
        "samples": part.samples,
        "pictures": part.pictures,
        "score_options": {
            name: getattr(part.options, name) for name in ("score", "metric", "resamples", "seed")
        },
        "notes": list(part.notes),
        "runs": [
            {
                "name": run.name,
                "file": run.path,
                "run": dict(run.run),
                "figures": dict(run.figures),
                "intervals": {key: run.interval(key) for key in keys},
                "unread": run.unread,
            }
            for run in part.runs
        ],
        "differences": [
            {
                "name": pair.name,
                "to": part.runs[0].name,
                "figures": {key: each.value for key, each in pair.differences.items()},
                "intervals": {key: each.interval for key, each in pair.differences.items()},
                "changes": pair.counts,
                "mcnemar_p": pair.p_value,
            }
            for pair in part.pairs
        ],
        "samples_not_always_right": [
            _sample(part, number)
            for number in range(part.samples)
            if not all(run.right[number] for run in part.runs)
        ],
    }


def _sample(part: DataComparison, number: int) -> dict[str, Any]:
    shown = part.runs[0].predictions[number]
    return {
        "id": shown.id,
        "picture": shown.picture,
        "question": shown.meta.get("question", shown.question),
        "reference": shown.reference,
        "changes": {pair.name: pair.changes[number] for pair in part.pairs},
        "answers": {run.name: run.predictions[number].answer for run in part.runs},
    }


def _examples(part: DataComparison, pair: Pair) -> Iterator[str]:
    """The first samples that only one of two runs answers rightly, as Markdown."""
    first, other = part.runs[0], _run(part, pair)
    changed = [i for i, each in enumerate(pair.changes) if each in (FIXED, BROKEN)]
    if not changed:
        return
    shown = _in_turn(pair, changed)[:_EXAMPLES]
    yield f"### Changed from {first.name} to {other.name}: {len(shown)} of {len(changed)}"
    yield ""
    rows = []
    for i in shown:
        before, after = first.predictions[i], other.predictions[i]
        question = str(before.meta.get("question") or before.picture or before.id)
        rows.append([pair.changes[i], question, before.reference, before.answer, after.answer])
    yield from _piped(["", "sample", "reference", first.name, other.name], rows)
    yield ""


def _in_turn(pair: Pair, changed: Sequence[int]) -> list[int]:
    """Broken and fixed samples by turns, so that the rarer ones are among the first."""
    kinds = [[i for i in changed if pair.changes[i] == each] for each in (BROKEN, FIXED)]
    ranked = [(place, i) for each in kinds for place, i in enumerate(each)]
    return [i for _, i in sorted(ranked)]


def _run(part: DataComparison, pair: Pair) -> RunScore:
    return next(run for run in part.runs if run.name == pair.name)


def _blocks(
    columns: Sequence[str], rows: Sequence[Sequence[str]]
) -> Iterator[tuple[list[str], list[list[str]]]]:
    """A wide table as several, each with the first column."""
    widths = [max(map(len, column)) + 2 for column in zip(columns, *rows, strict=True)]
    start = 1
    while start < len(columns):
        end, width = start + 1, widths[0] + widths[start]
        while end < len(columns) and width + widths[end] <= _WIDTH:
            width += widths[end]
            end += 1
        chosen = [0, *range(start, end)]
        yield [columns[i] for i in chosen], [[row[i] for i in chosen] for row in rows]
        start = end


def _aligned(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [list(map(composed, row)) for row in (columns, *rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    ]


def _piped(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    def line(cells: Sequence[str]) -> str:
        return f"| {' | '.join(map(_escaped, cells))} |"

    return [line(columns), line(["---"] * len(columns)), *map(line, rows)]


def _escaped(text: str) -> str:
    """A cell's text on one line, its marks shown as they are."""
    for mark in "\\|<>*_":
        text = text.replace(mark, f"\\{mark}")
    return " ".join(composed(text).split())
