"""Samples that occur more than once: with the same answer, or with another one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from minigpt4.doctor.findings import Finding, Place, some
from minigpt4.doctor.gathering import Facts
from minigpt4.doctor.patients import Patient


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeats:
    """Repeated keys, in the order of their first occurrence.

    Attributes:
        groups: Places (in the columns of ``Facts``) of each key that occurs more than once.
    """

    groups: list[NDArray[np.int64]]

    @property
    def extra(self) -> int:
        """Occurrences beyond the first of each key."""
        return sum(len(group) - 1 for group in self.groups)


def repeats(*columns: NDArray[np.int32]) -> Repeats:
    """Samples that agree in all of some columns of codes, each of shape (samples,)."""
    order = np.lexsort(columns[::-1])
    changes = np.zeros(max(len(order) - 1, 0), dtype=bool)
    for column in columns:
        changes |= np.diff(column[order]) != 0
    groups = np.split(order, np.flatnonzero(changes) + 1)
    # lexsort is stable, so within a group the places ascend.
    found = sorted((group for group in groups if len(group) > 1), key=lambda group: int(group[0]))
    return Repeats(groups=found)


def conflicting(pairs: Repeats, answers: NDArray[np.int32]) -> Repeats:
    """Those of the repeated pairs whose answers are not all the same."""
    groups = [group for group in pairs.groups if len(np.unique(answers[group])) > 1]
    return Repeats(groups=groups)


def duplicate_findings(
    patient: Patient, facts: Facts, answers: Sequence[str]
) -> tuple[list[Finding], Mapping[str, int]]:
    """Repeated pairs of picture and question, and their figures.

    Questions and answers are the same when they are but for case, Unicode form and white space.
    A picture with several captions, or a phrase for a box with several phrases, is no conflict.

    Args:
        patient: The data set.
        facts: Its samples.
        answers: Text of each answer code.
    """
    exact = repeats(facts.pictures, facts.questions, facts.answers)
    figures = {"exact_duplicates": len(exact.groups), "exact_extra_rows": exact.extra}
    found = []
    if patient.has_one_answer:
        pairs = repeats(facts.pictures, facts.questions)
        conflicts = conflicting(pairs, facts.answers)
        figures |= {
            "repeated_pairs": len(pairs.groups),
            "extra_rows": pairs.extra,
            "conflicting_pairs": len(conflicts.groups),
        }
        if pairs.groups:
            found.append(_repeated(patient, facts, pairs))
        if conflicts.groups:
            found.append(_conflicting(patient, facts, conflicts, answers))
    if exact.groups:
        found.append(_exact(patient, facts, exact))
    return found, figures


def _repeated(patient: Patient, facts: Facts, pairs: Repeats) -> Finding:
    many = "picture-question pairs occur"
    return Finding(
        code="repeated_pair",
        severity="note",
        dataset=patient.label,
        summary=f"{some(len(pairs.groups), 'picture-question pair occurs', many)} more than once "
        f"({some(pairs.extra, 'extra row')}).",
        remedy="Keep one row of each pair where they should not weigh more than others.",
        places=_places(patient, facts, pairs),
        figures={"pairs": len(pairs.groups), "extra_rows": pairs.extra},
    )


def _exact(patient: Patient, facts: Facts, exact: Repeats) -> Finding:
    return Finding(
        code="exact_duplicate",
        severity="note",
        dataset=patient.label,
        summary=f"{some(len(exact.groups), 'sample occurs', 'samples occur')} more than once, "
        f"answer included ({some(exact.extra, 'extra row')}).",
        remedy="Keep one row of each.",
        places=_places(patient, facts, exact),
        figures={"samples": len(exact.groups), "extra_rows": exact.extra},
    )


def _conflicting(
    patient: Patient, facts: Facts, conflicts: Repeats, answers: Sequence[str]
) -> Finding:
    one, many = (f"picture-question pair{end} different answers" for end in (" has", "s have"))
    rows = sum(map(len, conflicts.groups))
    places = []
    for group in conflicts.groups:
        first = patient.place(int(facts.numbers[group[0]])).short
        for index in group.tolist():
            answer = answers[facts.answers[index]]
            what = f"{answer!r}" if index == group[0] else f"{answer!r}, asked as in {first}"
            places.append(patient.place(int(facts.numbers[index]), what))
    return Finding(
        code="conflicting_answers",
        severity=patient.severity("warning"),
        dataset=patient.label,
        summary=f"{some(len(conflicts.groups), one, many)} ({some(rows, 'row')}).",
        remedy="Decide for one answer each: the model cannot learn both, and a test can only "
        "count one as right.",
        places=places,
        figures={"pairs": len(conflicts.groups), "rows": rows},
    )


def _places(patient: Patient, facts: Facts, found: Repeats) -> list[Place]:
    """Every occurrence beyond the first."""
    places = []
    for group in found.groups:
        what = f"the same as {patient.place(int(facts.numbers[group[0]])).short}"
        places += [patient.place(int(facts.numbers[index]), what) for index in group[1:]]
    return places
