"""The contact sheet: samples of each data set under their pictures, flagged ones first."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from minigpt4.common.boxes import GRID, Box, parse_boxes
from minigpt4.conversation.prompts import IMAGE_SLOT
from minigpt4.datasets.schema import Sample
from minigpt4.doctor.boxes import box_unit, corners, row_boxes
from minigpt4.doctor.examination import Checkup, Examination
from minigpt4.doctor.findings import Place
from minigpt4.doctor.patients import Patient
from minigpt4.reports.gallery import Card, DrawnBox, Gallery, Verdict, language_of

_FLAGS = 3
"""Findings that are named on a card."""
_LONGEST = 400

Flags = Mapping[tuple[str, int | None], list[str]]
"""Findings of each place, by file and row."""


def contact_sheet(examination: Examination, checkup: Checkup, most: int) -> Gallery | None:
    """Samples of one data set, half of them flagged where there are so many; None without any.

    Args:
        examination: All that was found.
        checkup: The data set.
        most: Samples to show.
    """
    patient = checkup.patient
    flags = _flags(examination, patient)
    cards = _row_cards(patient, flags, most) + _sample_cards(checkup, flags, most)
    cards = cards[:most]
    if not cards:
        return None
    texts = [text for card in cards for text in (card.question, card.reference)]
    total = len(checkup.facts) + len(patient.faults.rows)
    return Gallery(
        f"Samples of {patient.label}",
        cards,
        f"{len(cards):,} of {total:,} samples: those with findings first, then some of the others, "
        "spread over the data. Questions are in the wording of evaluation.",
        language=language_of(texts),
        legend=("box", "faulty box" if any(not b.true for c in cards for b in c.boxes) else ""),
    )


def _flags(
    examination: Examination, patient: Patient
) -> Mapping[tuple[str, int | None], list[str]]:
    """Codes of the findings of each place; notes do not flag a sample."""
    flags: dict[tuple[str, int | None], list[str]] = {}
    for finding in examination.findings:
        if finding.dataset != patient.label or finding.severity == "note":
            continue
        if len(finding.places) > len(patient.faults.rows) + _most_flagged(patient):
            continue  # what is so of most samples does not tell them apart
        for place in finding.places:
            flags.setdefault((place.file, place.row), []).append(finding.code.replace("_", " "))
    return flags


def _most_flagged(patient: Patient) -> int:
    return len(patient.records.table) // 4 if patient.records is not None else 0


def _row_cards(patient: Patient, flags: Flags, most: int) -> list[Card]:
    """Rows that are refused, with their boxes as far as they lie in the picture."""
    table = patient.faults.table
    if table is None or patient.records is None:
        return []
    cards = []
    for number in sorted(patient.faults.rows)[: most // 2]:
        row = table.row(number)
        place = patient.place(number)
        boxes = _clipped(row, patient.box_form) if patient.box_form else []
        cards.append(
            Card(
                _row_picture(patient, row),
                str(row.get("question") or row.get("phrase") or row.get("class") or ""),
                answer="",
                reference=str(row.get("answer") or row.get("bbox") or row.get("boxes") or "–"),
                verdict="flagged",
                groups=_groups(row, flags.get((place.file, place.row), [])),
                boxes=[DrawnBox(box, "faulty", true=False) for box in boxes],
                facts={**_where(place), "finding": patient.faults.rows[number]},
                order=number,
                answered_by="",
            )
        )
    return cards


def _row_picture(patient: Patient, row: Mapping[str, object]) -> Path | None:
    if patient.records is None or patient.records.spec.image is None or patient.blank:
        return None
    try:
        return Path(patient.records.picture_path(row))
    except (KeyError, IndexError, TypeError, ValueError):
        return None  # that it names no picture is what is wrong with it


def _clipped(row: Mapping[str, object], form: str) -> list[Box]:
    """The boxes of a faulty row, in hundredths and within the picture."""
    width, height = box_unit(row, form)
    found = []
    for box in row_boxes(row):
        edges = corners(box, form)
        if edges is None or not 0 < width < float("inf") or not 0 < height < float("inf"):
            continue
        scaled = [value / (height if i % 2 else width) * GRID for i, value in enumerate(edges)]
        x1, y1, x2, y2 = (round(min(max(value, 0), GRID)) for value in scaled)
        found.append((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)))
    return found


def _sample_cards(checkup: Checkup, flags: Flags, most: int) -> list[Card]:
    patient = checkup.patient
    numbers = checkup.facts.numbers.tolist()
    flagged = [n for n in numbers if (p := patient.place(n)) and (p.file, p.row) in flags]
    rest = sorted(set(numbers) - set(flagged))
    shown = _spread(flagged, max(most // 2, most - len(rest)))
    shown += _spread(rest, most - len(shown))
    samples = patient.samples_at(shown)
    return [_card(patient, n, samples[n], flags) for n in shown if n in samples]


def _card(
    patient: Patient,
    number: int,
    sample: Sample,
    flags: Flags,
) -> Card:
    place = patient.place(number)
    found = flags.get((place.file, place.row), [])
    turns = sample.turns
    question = turns[0].instruction.removeprefix(IMAGE_SLOT).strip()
    answer = "\n".join(turn.answer for turn in turns)
    verdict: Verdict = "flagged" if found else "fine"
    facts = _where(place)
    if len(turns) > 1:
        facts["turns"] = str(len(turns))
    return Card(
        _picture(patient, sample),
        question[:_LONGEST],
        answer="",
        reference=answer[:_LONGEST],
        verdict=verdict,
        groups=_groups(sample.meta, found),
        boxes=_drawn(sample),
        facts=facts,
        order=number,
        answered_by="",
    )


def _picture(patient: Patient, sample: Sample) -> Path | None:
    if patient.records is None or not sample.picture or patient.blank:
        return None
    return Path(patient.records.picture_path(sample.picture))


def _drawn(sample: Sample) -> list[DrawnBox]:
    """The boxes of the answer and of the question."""
    return [
        DrawnBox(box, labelled.phrase or "", true=True)
        for turn in sample.turns
        for text in (turn.answer, turn.instruction)
        if "{<" in text
        for labelled in parse_boxes(text)
        for box in labelled.boxes
    ]


def _groups(values: Mapping[str, object], found: list[str]) -> dict[str, str]:
    groups = {"finding": ", ".join(sorted(set(found))[:_FLAGS])}
    for name in ("class", "type"):
        if values.get(name) not in (None, ""):
            groups[name] = str(values[name])
    return groups


def _spread(items: list[int], count: int) -> list[int]:
    count = max(0, min(count, len(items)))
    return [items[i * len(items) // count] for i in range(count)]


def _where(place: Place) -> dict[str, str]:
    return {"file": place.file} if place.row is None else {"row": str(place.row)}
