"""The page of a comparison: figures side by side, and the samples that changed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.common.metrics import percent
from minigpt4.reports import compare_text as text
from minigpt4.reports.detection_sections import detection_card
from minigpt4.reports.gallery import Card, DrawnBox, Gallery, Verdict, language_of
from minigpt4.reports.object_sections import object_card
from minigpt4.reports.page import Figure, Headline, Note, Section, Table, write_report
from minigpt4.reports.refer_sections import refer_card
from minigpt4.reports.shared import verdict_of
from minigpt4.reports.vqa_sections import vqa_card
from minigpt4.scoring.comparison import (
    BOTH_RIGHT,
    BOTH_WRONG,
    BROKEN,
    CHANGES,
    FIXED,
    DataComparison,
    figure_name,
)

MAX_CARDS = 400
"""Samples of a gallery: what changed comes first, then what no run answers rightly."""
_FIGURES_ABREAST = 4
_CARDS: Mapping[str, Callable[..., Card]] = {
    "vqa": vqa_card,
    "detection": detection_card,
    "objects": object_card,
    "refer": refer_card,
}
_GROUPS = (
    ("by_type", "By question type", "accuracy"),
    ("by_frequency", "By how often the answer occurs in training", "accuracy"),
    ("by_source", "By source", "accuracy"),
    ("by_class", "By object: mAP", "map"),
    ("by_defect", "By kind of defect: AP", "ap"),
)
_MARKS: Mapping[Verdict, str] = {"right": "✓", "wrong": "✗", "unparsed": "?"}


def write_page(path: Path, parts: Sequence[DataComparison]) -> None:
    """Write the page."""
    names = [run.name for run in parts[0].runs]
    sections = [section for part in parts for section in comparison_sections(part)]
    if len(parts) > 1:
        sections = [Table("All data sets", *text.overview(parts)), *sections]
    write_report(
        path,
        title="Comparison of runs",
        subtitle=f"{', '.join(names[1:])} against {names[0]}",
        sections=sections,
    )


def comparison_sections(part: DataComparison) -> Iterator[Section]:
    """One data set's sections."""
    yield Headline(list(_headline(part)), title=text.heading(part))
    verdicts = [text.verdict(part, pair) for pair in part.pairs]
    yield Note("", "\n\n".join([*verdicts, *part.notes]))
    *above, below = _figure_tables(part)
    yield from above
    yield dataclasses.replace(
        below,
        note="In brackets 95 % intervals, by resampling pictures. Below the runs their differences "
        "in points, with paired intervals: both runs on the same resampled pictures.",
    )
    yield Table(
        f"Samples, from {part.runs[0].name}",
        ["to", *CHANGES, "McNemar's exact test"],
        [[pair.name, *pair.counts.values(), text.p_text(pair.p_value)] for pair in part.pairs],
        note="Fixed: only the later run is right. Broken: only the first is.",
    )
    for key, title, metric in _GROUPS:
        yield from _by_group(part, key, title, metric)
    yield Table("Runs", ["run", "checkpoint", "file"], [text.made(run) for run in part.runs])
    yield _gallery(part)


def _figure_tables(part: DataComparison) -> list[Table]:
    """Runs by figures, a few figures to a table."""
    columns, rows = text.table(part)
    starts = range(1, len(columns), _FIGURES_ABREAST)
    return [
        Table(
            "All figures" if start == 1 else "",
            ["", *columns[start : start + _FIGURES_ABREAST]],
            [
                [_unbroken(each) for each in (row[0], *row[start : start + _FIGURES_ABREAST])]
                for row in rows
            ],
        )
        for start in starts
    ]


def _unbroken(cell: str) -> str:
    return cell.replace(" ", "\N{NO-BREAK SPACE}")


def _headline(part: DataComparison) -> Iterator[Figure]:
    key = part.kind.primary
    if key not in part.keys:
        return
    for run in part.runs:
        label = f"{figure_name(key)}, {run.name}"
        yield Figure(label, percent(run.figures[key]), interval=run.interval(key))
    for pair in part.pairs:
        yield Figure(
            f"{pair.name} − {part.runs[0].name}",
            text.difference_text(dataclasses.replace(pair.differences[key], interval=None)),
            f"points {text.difference_text(pair.differences[key]).partition(' ')[2]}".strip(),
        )


def _by_group(part: DataComparison, key: str, title: str, metric: str) -> Iterator[Table]:
    groups = [run.metrics.get(key) or {} for run in part.runs]
    if len(groups[0]) < 2:
        return
    rows = [
        [name, *(each.get(name, {}).get(metric) for each in groups), first.get("count")]
        for name, first in groups[0].items()
    ]
    columns = ["", *(run.name for run in part.runs), "samples"]
    yield Table(title, columns, rows, bars=list(range(1, len(groups) + 1)))


def _gallery(part: DataComparison) -> Gallery:
    cards = [_card(part, number) for number in _share_of_each(part)]
    texts = [words for each in cards for words in (each.question, each.answer, each.reference)]
    note = f"Marks and colours are those of {part.runs[-1].name}'s answers."
    if len(cards) < part.samples:
        note += (
            f" {len(cards)} of {part.samples:,} samples, changed ones first; compare.json holds "
            "all that any run gets wrong."
        )
    return Gallery("Samples side by side", cards, note, language=language_of(texts))


def _share_of_each(part: DataComparison) -> list[int]:
    """As many of each change as there is room for, a rare one whole, what is broken first."""
    order = (BROKEN, FIXED, BOTH_WRONG, BOTH_RIGHT)
    first = [
        min((pair.changes[i] for pair in part.pairs), key=order.index) for i in range(part.samples)
    ]
    left = MAX_CARDS
    kinds = [[i for i, each in enumerate(first) if each == change] for change in order]
    shares = [0] * len(kinds)
    for place, number in enumerate(sorted(range(len(kinds)), key=lambda k: len(kinds[k]))):
        shares[number] = min(len(kinds[number]), left // (len(kinds) - place))
        left -= shares[number]
    return [i for members, share in zip(kinds, shares, strict=True) for i in members[:share]]


def _card(part: DataComparison, number: int) -> Card:
    """One sample with every run's answer; boxes carry their run's name."""
    verdicts = [verdict_of(part.kind, run.predictions[number]) for run in part.runs]
    make = _CARDS[part.kind.name]
    cards = [
        make(run.predictions[number], verdict, number)
        for run, verdict in zip(part.runs, verdicts, strict=True)
    ]
    last = cards[-1]
    names = [
        f"{run.name} {_MARKS[verdict]}" for run, verdict in zip(part.runs, verdicts, strict=True)
    ]
    others = {
        name: card.answer or "(empty)" for name, card in zip(names[:-1], cards[:-1], strict=True)
    }
    boxes = [box for box in last.boxes if box.true]
    for run, card in zip(part.runs, cards, strict=True):
        boxes += [DrawnBox(each.box, run.name, true=False) for each in card.boxes if not each.true]
    groups: dict[str, Any] = {
        "change" if len(part.pairs) == 1 else pair.name: pair.changes[number] for pair in part.pairs
    }
    return dataclasses.replace(
        last,
        picture=next((each.picture for each in cards if each.picture is not None), None),
        groups={**groups, **last.groups},
        facts={**others, **last.facts},
        boxes=boxes,
        answered_by=names[-1],
    )
