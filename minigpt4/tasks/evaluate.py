"""One evaluation from configuration to metrics: answers, scores, files, report."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.answer_plan import plan_answers
from minigpt4.tasks.baselines import condense, score_baselines
from minigpt4.tasks.eval_setup import (
    EvalData,
    blanked,
    check_model,
    check_writable,
    keep_features,
    load_model,
    open_eval_data,
)
from minigpt4.tasks.identity import run_header
from minigpt4.tasks.overlap import annotate
from minigpt4.tasks.prediction_file import PredictionFile, Saved, alone, predictions_path
from minigpt4.tasks.processes import Processes, join_processes
from minigpt4.tasks.results import EvalResult, score_and_write
from minigpt4.tasks.rounds import Asker, ask, asking_order, latest

if TYPE_CHECKING:
    from minigpt4.common.config import Config
    from minigpt4.common.settings import RunSettings
    from minigpt4.datasets.features import FeatureCache

logger = logging.getLogger(__name__)

_STYLES = {
    "training": "exactly as in training",
    "original": "as the original evaluated: two BOS, one space before [/INST]",
}
BLANK = "blank"
"""Folder, below that of an evaluation, for what was answered without looking."""


def evaluate(
    cfg: Config,
    name: str,
    *,
    model: Any = None,
    load: Callable[[], Any] | None = None,
    data: EvalData | None = None,
    cache: FeatureCache | None = None,
    blank: bool = False,
    save_path: str | Path | None = None,
    resample: bool = False,
    baselines: bool = False,
    report: bool = True,
    fresh: bool = False,
    processes: Processes | None = None,
) -> EvalResult:
    """Evaluate on one entry of ``evaluation_datasets`` and write its files.

    Answers are saved as they are made; a run that was stopped is continued, and one that is whole
    is scored again without asking the model. Under a launcher every process must call it.

    Args:
        cfg: The configuration.
        name: The entry.
        model: A loaded model to use instead of the configuration's.
        load: Gives the configuration's model when it is needed; None loads it.
        data: The opened entry; None opens it (before the model is loaded).
        cache: The encoder's outputs of pictures; those that are missing are added. None keeps them
            as ``run.feature_cache`` says.
        blank: Replace every picture by a plain grey one: what is left is guessing from the text.
        save_path: Folder of the files; None for ``run.save_path``.
        resample: Ask again, sampling, where an answer cannot be read.
        baselines: Also evaluate with every picture blanked, and score constant answers.
        report: Also write the HTML page.
        fresh: Begin anew; answers that are there are kept under another name.
        processes: Among whom samples are shared out; None for those of the launcher.
    Raises:
        ConfigError: The folder holds answers of another run.
        UserError: Whatever else is wrong, as far as possible before the model is loaded.
    """
    folder = Path(save_path if save_path is not None else cfg.run().save_path)
    processes = processes or join_processes()
    with contextlib.ExitStack() as held:
        with processes.together():
            check_writable(folder)
            if model is None:
                check_model(cfg)
            data = data or open_eval_data(cfg, name, blank=blank)
            if processes.is_main:
                held.enter_context(alone(predictions_path(folder, data.name)))
            run = _prepare(
                cfg, data, model, folder,
                resample=resample, cached=cache is not None, fresh=fresh, main=processes.is_main,
            )  # fmt: skip
        saved = processes.share(run.saved)
        if run.asker.next_round(saved, 0) is not None:
            with processes.together():
                answering = model if model is not None else (load or (lambda: load_model(cfg)))()
                keep_features(cfg, data, answering, cache)
            _ask_rest(run, saved, answering, processes)
        blind = None
        if baselines and not data.settings.blank:
            blind = evaluate(
                cfg, name, model=model, load=load, data=blanked(cfg, data), cache=cache,
                save_path=folder / BLANK, resample=resample, report=False, fresh=fresh,
                processes=processes,
            )  # fmt: skip
        with processes.together():
            return _score(
                run, saved, data, blind, folder,
                baselines=baselines, report=report, main=processes.is_main,
            )  # fmt: skip


def _ask_rest(run: _Run, saved: Saved, model: Any, processes: Processes) -> None:
    """Ask for what is not there yet."""
    style = model.prompt_style
    logger.info(
        "%s: %d samples, prompts in %s style (%s)",
        run.asker.name, len(run.asker.ids), style, _STYLES[style],
    )  # fmt: skip
    saved.run.setdefault("prompt_style", style)
    if processes.is_main:
        # Not before the model is loaded: what is there stays in place if it cannot be.
        if run.anew and (aside := run.file.set_aside()) is not None:
            logger.info(
                "%s: begun anew; the answers that were there are kept as %s", run.asker.name, aside
            )
        run.file.write(saved, run.asker.order)
    processes.gather(None)  # nobody appends before
    ask(run.asker, saved, run.file, model=model, processes=processes)


def _score(
    run: _Run,
    saved: Saved,
    data: EvalData,
    blind: EvalResult | None,
    folder: Path,
    *,
    baselines: bool,
    report: bool,
    main: bool,
) -> EvalResult:
    """Bring the file of answers in order and write the others; only ``main`` does."""
    last = latest(saved)
    predictions = [last[each] for each in run.asker.ids]
    if not main:
        return EvalResult(name=data.name, kind=data.kind, metrics={}, predictions=predictions)
    before = dict(saved.run)
    if run.scoring["score_options"] != before.get("score_options"):
        saved.run.pop("baselines", None)
    saved.run |= run.scoring
    if baselines:
        saved.run["baselines"] = _baselines(data, saved.run, predictions, blind)
    if saved.run != before or not run.file.is_tidy(saved, run.asker.order):
        run.file.write(saved, run.asker.order)
    result = score_and_write(folder, saved.run, predictions, report=report)
    result.files = {"predictions": run.file.path, **result.files}
    logger.info("Written: %s", ", ".join(str(path) for path in result.files.values()))
    return result


def _baselines(
    data: EvalData,
    run: Mapping[str, Any],
    predictions: list[Prediction],
    blind: EvalResult | None,
) -> dict[str, dict[str, Any]]:
    """What can be had without looking: by this model, and by constant answers."""
    found = {}
    if blind is not None:
        description = "the model with every picture blanked"
        found[BLANK] = condense(get_kind(data.kind), blind.metrics, description)
    return found | score_baselines(
        data, predictions, options=ScoreOptions.from_mapping(run["score_options"])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Run:
    """What is known before a model is asked.

    Attributes:
        asker: What is asked and how.
        file: Where answers are kept.
        saved: What is there already.
        scoring: What the run's file should say about scoring.
        anew: Whether what is in the file is to be put aside.
    """

    asker: Asker
    file: PredictionFile
    saved: Saved
    scoring: dict[str, Any]
    anew: bool = False


def _prepare(
    cfg: Config,
    data: EvalData,
    model: Any,
    folder: Path,
    *,
    resample: bool,
    cached: bool,
    fresh: bool,
    main: bool,
) -> _Run:
    """Plan the answers and find those that are there; files are only looked at by ``main``."""
    settings, run = data.settings, cfg.run()
    samples = list(data.dataset.described())
    overlap = annotate(data.dataset, settings.train_file_path)
    plan = plan_answers(data, samples)
    scoring = {
        "score_options": asdict(
            ScoreOptions(
                score=run.score, metric=settings.metric, resamples=run.bootstrap, seed=run.seed
            )
        ),
        "overlap": overlap.counts() if overlap else None,
    }
    asker = Asker(
        name=data.name,
        dataset=data.dataset,
        ids=[each.id for each in samples],
        sequence=asking_order(samples),
        kind=get_kind(data.kind),
        plan=plan,
        batch_size=settings.batch_size,
        num_workers=run.num_workers,
        extras=overlap.extras if overlap else None,
        resample_seed=run.seed if resample else None,
    )
    path = predictions_path(folder, data.name)
    if not main:
        return _Run(asker=asker, file=PredictionFile(path, {}), saved=Saved({}), scoring=scoring)
    header = run_header(
        cfg, data, samples, plan,
        resample=resample, cached=cached or _rounding(run), model=model,
    )  # fmt: skip
    time = datetime.now().astimezone().isoformat(timespec="seconds")
    file = PredictionFile(path, {**header, **scoring, "time": time})
    anew = fresh or file.holds_finished_other()
    saved = (None if anew else file.saved()) or Saved(dict(file.run))
    answered = sum(not tries for _, tries in saved.answers)
    if asker.next_round(saved, 0) is None:
        logger.info(
            "%s: all %d answers are there; they are scored again without asking the model",
            data.name, answered,
        )  # fmt: skip
    elif answered:
        logger.info("%s continues: %d of %d answers are there", data.name, answered, len(asker.ids))
    return _Run(asker=asker, file=file, saved=saved, scoring=scoring, anew=anew)


def _rounding(run: RunSettings) -> bool | str:
    """Whether features are rounded to be kept; to what if that is not fp16."""
    if run.feature_cache == "off":
        return False
    return True if run.feature_cache_dtype == "fp16" else run.feature_cache_dtype
