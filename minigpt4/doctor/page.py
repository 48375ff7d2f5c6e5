"""``doctor.html``: what was found, where, and what the samples look like."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from minigpt4.doctor.examination import Checkup, Examination
from minigpt4.doctor.findings import Finding, count_severities, some
from minigpt4.doctor.sheet import contact_sheet
from minigpt4.reports import plots
from minigpt4.reports.finding_list import FindingEntry, FindingList
from minigpt4.reports.gallery import language_of
from minigpt4.reports.page import (
    Figure,
    Headline,
    Note,
    Plot,
    Plots,
    Section,
    Table,
    write_report,
)
from minigpt4.reports.token_strips import Strip, TokenStrips

_PLACES = 50
"""Places of a finding on the page; ``doctor.json`` holds all of them."""
_ANSWERS = 15
_FEW = 4
"""Data sets that fit beside each other."""
_STRIPS = 2
"""Samples of a data set that are shown token by token."""
_COLUMNS = {
    "samples": "samples",
    "pictures": "pictures",
    "read": "pictures read",
    "answers": "different answers",
    "repeated_pairs": "repeated pairs",
    "extra_rows": "extra rows",
    "conflicting_pairs": "conflicting pairs",
    "exact_duplicates": "exact duplicates",
    "shared_pictures": "pictures also in training",
    "shared_pairs": "pairs also in training",
    "unseen_answers": "answers not in training",
    "unseen_classes": "classes not in training",
    "prompts_cut": "prompts cut",
    "answers_cut": "answers cut",
}


def write_page(path: Path, examination: Examination, *, cfg_path: str, samples: int) -> None:
    """Write the page.

    Args:
        path: The HTML file.
        examination: What was seen.
        cfg_path: The configuration, for the heading.
        samples: Samples of each data set on its contact sheet.
    """
    sections: list[Section] = [
        _headline(examination),
        _findings(examination.findings),
        _data_sets(examination.checkups),
    ]
    for checkup in examination.checkups:
        sections += _balance(checkup)
        sections += _lengths(examination, checkup)
    sections += _strips(examination)
    for checkup in examination.checkups:
        sheet = contact_sheet(examination, checkup, samples) if samples else None
        if sheet is not None:
            sections.append(sheet)
    write_report(path, title="Data doctor", subtitle=cfg_path, sections=sections)


def _headline(examination: Examination) -> Headline:
    counts = count_severities(examination.findings)
    total = sum(len(each.facts) for each in examination.checkups)
    pictures = sum(int(each.figures["pictures"] or 0) for each in examination.checkups)
    read = sum(int(each.figures["read"] or 0) for each in examination.checkups)
    return Headline(
        [
            Figure("Errors", f"{counts['error']:,}", "kinds of mistakes that stop a run"),
            Figure("Warnings", f"{counts['warning']:,}", "kinds that change what is learned"),
            Figure("Notes", f"{counts['note']:,}", "good to know"),
            Figure("Samples", f"{total:,}", some(len(examination.checkups), "data set")),
            Figure("Pictures", f"{pictures:,}", f"{read:,} read"),
        ]
    )


def _findings(findings: Sequence[Finding]) -> Section:
    if not findings:
        return Note("Findings", "Nothing was found.")
    entries = [
        FindingEntry(
            finding.severity,
            finding.dataset,
            finding.summary,
            finding.remedy,
            [str(place) for place in finding.places[:_PLACES]],
            max(0, len(finding.places) - _PLACES),
        )
        for finding in findings
    ]
    return FindingList("Findings", entries, elsewhere="all in doctor.json")


def _data_sets(checkups: Sequence[Checkup]) -> Table:
    """Counts of each data set; one column a data set where there are few."""
    shown = [name for name in _COLUMNS if any(name in each.figures for each in checkups)]
    names = ["", "file", *(_COLUMNS[name] for name in shown)]
    rows = [
        [
            checkup.patient.label,
            ", ".join(checkup.patient.files[:2]),
            *(checkup.figures.get(name) for name in shown),
        ]
        for checkup in checkups
    ]
    if len(rows) <= _FEW:
        names, *rows = (list(row) for row in zip(names, *rows, strict=True))
    return Table(
        "Data sets",
        names,
        rows,
        note="Texts are the same when they are but for case, Unicode form and white space; "
        "pictures when their bytes are, or their names where no file was read.",
    )


def _balance(checkup: Checkup) -> list[Section]:
    balance, label = checkup.balance, checkup.patient.label
    sections: list[Section] = []
    if balance.classes:
        rows = []
        for name in balance.classes:
            good, broken = balance.good[name], balance.broken[name]
            rows.append([name, good + broken, good, broken, broken / (good + broken)])
        total = balance.good.total(), balance.broken.total()
        rows.append(["all", sum(total), *total, total[1] / sum(total)])
        columns = ["class", "samples", "good", "defective", "share of defects"]
        sections.append(Table(f"Classes of {label}", columns, rows, bars=[4]))
    elif len(balance.answers) > 1 and checkup.patient.has_one_answer:
        whole = balance.answers.total()
        common = list(balance.answers.items())[:_ANSWERS]
        once = sum(count == 1 for count in balance.answers.values())
        sections.append(
            Table(
                f"Answers of {label}",
                ["answer", "samples", "share"],
                [[text, count, count / whole] for text, count in common],
                bars=[2],
                note=f"The {len(common)} most frequent of {len(balance.answers):,} different "
                f"answers; {once:,} occur once.",
                language=language_of([text for text, _ in common]),
            )
        )
    for name, counter in balance.groups.items():
        if name == "class" and balance.classes:
            continue
        whole = counter.total()
        rows = [[value, n, n / whole] for value, n in list(counter.items())[:_ANSWERS]]
        columns = [name, "samples", "share"]
        sections.append(Table(f"{name.capitalize()} in {label}", columns, rows, bars=[2]))
    return sections


def _lengths(examination: Examination, checkup: Checkup) -> list[Section]:
    tokens, spelling = checkup.tokens, examination.spelling
    if tokens is None or spelling is None or not len(checkup.facts):
        return []
    drawings = []
    for name, lengths, key in (
        ("prompt", tokens.prompts, "max_context_len"),
        ("answer", tokens.answers, "max_txt_len"),
    ):
        most = getattr(spelling.settings, key)
        over = int((lengths > most).sum())
        caption = (
            f"{lengths.min()} to {lengths.max():,} tokens, {lengths.mean():.1f} on average; "
            f"{key} is {most:,}, {some(over, 'sample')} over it."
        )
        drawn = plots.lengths({name: lengths.tolist()}, x=f"tokens of the {name}", limit=most)
        drawings.append(Plot(drawn, f"{name.capitalize()}s", caption))
    return [Plots(f"Token lengths of {checkup.patient.label}", drawings)]


def _strips(examination: Examination) -> list[Section]:
    spelling = examination.spelling
    if spelling is None:
        return []
    strips = []
    for checkup in examination.checkups:
        numbers = checkup.facts.numbers.tolist()
        chosen = [numbers[i * len(numbers) // _STRIPS] for i in range(min(_STRIPS, len(numbers)))]
        samples = checkup.patient.samples_at(chosen)
        own = spelling.for_role(checkup.patient.role)
        for number in chosen:
            place = str(checkup.patient.place(number)).rstrip(": ")
            strips.append(Strip(f"{checkup.patient.label}: {place}", own.tokens(samples[number])))
    if not strips:
        return []
    return [
        TokenStrips(
            "What the model sees",
            strips,
            "Each box is a token as the vocabulary spells it, with its number. The green ones, "
            "the answer and what ends it, count in the loss; nothing else does. Questions are in "
            "the wording of evaluation; training draws one of the data set's wordings each time.",
        )
    ]
