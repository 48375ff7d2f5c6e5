"""The quick start's report: both tasks before and after, curves, and answers under pictures."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

from minigpt4.common.metrics import percent
from minigpt4.quickstart.outcome import Outcome
from minigpt4.quickstart.settings import MVTEC, TASKS, VIVQA, QuickTask
from minigpt4.reports import plots
from minigpt4.reports.page import (
    Figure,
    Gallery,
    Headline,
    Interval,
    Plot,
    Plots,
    Section,
    Table,
    write_report,
)
from minigpt4.reports.sections import evaluation_sections
from minigpt4.reports.shared import interval_of

_PRETRAINED_SAMPLES = 12


def write_page(path: Path, outcome: Outcome) -> None:
    """Write the page."""
    write_report(
        path,
        title="Quick start",
        subtitle=(
            "A small MiniGPT-v2 (frozen EfficientNet-Lite0, linear projection, a 1-million-"
            "parameter Llama with LoRA), pre-trained on captions, fine-tuned on each task."
        ),
        sections=[*_overview(outcome), *_task(VIVQA, outcome), *_task(MVTEC, outcome)],
    )


def _overview(outcome: Outcome) -> Iterator[Section]:
    results = outcome.results()
    vqa, mvtec = results[VIVQA.key], results[MVTEC.key]
    yield Headline(
        [
            Figure(
                "Questions: accuracy",
                percent(vqa["finetuned"]),
                f"{percent(vqa['pretrained'])} before fine-tuning; {percent(vqa['blank'])} with "
                "the pictures blanked",
                _interval(outcome, VIVQA, "accuracy"),
            ),
            Figure(
                "Defects: mAP",
                percent(mvtec["finetuned"]),
                f"{percent(mvtec['pretrained'])} before fine-tuning; "
                f"{percent(mvtec['constant_box'])} by always giving the commonest answer",
                _interval(outcome, MVTEC, "map"),
            ),
            Figure(
                "Defects: AP of defect",
                percent(mvtec["ap_defect"]),
                f"not-defect {percent(mvtec['ap_not_defect'])}: a good part's box is always the "
                "whole picture, so the mean of the two flatters",
                _interval(outcome, MVTEC, "ap_defect"),
            ),
            Figure(
                "Defective or not: AUROC",
                percent(mvtec["auroc"]),
                "over pictures",
                _interval(outcome, MVTEC, "auroc"),
            ),
        ]
    )
    yield Table(
        "Before and after fine-tuning",
        ["", "pre-trained", "fine-tuned", "to compare"],
        [list(row) for row in outcome.rows()],
        bars=[1, 2],
    )
    yield Plots(
        "Fine-tuning",
        [
            Plot(
                plots.curves({task.title: outcome.curves[task.key]}, x="iteration", y="loss"),
                task.title,
            )
            for task in TASKS
        ],
    )
    yield Table(
        "Time",
        ["stage", "seconds"],
        [[name, f"{seconds:.1f}"] for name, seconds in outcome.stages.items()],
    )


def _interval(outcome: Outcome, task: QuickTask, metric: str) -> Interval | None:
    return interval_of(outcome.finetuned[task.key].metrics, metric)


def _task(task: QuickTask, outcome: Outcome) -> Iterator[Section]:
    """One task's own sections, its samples before fine-tuning last."""
    after = outcome.finetuned[task.key]
    for section in evaluation_sections(after.kind, after.metrics, after.predictions):
        yield _named(section, f"{task.title}: ")
    before = outcome.pretrained[task.key]
    samples = evaluation_sections(before.kind, before.metrics, before.predictions)[-1]
    assert isinstance(samples, Gallery)
    yield dataclasses.replace(
        samples,
        title=f"{task.title}: answers before fine-tuning",
        cards=samples.cards[:_PRETRAINED_SAMPLES],
        note=f"{_PRETRAINED_SAMPLES} of {len(before.predictions)} samples.",
    )


def _named(section: Section, prefix: str) -> Section:
    title = section.title or "fine-tuned"
    return dataclasses.replace(section, title=prefix + title[0].lower() + title[1:])
