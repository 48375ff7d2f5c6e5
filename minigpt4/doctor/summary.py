"""An examination as lines for the terminal and as a dictionary for scripts."""

from __future__ import annotations

from typing import Any

from minigpt4.doctor.examination import Checkup, Examination
from minigpt4.doctor.findings import Finding, count_severities, some

_SHOWN = 3
"""Places of a finding that are printed; the files hold all of them."""


def summary_lines(examination: Examination) -> list[str]:
    """What was looked at and what was found, worst first."""
    lines = [_described(checkup) for checkup in examination.checkups]
    lines += [f"{key}: only names processors; nothing is trained" for key in examination.unused]
    for finding in examination.findings:
        lines += ["", *_finding_lines(finding)]
    counts = count_severities(examination.findings)
    total = ", ".join(some(count, severity) for severity, count in counts.items())
    return [*lines, "", f"{total} (kinds of findings)"]


def _described(checkup: Checkup) -> str:
    figures, patient = checkup.figures, checkup.patient
    counted = [some(len(checkup.facts), "sample")]
    if pictures := figures["pictures"]:
        counted.append(f"{some(int(pictures), 'picture')}, {figures['read']:,} read")
    if patient.records is None:
        counted.append("of a stream")
    return f"{patient.label}: {', '.join(counted)}; {', '.join(patient.files[:3])}"


def _finding_lines(finding: Finding) -> list[str]:
    lines = [f"{finding.severity}: {finding.dataset}: {finding.summary}"]
    lines += [f"    {place}" for place in finding.places[:_SHOWN]]
    if len(finding.places) > _SHOWN:
        lines.append(f"    and {len(finding.places) - _SHOWN:,} more")
    return [*lines, f"    -> {finding.remedy}"]


def to_dict(examination: Examination, *, cfg_path: str) -> dict[str, Any]:
    """Everything that was found, with all places."""
    return {
        "cfg_path": cfg_path,
        "counts": count_severities(examination.findings),
        "datasets": [
            {
                "dataset": checkup.patient.label,
                "key": checkup.patient.key,
                "split": checkup.patient.split,
                "role": checkup.patient.role,
                "companion": checkup.patient.companion,
                "files": checkup.patient.files,
                **checkup.figures,
            }
            for checkup in examination.checkups
        ],
        "unused": list(examination.unused),
        "findings": [finding.to_dict() for finding in examination.findings],
    }
