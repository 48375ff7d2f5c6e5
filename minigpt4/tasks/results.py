"""From predictions to what an evaluation leaves: metrics, answers, report."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from minigpt4.common.files import write_json
from minigpt4.common.metrics import percent
from minigpt4.scoring.kinds import Kind, ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction

logger = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class EvalResult:
    """What an evaluation gave.

    Attributes:
        name: The entry of ``evaluation_datasets``, or ``<entry>_<split>``.
        kind: ``vqa``, ``detection``, ``objects`` or ``refer``.
        metrics: See the kind's scoring; also in the file ``metrics``. Empty in all but the main
            one of several processes.
        predictions: In the order of the data.
        files: ``predictions``, ``answers``, ``metrics`` and ``report``.
    """

    name: str
    kind: str
    metrics: dict[str, Any]
    predictions: list[Prediction]
    files: dict[str, Path] = field(default_factory=dict)

    def line(self) -> str:
        """The metric that stands for the evaluation, with its 95 % interval, in one line."""
        name = get_kind(self.kind).primary
        text = f"{self.name}: {name} {percent(self.metrics.get(name))}"
        interval = (self.metrics.get("intervals") or {}).get(name)
        if interval is not None:
            text += f" (95 % interval {percent(interval[0])} to {percent(interval[1])})"
        return f"{text}, {len(self.predictions)} samples"


def score_and_write(
    folder: Path,
    run: Mapping[str, Any],
    predictions: list[Prediction],
    *,
    report: bool = True,
) -> EvalResult:
    """Score predictions and write every file but theirs.

    Args:
        folder: Where files go.
        run: What made the predictions; ``name``, ``kind`` and ``score_options`` decide. Its
            ``baselines`` are shown beside the metrics.
        predictions: In the order of the data.
        report: Also write the HTML page.
    """
    kind = get_kind(run["kind"], metric=run["score_options"].get("metric"))
    name = run["name"]
    metrics = kind.score(predictions, ScoreOptions.from_mapping(run["score_options"]))
    if (run.get("identity") or {}).get("resample") is not None:
        metrics["resampled"] = resampling(predictions, kind)
    if run.get("baselines"):
        metrics["baselines"] = run["baselines"]
    files = {
        "answers": folder / kind.answers_file.format(name=name),
        "metrics": folder / f"{name}_metrics.json",
    }
    write_json(files["answers"], kind.answers(predictions))
    write_json(files["metrics"], {"run": dict(run), "metrics": metrics})
    if report:
        from minigpt4.reports.page import write_report
        from minigpt4.reports.sections import describe_run, evaluation_sections

        files["report"] = folder / f"{name}_report.html"
        write_report(
            files["report"],
            title=f"Evaluation on {name}",
            subtitle=describe_run(run),
            sections=evaluation_sections(kind.name, metrics, predictions, run=run),
        )
    logger.info("%s%s:", name, ", every picture blanked" if run.get("blank") else "")
    for line in (*kind.summary(metrics), *_more_lines(metrics, kind.primary)):
        logger.info("%s", line)
    return EvalResult(
        name=name, kind=kind.name, metrics=metrics, predictions=predictions, files=files
    )


def resampling(predictions: Sequence[Prediction], kind: Kind) -> dict[str, int]:
    """What asking again came to: answers asked again, rounds, and answers that remain unread."""
    return {
        "asked": sum(each.tries > 0 for each in predictions),
        "rounds": max((each.tries for each in predictions), default=0),
        "remaining": sum(not kind.can_read(each) for each in predictions),
    }


def _more_lines(metrics: Mapping[str, Any], primary: str) -> Iterator[str]:
    if "resampled" in metrics:
        counts = metrics["resampled"]
        yield (
            f"Resampled {counts['asked']} answers that could not be read, in {counts['rounds']} "
            f"rounds; {counts['remaining']} remain"
        )
    for each in metrics.get("baselines", {}).values():
        yield f"Without looking, {each['description']}: {primary} {percent(each.get(primary))}"
