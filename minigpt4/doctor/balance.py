"""How evenly a data set is made up: answers, classes, types of question, share of defects."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from minigpt4.doctor.findings import Finding, Place, share
from minigpt4.doctor.gathering import NO_CODE, Facts
from minigpt4.doctor.patients import Patient

_ONE_SIDED = 0.5
"""Share of one answer above which always giving it looks like knowledge."""
_FEWEST = 20
"""Samples below which a share says nothing."""


@dataclass(frozen=True, kw_only=True)
class Balance:
    """What a data set is made up of.

    Attributes:
        answers: Samples by answer (its boxes left out), most frequent first.
        groups: Samples by value, of the columns ``class`` and ``type``.
        good: Samples without a defect, by class; empty where that is not known.
        broken: Samples with one.
    """

    answers: Counter[str] = field(default_factory=Counter)
    groups: dict[str, Counter[str]] = field(default_factory=dict)
    good: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)

    @property
    def classes(self) -> list[str]:
        """Classes with a known state."""
        return sorted({*self.good, *self.broken})


def balance_of(facts: Facts, labels: list[str]) -> Balance:
    """Count what a data set is made up of.

    Args:
        facts: Its samples.
        labels: Text of each label code.
    """
    codes, counts = np.unique(facts.labels[facts.labels != NO_CODE], return_counts=True)
    order = np.argsort(-counts, kind="stable")
    answers = Counter({labels[codes[i]]: int(counts[i]) for i in order.tolist()})
    states: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    for (name, is_broken), count in facts.states.items():
        states[is_broken][name] += count
    return Balance(
        answers=answers,
        groups={
            name: Counter(dict(each.most_common()))
            for name, each in facts.groups.items()
            if len(each) > 1
        },
        good=states[False],
        broken=states[True],
    )


def balance_findings(patient: Patient, balance: Balance) -> list[Finding]:
    """Answers or classes that are far from balanced."""
    total = balance.answers.total()
    found = []
    if patient.has_one_answer and total >= _FEWEST and not balance.classes:
        text, count = next(iter(balance.answers.items()))
        if count > _ONE_SIDED * total:
            found.append(
                Finding(
                    code="one_sided_answers",
                    severity="note",
                    dataset=patient.label,
                    summary=f"{text!r} is the answer of {count:,} of {total:,} samples "
                    f"({share(count, total)}).",
                    remedy="Always giving this answer is right as often: compare figures with it.",
                    places=[Place(patient.files[0], None, f"{count:,} rows")],
                    figures={"samples": count, "of": total},
                )
            )
    for state, counts in (("without", balance.good), ("with", balance.broken)):
        lacking = [name for name in balance.classes if not counts[name]]
        if lacking:
            found.append(
                Finding(
                    code="one_sided_class",
                    severity="note",
                    dataset=patient.label,
                    summary=f"No sample {state} a defect: {', '.join(lacking)}.",
                    remedy="What is right can be told from the class alone: add such samples.",
                    places=[Place(patient.files[0], None, name) for name in lacking],
                    figures={"classes": len(lacking)},
                )
            )
    return found
