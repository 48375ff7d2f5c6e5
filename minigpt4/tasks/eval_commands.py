"""What ``evaluate.py``, ``eval_vivqa.py`` and ``eval_mvtec.py`` do once their words are read."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt4.tasks import evaluate as evaluation
from minigpt4.tasks.answer_plan import plan_answers
from minigpt4.tasks.eval_setup import (
    blanked,
    check_model,
    check_writable,
    choose_entries,
    find_entry,
    open_entries,
)
from minigpt4.tasks.processes import join_processes
from minigpt4.tasks.results import EvalResult

if TYPE_CHECKING:
    from minigpt4.common.config import Config


def evaluate_all(
    cfg: Config,
    names: Sequence[str] = (),
    *,
    splits: Sequence[str] = (),
    resample: bool = False,
    blank: bool = False,
    baselines: bool = False,
    fresh: bool = False,
) -> list[EvalResult]:
    """Evaluate on several entries with one model, checked all before it is loaded.

    Args:
        cfg: The configuration.
        names: Entries; all when none is named.
        splits: Of entries with several splits only these.
        resample: Ask again, sampling, where an answer cannot be read.
        blank: Blank every picture; the files go to ``<save_path>/blank``.
        baselines: Also evaluate what can be had without looking.
        fresh: Begin anew where answers are there.
    Returns:
        A result an entry, or an entry's split.
    """
    processes = join_processes()
    folder = Path(cfg.run().save_path)
    with processes.together():
        opened = open_entries(cfg, choose_entries(cfg, names), splits=splits)
        if blank:
            opened = [blanked(cfg, data) for data in opened]
            folder = folder / evaluation.BLANK
        check_writable(folder)
        check_model(cfg)
        for data in opened:
            plan_answers(data, list(data.dataset.described()))
    load = functools.cache(lambda: evaluation.load_model(cfg))
    return [
        evaluation.evaluate(
            cfg,
            data.name,
            data=data,
            load=load,
            save_path=folder,
            resample=resample,
            baselines=baselines,
            fresh=fresh,
            processes=processes,
        )
        for data in opened
    ]


def evaluate_one(
    cfg: Config, *, name: str, kind: str, resample: bool = False, fresh: bool = False
) -> EvalResult:
    """What a script of one data set does: its entry, or the only one of its kind."""
    (result,) = evaluate_all(
        cfg, [find_entry(cfg, name=name, kind=kind)], resample=resample, fresh=fresh
    )
    return result
