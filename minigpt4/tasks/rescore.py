"""Metrics and report of saved predictions, without the model."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path

from minigpt4.common.errors import DataError
from minigpt4.scoring.kinds import ScoreOptions
from minigpt4.tasks.prediction_file import read_predictions
from minigpt4.tasks.results import EvalResult, score_and_write

logger = logging.getLogger(__name__)


def rescore(
    path: Path,
    *,
    score: str | None = None,
    metric: str | None = None,
    out: Path | None = None,
    report: bool = True,
) -> EvalResult:
    """Score a file of predictions again and write metrics, answers and report anew.

    Args:
        path: The file.
        score: Another way to score detections: ``confidence`` or ``constant``.
        metric: Another metric of answers: ``exact``, ``vqa``, ``vizwiz`` or ``anls``.
        out: Folder of the files; None for that of the predictions.
        report: Also write the HTML page.
    Raises:
        DataError: The file is none of predictions, or holds none.
    """
    run, predictions = read_predictions(path)
    if not predictions or not {"name", "kind", "samples"} <= run.keys():
        raise DataError(f"{path} holds no predictions that could be scored.")
    if Path(run["name"]).name != run["name"]:  # files are called after it
        raise DataError(f"{path} is of an evaluation called {run['name']!r}, which is no name.")
    if len(predictions) < run["samples"]:
        logger.warning(
            "%s holds %d of %d answers: the evaluation was not finished; what follows is about "
            "these answers only", path, len(predictions), run["samples"],
        )  # fmt: skip
    before = run.get("score_options") or {}
    asked = {name: value for name, value in (("score", score), ("metric", metric)) if value}
    run["score_options"] = asdict(ScoreOptions.from_mapping({**before, **asked}))
    if run["score_options"] != before and run.pop("baselines", None):
        logger.info("The baselines were scored otherwise and are left out")
    folder = out if out is not None else path.parent
    try:
        result = score_and_write(folder, run, predictions, report=report)
    except KeyError as error:
        raise DataError(
            f"{path} cannot be scored: its samples' meta lacks {error}, which kind {run['kind']} "
            "needs."
        ) from error
    result.files = {"predictions": path, **result.files}
    return result
