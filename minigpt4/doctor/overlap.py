"""What a test set shares with training, and what it asks that training never answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from minigpt4.datasets.overlap import PAIR, Comparison, Keys, compare
from minigpt4.doctor.findings import Finding, Place, Value, share, some
from minigpt4.doctor.gathering import NO_CODE, Facts
from minigpt4.doctor.patients import Patient
from minigpt4.doctor.pictures import Album


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """A test set against all training sets of its kind.

    Attributes:
        test: Place of the test set in the examination.
        training: Places of the training sets of its kind.
        keys: What each data set's samples are compared by.
        comparison: Pairs, pictures and answers that they share.
        shown: Whether each sample's picture is in any training set, shape (samples,).
        pictures: Different pictures of the test set that are in any training set.
        by_content: Whether some pictures could be compared by their files' bytes.
    """

    test: int
    training: Sequence[int]
    keys: Sequence[Sequence[Keys]]
    comparison: Comparison
    shown: np.ndarray
    pictures: int
    by_content: bool


def compare_all(patients: Sequence[Patient], facts: Sequence[Facts], album: Album) -> list[Overlap]:
    """Compare every test set with training.

    Pairs and answers are compared with training sets of the same kind, whose questions are worded
    alike; pictures with all of them.
    """
    contents = [album.content(place, seen.pictures) for place, seen in enumerate(facts)]
    keys = [_keys(seen, content) for seen, content in zip(facts, contents, strict=True)]
    training = [place for place, patient in enumerate(patients) if patient.role == "train"]
    found = []
    for test, patient in enumerate(patients):
        beside = [place for place in training if patients[place].goes_with(patient)]
        same = [place for place in beside if patients[place].is_counterpart(patient)]
        if patient.role != "test" or not beside or not len(facts[test]):
            continue
        known = {key for place in beside for key in contents[place] if key is not None}
        shown = np.array([key in known for key in contents[test]], dtype=bool)
        found.append(
            Overlap(
                test=test,
                training=same,
                keys=keys,
                comparison=compare(keys[test], (key for p in same for key in keys[p])),
                shown=shown,
                pictures=len({key for key in contents[test] if key in known}),
                by_content=any(
                    (probe := album.probe(test, code)) is not None and probe.digest
                    for code in np.unique(facts[test].pictures).tolist()
                ),
            )
        )
    return found


def _keys(facts: Facts, content: np.ndarray) -> list[Keys]:
    # Where an answer is boxes, what training may lack is the label.
    columns = content.tolist(), facts.questions.tolist(), facts.labels.tolist()
    return [Keys(*each) for each in zip(*columns, strict=True)]


def overlap_findings(
    overlap: Overlap,
    patients: Sequence[Patient],
    facts: Sequence[Facts],
    *,
    labels: Sequence[str],
    pictures: Sequence[str],
) -> tuple[list[Finding], Mapping[str, Value]]:
    """What a test set shares with training, and its figures.

    Args:
        overlap: The comparison.
        patients: The data sets.
        facts: Their samples.
        labels: Text of each label code.
        pictures: Name of each picture code.
    """
    patient, seen = patients[overlap.test], facts[overlap.test]
    found = []
    figures: dict[str, Value] = {"shared_pictures": overlap.pictures}
    files = ", ".join(file for place in overlap.training for file in patients[place].files)
    rows = np.flatnonzero(overlap.shown)
    if len(rows):
        named = [pictures[code] for code in seen.pictures[rows].tolist()]
        found.append(_pictures(patient, seen, overlap, rows.tolist(), named))
    if not overlap.training:
        return found, figures
    comparison = overlap.comparison
    if comparison.asks:
        pairs = [i for i, kind in enumerate(comparison.overlaps) if kind == PAIR]
        figures["shared_pairs"] = len(pairs)
        if pairs:
            twins = _twins(overlap, pairs, patients, facts)
            found.append(_pairs(patient, seen, pairs, twins, files))
    if patient.names_objects:
        trained = {name for place in overlap.training for name in facts[place].groups["class"]}
        lacking = [item for item in seen.groups["class"].most_common() if item[0] not in trained]
        figures["unseen_classes"] = len(lacking)
        if lacking:
            found.append(_unseen_classes(patient, lacking, files))
    elif patient.has_one_answer:
        codes = seen.labels.tolist()
        unseen = [
            i for i, count in enumerate(comparison.train_counts)
            if not count and codes[i] != NO_CODE
        ]  # fmt: skip
        figures["unseen_answers"] = len(unseen)
        if unseen:
            places = _places(patient, seen, unseen, [repr(labels[codes[i]]) for i in unseen])
            found.append(_unseen(patient, len(seen), places, files))
    return found, figures


def _twins(
    overlap: Overlap, pairs: Sequence[int], patients: Sequence[Patient], facts: Sequence[Facts]
) -> list[str]:
    """Where training asks the same, for each pair."""
    wanted = {overlap.keys[overlap.test][index][:2] for index in pairs}
    twins: dict[tuple[object, object], str] = {}
    for place in overlap.training:
        for index, key in enumerate(overlap.keys[place]):
            if key[:2] in wanted and key[:2] not in twins:
                twins[key[:2]] = str(patients[place].place(int(facts[place].numbers[index])))
    return [f"as in {twins[overlap.keys[overlap.test][index][:2]]}" for index in pairs]


def _pictures(
    patient: Patient, facts: Facts, overlap: Overlap, rows: list[int], named: list[str]
) -> Finding:
    total = len(np.unique(facts.pictures[facts.pictures != NO_CODE]))
    how = "by content" if overlap.by_content else "by name, for the files are not compared"
    return Finding(
        code="shared_pictures",
        severity=patient.severity("warning"),
        dataset=patient.label,
        summary=f"{overlap.pictures:,} of {total:,} test pictures "
        f"({share(overlap.pictures, total)}) are also in training, {how} "
        f"({some(len(rows), 'row')}).",
        remedy="Report the figure on the other rows as well (evaluations do), or split by "
        "pictures.",
        places=_places(patient, facts, rows, named),
        figures={"pictures": overlap.pictures, "of": total, "rows": len(rows)},
    )


def _pairs(
    patient: Patient, facts: Facts, pairs: list[int], twins: list[str], files: str
) -> Finding:
    many = "test rows ask what training asks"
    return Finding(
        code="shared_pairs",
        severity=patient.severity("warning"),
        dataset=patient.label,
        summary=f"{some(len(pairs), 'test row asks what training asks', many)} about the same "
        f"picture ({files}).",
        remedy="Take them out of training; they measure memory.",
        places=_places(patient, facts, pairs, twins),
        figures={"rows": len(pairs)},
    )


def _unseen(patient: Patient, count: int, places: list[Place], files: str) -> Finding:
    return Finding(
        code="unseen_answers",
        severity=patient.severity("warning"),
        dataset=patient.label,
        summary=f"{len(places):,} of {count:,} test rows have an answer that never occurs in "
        f"training ({files}).",
        remedy="A model that learned its answers from this training set cannot give them: add "
        "such samples, or know the ceiling.",
        places=places,
        figures={"rows": len(places)},
    )


def _unseen_classes(patient: Patient, lacking: list[tuple[str, int]], files: str) -> Finding:
    return Finding(
        code="unseen_classes",
        severity=patient.severity("warning"),
        dataset=patient.label,
        summary=f"{some(len(lacking), 'class occurs', 'classes occur')} in the test set but never "
        f"in training ({files}): {', '.join(name for name, _ in lacking[:8])}.",
        remedy="Add samples of them, or leave them out of the test (build_info.classes).",
        places=[
            Place(patient.files[0], None, f"{name} ({some(count, 'object')})")
            for name, count in lacking
        ],
        figures={"classes": len(lacking)},
    )


def _places(
    patient: Patient, facts: Facts, rows: Sequence[int], what: Sequence[str]
) -> list[Place]:
    return [
        patient.place(int(facts.numbers[row]), text) for row, text in zip(rows, what, strict=True)
    ]
