"""What the doctor finds: one ``Finding`` for each kind of mistake in each data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""Worst first. Errors keep a run from starting or from finishing; warnings make it learn or measure
something else than was meant; notes are good to know."""

Value = int | float | str | None


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was found.

    Attributes:
        file: The annotation file, the shard's member or the key of the configuration.
        row: The row's number in the file, from 0; None where it is about the whole.
        what: What is there.
    """

    file: str
    row: int | None
    what: str

    @property
    def short(self) -> str:
        """Where it is, for those who know the file."""
        return self.file if self.row is None else f"row {self.row}"

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}, row {self.row}"
        return f"{where}: {self.what}" if self.what else where


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of mistake in one data set.

    Attributes:
        code: Its name for scripts: ``missing_picture``, ``conflicting_answers`` ...
        severity: How bad it is.
        dataset: The data set's key and split.
        summary: What was found and how often, in one sentence.
        remedy: What to do, in one sentence.
        places: All of its places.
        figures: Its counts by name.
    """

    code: str
    severity: Severity
    dataset: str
    summary: str
    remedy: str
    places: Sequence[Place] = field(default=(), repr=False)
    figures: Mapping[str, Value] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """For files."""
        return {
            "code": self.code,
            "severity": self.severity,
            "dataset": self.dataset,
            "summary": self.summary,
            "remedy": self.remedy,
            "figures": dict(self.figures),
            "places": [{"file": p.file, "row": p.row, "what": p.what} for p in self.places],
        }


def count_severities(findings: Sequence[Finding]) -> dict[Severity, int]:
    """How many findings there are of each severity."""
    return {each: sum(f.severity == each for f in findings) for each in SEVERITIES}


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Errors, warnings, notes; the order within each is kept."""
    return sorted(findings, key=lambda each: SEVERITIES.index(each.severity))


def some(count: int, one: str, many: str | None = None) -> str:
    """``1 row``, ``2,345 rows``."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def share(part: int, whole: int) -> str:
    """A share as a reader sees it, such as ``12.3 %``."""
    return f"{100 * part / whole:.1f} %" if whole else "–"
