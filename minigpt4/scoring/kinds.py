"""The kinds of evaluation: how answers of each are read, scored and written."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

from minigpt4.common.errors import ConfigError
from minigpt4.scoring import binary, detection, object_answers, objects, refer, vqa
from minigpt4.scoring.defect_answers import answer_spans, parse_answer
from minigpt4.scoring.prediction import Prediction, Spans

Metrics = dict[str, Any]
Scoring = Callable[[Sequence[Prediction], "ScoreOptions"], Metrics]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreOptions:
    """What scoring depends on besides the predictions.

    Attributes:
        score: Detections' scores: ``confidence`` or ``constant`` (1.0).
        metric: What decides whether an answer is right; None for each sample's own
            (``meta["metric"]``), and the kind's usual where it has none.
        resamples: Bootstrap resamples of the 95 % intervals; 0 for none.
        seed: Seed of the resampling.
    """

    score: str = "confidence"
    metric: str | None = None
    resamples: int = 1000
    seed: int = 0

    @classmethod
    def from_mapping(cls, saved: Mapping[str, Any]) -> Self:
        """Options as a file keeps them; what this version does not know is left out."""
        known = {each.name for each in dataclasses.fields(cls)}
        return cls(**{name: value for name, value in saved.items() if name in known})


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """What differs between kinds of evaluation.

    Attributes:
        name: As in ``evaluation_datasets.<name>.kind``.
        primary: The metric that stands for an evaluation.
        score: Predictions to nested metrics: shares (0 to 1), counts, and ``intervals``, a mapping
            of a metric's name to [low, high].
        is_right: Whether one answer is right, by the metric of its sample (``meta["metric"]``).
        can_read: Whether one answer can be read at all.
        answers: What the original's answers file holds.
        answers_file: Its name, made of the entry's.
        summary: Metrics as lines of text.
        spans: Parts of an answer whose probabilities count.
    """

    name: str
    primary: str
    score: Scoring
    is_right: Callable[[Prediction], bool]
    can_read: Callable[[Prediction], bool]
    answers: Callable[[Sequence[Prediction]], Any]
    answers_file: str
    summary: Callable[[Metrics], list[str]]
    spans: Spans | None = None


def _score_vqa(predictions: Sequence[Prediction], options: ScoreOptions) -> Metrics:
    metrics = vqa.score_vqa(
        predictions, metric=options.metric, resamples=options.resamples, seed=options.seed
    )
    found = binary.score_binary(predictions, resamples=options.resamples, seed=options.seed)
    return metrics | ({"binary": found} if found is not None else {})


def _summarize_vqa(metrics: Metrics) -> list[str]:
    return vqa.summary(metrics) + (binary.summary(metrics["binary"]) if "binary" in metrics else [])


def _of_boxes(score: Callable[..., Metrics]) -> Scoring:
    return lambda predictions, options: score(
        predictions, score=options.score, resamples=options.resamples, seed=options.seed
    )


KINDS = {
    kind.name: kind
    for kind in (
        Kind(
            name="vqa",
            primary="accuracy",
            score=_score_vqa,
            is_right=vqa.is_right,
            can_read=lambda prediction: bool(prediction.answer.strip()),
            answers=vqa.answers_json,
            answers_file="{name}.json",
            summary=_summarize_vqa,
        ),
        Kind(
            name="detection",
            primary="map",
            score=_of_boxes(detection.score_detection),
            is_right=detection.is_right,
            can_read=lambda prediction: parse_answer(prediction.answer) is not None,
            answers=detection.answers_json,
            answers_file="{name}_regression.json",
            summary=detection.summary,
            spans=answer_spans,
        ),
        Kind(
            name="objects",
            primary="map",
            score=_of_boxes(objects.score_objects),
            is_right=object_answers.is_right,
            can_read=object_answers.can_read,
            answers=objects.answers_json,
            answers_file="{name}_objects.json",
            summary=objects.summary,
            spans=object_answers.object_spans,
        ),
        Kind(
            name="refer",
            primary="accuracy",
            score=lambda predictions, options: refer.score_refer(
                predictions, resamples=options.resamples, seed=options.seed
            ),
            is_right=refer.is_right,
            can_read=refer.can_read,
            answers=refer.answers_json,
            answers_file="{name}.json",
            summary=refer.summary,
        ),
    )
}


def get_kind(name: str, *, metric: str | None = None) -> Kind:
    """The kind of a name.

    Args:
        name: As in ``evaluation_datasets.<name>.kind``.
        metric: What decides whether an answer is right; None for the kind's usual.

    Raises:
        ConfigError: There is no such kind.
    """
    if name not in KINDS:
        raise ConfigError(f"There is no kind of evaluation {name!r}; there are {', '.join(KINDS)}.")
    kind = KINDS[name]
    if metric is None or name != "vqa":
        return kind
    return dataclasses.replace(
        kind,
        is_right=partial(vqa.is_right, metric=metric),
        answers=partial(vqa.answers_json, metric=metric),
    )
