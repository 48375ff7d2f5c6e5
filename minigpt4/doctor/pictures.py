"""Pictures: missing, broken, of another size than annotated, the same under several names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minigpt4.doctor.findings import Finding, Place, some
from minigpt4.doctor.gathering import NO_CODE, Facts
from minigpt4.doctor.patients import Patient
from minigpt4.doctor.probing import Probe, probe_all


@dataclass
class Album:
    """The pictures of all data sets of an examination.

    Attributes:
        names: Name by code.
        probes: What each file holds, by its path; files that are not there have none.
        paths: Path by data set (its place in the examination) and code.
        further: Paths of the second and later pictures of samples, by data set.
    """

    names: Sequence[str]
    probes: dict[str, Probe] = field(default_factory=dict)
    paths: dict[tuple[int, int], str] = field(default_factory=dict)
    further: dict[int, list[str]] = field(default_factory=dict)

    def probe(self, patient: int, code: int) -> Probe | None:
        """What the file of a data set's picture holds; None where there is none."""
        path = self.paths.get((patient, code))
        return None if path is None else self.probes.get(path)

    def content(self, patient: int, codes: NDArray[np.int32]) -> NDArray[np.object_]:
        """What tells pictures apart, each code's: its bytes' hash, or its name without a file."""
        keys: dict[int, str | None] = {NO_CODE: None}
        for code in np.unique(codes).tolist():
            if code != NO_CODE:
                found = self.probe(patient, code)
                keys[code] = found.digest if found and found.digest else self.names[code]
        return np.array([keys[code] for code in codes.tolist()], dtype=object)


def look_at_pictures(
    patients: Sequence[Patient], facts: Sequence[Facts], names: Sequence[str], *, read: bool
) -> Album:
    """Read every picture once, whatever the number of samples and data sets that show it.

    Those of files that the configuration does not name are compared, but not decoded.

    Args:
        patients: The data sets.
        facts: Their samples.
        names: Name of each picture by its code.
        read: False to leave all files alone.
    """
    album = Album(names)
    decode: dict[str, bool] = {}
    for place, (patient, seen) in enumerate(zip(patients, facts, strict=True)):
        if patient.records is None or patient.blank:
            continue
        missing = set(patient.faults.missing)
        for code in np.unique(seen.pictures).tolist():
            if code == NO_CODE or names[code] in missing:
                continue
            path = patient.records.picture_path(names[code])
            album.paths[place, code] = path
            decode[path] = decode.get(path, False) or not patient.companion
        if patient.records.spec.pictures > 1 and not patient.companion:
            first = set(album.paths.values())
            others = [path for path in patient.records.image_paths() if path not in first]
            album.further[place] = [path for path in others if Path(path).is_file()]
            decode.update(dict.fromkeys(album.further[place], True))
    if read:
        jobs = list(decode.items())
        album.probes = dict(zip(decode, probe_all(jobs), strict=True))
    return album


def picture_findings(patient: Patient, facts: Facts, album: Album, number: int) -> list[Finding]:
    """What is wrong with a data set's pictures.

    Args:
        patient: The data set.
        facts: Its samples.
        album: All pictures.
        number: The data set's place in the examination.
    """
    if patient.records is None or patient.blank or patient.companion:
        return []
    codes, first, counts = np.unique(facts.pictures, return_index=True, return_counts=True)
    pictures = sorted(
        (int(facts.numbers[index]), code, count)
        for code, index, count in zip(codes.tolist(), first, counts.tolist(), strict=True)
        if code != NO_CODE
    )
    gone = set(patient.faults.missing)
    missing, broken, turned, samples = [], [], [], {"missing": 0, "broken": 0}
    shown: dict[str, list[tuple[str, int]]] = {}
    for row, code, count in pictures:
        name = album.names[code]
        found = album.probe(number, code)
        if name in gone:
            missing.append(patient.place(row, f"{name} ({some(count, 'sample')})"))
            samples["missing"] += count
        elif found is not None and found.mistake:
            broken.append(patient.place(row, f"{found.mistake} ({some(count, 'sample')})"))
            samples["broken"] += count
        elif found is not None:
            shown.setdefault(found.digest, []).append((name, row))
            if found.turned:
                turned.append(patient.place(row, name))
    for path in album.further.get(number, ()):
        if mistake := album.probes[path].mistake if path in album.probes else "":
            broken.append(Place(patient.files[0], None, mistake))
    named = {album.names[code] for _, code, _ in pictures}
    missing += [Place(patient.files[0], None, name) for name in sorted(gone - named)]
    count = len(named | gone) + len(album.further.get(number, ()))
    result = []
    if missing:
        result.append(_absent(patient, missing, samples["missing"], count))
    if broken:
        result.append(_broken(patient, broken, samples["broken"], count))
    if turned:
        result.append(_turned(patient, turned))
    same = [names for names in shown.values() if len(names) > 1]
    if same:
        result.append(_same(patient, same))
    return result + _sizes(patient, facts, album, number)


def _absent(patient: Patient, places: list[Place], samples: int, count: int) -> Finding:
    verb = "is missing" if len(places) == 1 else "are missing"
    what = (
        "None of its pictures is there"
        if len(places) == count
        else f"{len(places):,} of {count:,} pictures {verb}"
    )
    return Finding(
        code="missing_picture",
        severity=patient.severity("error", may_skip="on_broken"),
        dataset=patient.label,
        summary=f"{what} ({some(samples, 'sample')}).",
        remedy=_remedy(patient, "Put them there (data/README.md says how), correct the folder"),
        places=places,
        figures={"pictures": len(places), "samples": samples},
    )


def _broken(patient: Patient, places: list[Place], samples: int, count: int) -> Finding:
    return Finding(
        code="broken_picture",
        severity=patient.severity("error", may_skip="on_broken"),
        dataset=patient.label,
        summary=f"{len(places):,} of {count:,} pictures cannot be read "
        f"({some(samples, 'sample')}).",
        remedy=_remedy(patient, "Fetch them again, take their rows out"),
        places=places,
        figures={"pictures": len(places), "samples": samples},
    )


def _remedy(patient: Patient, what: str) -> str:
    if patient.role == "train":
        return f"{what}, or train without them with {patient.key}.build_info.on_broken=skip."
    return f"{what}."


def _turned(patient: Patient, places: list[Place]) -> Finding:
    return Finding(
        code="turned_picture",
        severity=patient.severity("warning"),
        dataset=patient.label,
        summary=f"{some(len(places), 'picture is', 'pictures are')} shown turned elsewhere (EXIF), "
        "as photographs of telephones are; the model sees them as they are stored.",
        remedy="Save them upright (mogrify -auto-orient *.jpg); boxes that were drawn on the "
        "upright picture are wrong otherwise.",
        places=places,
        figures={"pictures": len(places)},
    )


def _same(patient: Patient, same: list[list[tuple[str, int]]]) -> Finding:
    places = [
        patient.place(row, f"{name} is {names[0][0]}") for names in same for name, row in names[1:]
    ]
    return Finding(
        code="same_picture",
        severity="note",
        dataset=patient.label,
        summary=f"{some(len(same), 'picture lies', 'pictures lie')} there under several names "
        f"({len(places):,} copies).",
        remedy="Keep one of each where they are not meant to count several times.",
        places=places,
        figures={"pictures": len(same), "copies": len(places)},
    )


def _sizes(patient: Patient, facts: Facts, album: Album, number: int) -> list[Finding]:
    """Rows whose ``width`` and ``height`` are not those of the file, so that boxes are off."""
    assert patient.records is not None
    table = patient.records.table
    if patient.box_form is None or not {"width", "height"} <= set(table.names):
        return []
    places = []
    for row, code in zip(facts.numbers.tolist(), facts.pictures.tolist(), strict=True):
        found = album.probe(number, code)
        if found is None or found.size is None:
            continue
        said: Any = (table.value(row, "width"), table.value(row, "height"))
        if not _equal(said, found.size):
            places.append(
                patient.place(row, f"{said[0]} by {said[1]}, the file {found.size[0]} by "
                              f"{found.size[1]}")
            )  # fmt: skip
    if not places:
        return []
    return [
        Finding(
            code="wrong_size",
            severity=patient.severity("warning"),
            dataset=patient.label,
            summary=f"{some(len(places), 'row gives', 'rows give')} another size than the picture "
            "file has.",
            remedy="Boxes in pixels are converted by the annotated size: use the pictures that "
            "were annotated, correct width and height, or save turned pictures upright.",
            places=places,
            figures={"rows": len(places)},
        )
    ]


def _equal(said: tuple[Any, Any], size: tuple[int, int]) -> bool:
    try:
        return (float(said[0]), float(said[1])) == size
    except (TypeError, ValueError):
        return False


def overview(facts: Facts, album: Album, number: int) -> Mapping[str, int]:
    """How many pictures a data set has, and how many of them were read."""
    codes = [code for code in np.unique(facts.pictures).tolist() if code != NO_CODE]
    return {
        "pictures": len(codes),
        "read": sum(album.probe(number, code) is not None for code in codes),
    }
