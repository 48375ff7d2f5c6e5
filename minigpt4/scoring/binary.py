"""Questions with two answers (yes or no, true or false): how well the two are told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.metrics import auroc, f1, mean, percent
from minigpt4.common.text import normalize
from minigpt4.scoring.intervals import Bootstrap, found_intervals
from minigpt4.scoring.lines import with_interval
from minigpt4.scoring.prediction import Prediction

PAIRS = (("yes", "no"), ("true", "false"))
"""Positive and negative answer."""
UNDECIDED = 0.5
"""Score of an answer that is neither."""


def pair_of(predictions: Sequence[Prediction]) -> tuple[str, str] | None:
    """The two answers of a data set whose references are no others; None if it is none such."""
    references = {normalize(str(each.meta.get("answer", ""))) for each in predictions}
    return next((pair for pair in PAIRS if references and references <= set(pair)), None)


def score_binary(
    predictions: Sequence[Prediction], *, resamples: int = 0, seed: int = 0
) -> dict[str, Any] | None:
    """Figures of the positive answer; None where the questions have other answers.

    A prediction's score is the probability of what was answered, if that is the positive answer,
    and one minus it, if it is the negative one: what a single greedy answer says of both.

    Returns:
        ``positive`` and ``negative`` (the answers), ``auroc``, ``f1``, ``share_positive`` (of the
        references), ``share_said`` (of the answers), ``neither`` (answers that are none of the
        two: misses, undecided for the AUROC) and ``intervals``.
    """
    pair = pair_of(predictions)
    if pair is None:
        return None
    answers = [normalize(each.answer) for each in predictions]
    positive = [normalize(str(each.meta["answer"])) == pair[0] for each in predictions]
    said = [answer == pair[0] for answer in answers]
    scores = [
        _score(answer, each.probability, pair)
        for answer, each in zip(answers, predictions, strict=True)
    ]
    boot = Bootstrap([each.picture for each in predictions], resamples=resamples, seed=seed)
    return {
        "positive": pair[0],
        "negative": pair[1],
        "auroc": auroc(positive, scores),
        "f1": f1(positive, said),
        "share_positive": mean(positive),
        "share_said": mean(said),
        "neither": sum(answer not in pair for answer in answers),
        "intervals": found_intervals(
            {"auroc": boot.auroc(positive, scores), "f1": boot.f1(positive, said)}
        ),
    }


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The figures in a line of text."""
    return [
        f"Telling {metrics['positive']} from {metrics['negative']}: AUROC "
        f"{with_interval(metrics, 'auroc')}, F1 {with_interval(metrics, 'f1')}; "
        f"{metrics['positive']} is {percent(metrics['share_positive'])} of the references and "
        f"{percent(metrics['share_said'])} of the answers, {metrics['neither']} are neither"
    ]


def _score(answer: str, probability: float, pair: tuple[str, str]) -> float:
    if answer not in pair:
        return UNDECIDED
    return probability if answer == pair[0] else 1.0 - probability
