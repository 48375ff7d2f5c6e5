"""All checks on all data sets of a configuration."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

from minigpt4.common.config import Config
from minigpt4.common.errors import UserError
from minigpt4.common.logger import progress
from minigpt4.datasets.streams.dataset import StreamDataset
from minigpt4.doctor.balance import Balance, balance_findings, balance_of
from minigpt4.doctor.boxes import BoxCheck, row_findings
from minigpt4.doctor.duplicates import duplicate_findings
from minigpt4.doctor.findings import Finding, Place, Value, some, worst_first
from minigpt4.doctor.gathering import Facts, RowCheck, Vocabulary, gather
from minigpt4.doctor.opening import admit
from minigpt4.doctor.overlap import compare_all, overlap_findings
from minigpt4.doctor.patients import Patient
from minigpt4.doctor.pictures import Album, look_at_pictures, overview, picture_findings
from minigpt4.doctor.texts import TextCheck
from minigpt4.doctor.tokens import Spelling, TokenCheck, spelling_or_note


@dataclass(kw_only=True)
class Checkup:
    """One data set and what was seen of it.

    Attributes:
        patient: The data set.
        facts: Its samples.
        balance: What it is made up of.
        tokens: Its lengths; None without a tokenizer.
        figures: Its counts by name.
    """

    patient: Patient
    facts: Facts
    balance: Balance
    tokens: TokenCheck | None
    figures: dict[str, Value] = field(default_factory=dict)


@dataclass(kw_only=True)
class Examination:
    """Everything that was seen.

    Attributes:
        checkups: Data sets that could be opened.
        findings: What is wrong, worst first.
        album: Their pictures.
        spelling: The model's tokenizer; None where it cannot be had.
        unused: Entries of the configuration that only name processors.
    """

    checkups: Sequence[Checkup]
    findings: Sequence[Finding]
    album: Album
    spelling: Spelling | None
    unused: Sequence[str]


def examine(cfg: Config, *, read_pictures: bool = True) -> Examination:
    """Look at every sample that a configuration would train or test on.

    Args:
        cfg: The configuration; no weights are loaded.
        read_pictures: False to only see whether the pictures are there.
    Raises:
        ConfigError: The configuration names no data.
    """
    admission = admit(cfg)
    spelling, findings = spelling_or_note(cfg.model())
    findings = [*admission.findings, *findings]
    vocabulary = Vocabulary()
    seen = []
    patients = []
    for patient in progress(admission.patients, desc="annotations", unit="data sets"):
        try:
            seen.append(_look(patient, vocabulary, spelling))
            patients.append(patient)
        except UserError as error:  # a stream's shards are only opened now
            findings.append(_unreadable(patient, error))
        finally:
            if isinstance(patient.dataset, StreamDataset):
                patient.dataset.stop()
    facts = [each.facts for each, _ in seen]
    labels, answers = vocabulary.labels.texts(), vocabulary.answers.texts()
    pictures = vocabulary.pictures.texts()
    album = look_at_pictures(patients, facts, pictures, read=read_pictures)
    checkups = []
    for number, (patient, (looked, checks)) in enumerate(zip(patients, seen, strict=True)):
        looked.balance = balance_of(looked.facts, labels)
        repeated, figures = duplicate_findings(patient, looked.facts, answers)
        looked.figures = {
            "samples": len(looked.facts),
            **overview(looked.facts, album, number),
            **figures,
            **({} if patient.names_objects else {"answers": len(looked.balance.answers)}),
            **(looked.tokens.cut() if looked.tokens else {}),
        }
        findings += [
            *row_findings(patient),
            *_unusable(patient, looked.facts),
            *picture_findings(patient, looked.facts, album, number),
            *itertools.chain.from_iterable(check.findings() for check in checks),
            *repeated,
            *balance_findings(patient, looked.balance),
        ]
        checkups.append(looked)
    for overlap in compare_all(patients, facts, album):
        shared, shared_figures = overlap_findings(
            overlap, patients, facts, labels=labels, pictures=pictures
        )
        findings += shared
        checkups[overlap.test].figures.update(shared_figures)
    return Examination(
        checkups=checkups,
        findings=worst_first(findings),
        album=album,
        spelling=spelling,
        unused=admission.unused,
    )


def _look(
    patient: Patient, vocabulary: Vocabulary, spelling: Spelling | None
) -> tuple[Checkup, list[RowCheck]]:
    checks: list[RowCheck] = [TextCheck(patient), BoxCheck(patient)]
    tokens = TokenCheck(patient, spelling.for_role(patient.role)) if spelling else None
    if tokens is not None:
        checks.append(tokens)
    facts = gather(patient, vocabulary, checks)
    return Checkup(patient=patient, facts=facts, balance=Balance(), tokens=tokens), checks


def _unreadable(patient: Patient, error: UserError) -> Finding:
    return Finding(
        code="cannot_read",
        severity="error",
        dataset=patient.label,
        summary=f"It cannot be read: {error}",
        remedy="Do what the message says; what else is wrong shows once it can be read.",
        places=[Place(patient.files[0], None, str(error))],
    )


def _unusable(patient: Patient, facts: Facts) -> list[Finding]:
    """Rows that passed the checks on opening but make no sample, and members of streams."""
    found = []
    if facts.unusable:
        found.append(
            Finding(
                code="unusable_row",
                severity=patient.severity("error"),
                dataset=patient.label,
                summary=f"{some(len(facts.unusable), 'row makes', 'rows make')} no sample.",
                remedy="Correct them or take them out of the file.",
                places=[patient.place(number, what) for number, what in facts.unusable],
                figures={"rows": len(facts.unusable)},
            )
        )
    if skipped := patient.skipped_members():
        found.append(
            Finding(
                code="unusable_member",
                severity=patient.severity("warning"),
                dataset=patient.label,
                summary=f"{some(len(skipped), 'member')} around the first "
                f"{some(patient.sampled, 'sample')} cannot be used and are passed over.",
                remedy="Training counts and passes over them too; make the shards anew where "
                "there are many.",
                places=[Place("", None, sentence) for sentence in skipped],
                figures={"members": len(skipped)},
            )
        )
    return found
