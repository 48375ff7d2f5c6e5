"""What a report says about an evaluation: its numbers, tables, plots and samples as sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from minigpt4.reports.detection_sections import detection_sections
from minigpt4.reports.object_sections import object_sections
from minigpt4.reports.page import Section
from minigpt4.reports.refer_sections import refer_sections
from minigpt4.reports.run_facts import describe_run, run_sections
from minigpt4.reports.vqa_sections import vqa_sections
from minigpt4.scoring.prediction import Prediction

__all__ = ["describe_run", "evaluation_sections"]

_COMPOSE: dict[str, Callable[..., list[Section]]] = {
    "vqa": vqa_sections,
    "detection": detection_sections,
    "objects": object_sections,
    "refer": refer_sections,
}


def evaluation_sections(
    kind: str,
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    *,
    run: Mapping[str, Any] | None = None,
) -> list[Section]:
    """All sections of one evaluation's report, the headline first and the samples last.

    Args:
        kind: ``vqa``, ``detection``, ``objects`` or ``refer``.
        metrics: As its scoring gave them; what older files do not hold is left out.
        predictions: What was scored.
        run: What made the predictions: the first line of their file.
    """
    overlap = run.get("overlap") if run else None
    headline, *rest = _COMPOSE[kind](metrics, predictions, overlap=overlap)
    return [headline, *(run_sections(run, len(predictions)) if run else ()), *rest]
