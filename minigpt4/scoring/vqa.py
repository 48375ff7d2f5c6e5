"""Question answering: answers to accuracy, by several measures and by the original's protocol."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.common.metrics import accuracy_by, mean, percent
from minigpt4.scoring.answers import MEASURES, anls, token_f1, vqa
from minigpt4.scoring.calibration import calibration
from minigpt4.scoring.intervals import Bootstrap, found_intervals
from minigpt4.scoring.lines import listed, with_interval
from minigpt4.scoring.prediction import Prediction

TYPE_NAMES = {"0": "object", "1": "number", "2": "colour", "3": "place"}
"""ViVQA's question types."""
RIGHT = 0.5
"""From this share on, an answer that can be partly right counts as right."""
_BANDS = {"unseen": 0, "1-9": 9, "10-99": 99, "100+": math.inf, "unknown": math.nan}
"""How often the answer occurs in training: at most so many times."""


def references(prediction: Prediction) -> list[str]:
    """What people answered: ``meta["answers"]`` where there are several, else ``answer``."""
    several = prediction.meta.get("answers")
    if isinstance(several, (list, tuple)) and several:
        return [str(each) for each in several]
    return [str(prediction.meta["answer"])]


def share_right(prediction: Prediction, *, metric: str | None = None) -> float:
    """How right an answer is, 0 to 1; an empty answer is not.

    Args:
        prediction: Its ``meta`` holds the references.
        metric: ``exact``, ``vqa``, ``vizwiz`` or ``anls``, see ``answers``; None for the sample's
            own (``meta["metric"]``), and ``exact`` where it has none.
    Raises:
        ConfigError: There is no such metric.
    """
    name = metric or str(prediction.meta.get("metric") or "exact")
    if name not in MEASURES:
        raise ConfigError(
            f"There is no metric {name!r} for answers; choose one of {', '.join(MEASURES)}."
        )
    if not prediction.answer.strip():
        return 0.0
    return MEASURES[name](prediction.answer, references(prediction))


def is_right(prediction: Prediction, *, metric: str | None = None) -> bool:
    """Whether an answer counts as right: at least half right by ``metric`` (see there)."""
    return share_right(prediction, metric=metric) >= RIGHT


def score_vqa(
    predictions: Sequence[Prediction],
    *,
    metric: str | None = None,
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of an evaluation; an empty answer is a miss.

    Args:
        predictions: One a question.
        metric: What ``accuracy`` is the mean of: ``exact``, ``vqa``, ``vizwiz`` or ``anls``; None
            for each sample's own (``meta["metric"]``), and ``exact`` where it has none.
        resamples: Of the 95 % intervals, drawn by picture; 0 for none.
        seed: Of the drawing.
    Returns:
        Nested shares (0 to 1) and counts: ``accuracy``, ``correct`` (at least half right),
        ``count``, ``metric``, ``anls``, ``token_f1``, ``unparsed`` (empty answers), ``unfinished``
        (cut at the length limit), ``by_type``, ``calibration``, ``mean_steps``, ``intervals`` and
        ``original_protocol``. Where the data allow: ``soft_accuracy`` (several references, by the
        VQA challenge), ``by_source``, ``by_frequency`` (of the answer in training) and
        ``no_overlap`` (questions about pictures that do not occur in training).
    Raises:
        ConfigError: There is no such metric.
    """
    shares = [share_right(each, metric=metric) for each in predictions]
    right = [share >= RIGHT for share in shares]
    said = [(each.answer, references(each)) for each in predictions]
    measured = {
        "accuracy": shares,
        "anls": [anls(*each) for each in said],
        "token_f1": [token_f1(*each) for each in said],
    }
    if any(len(wanted) > 1 for _, wanted in said):
        measured["soft_accuracy"] = [vqa(*each) for each in said]
    bootstrap = Bootstrap([each.picture for each in predictions], resamples=resamples, seed=seed)
    metrics: dict[str, Any] = {
        **{name: mean(values) for name, values in measured.items()},
        "correct": sum(right),
        "count": len(predictions),
        "metric": metric or _common_metric(predictions),
        "unparsed": sum(not each.answer.strip() for each in predictions),
        "unfinished": sum(not each.finished for each in predictions),
        "mean_steps": mean([each.steps for each in predictions if each.steps]),
        **_groups(predictions, shares, bootstrap),
        "calibration": calibration([each.probability for each in predictions], right),
        "original_protocol": {"accuracy": mean([_original(each) for each in predictions])},
        "intervals": found_intervals(
            {name: bootstrap.mean(values) for name, values in measured.items()}
        ),
    }
    apart = [each.meta.get("overlap") for each in predictions]
    if any(each is not None for each in apart):
        chosen = [share for share, each in zip(shares, apart, strict=True) if each == ""]
        metrics["no_overlap"] = {"accuracy": mean(chosen), "count": len(chosen)}
        interval = bootstrap.mean(shares, where=[each == "" for each in apart])
        metrics["intervals"] |= found_intervals({"no_overlap": interval})
    return metrics


def _common_metric(predictions: Sequence[Prediction]) -> str:
    names = {str(each.meta.get("metric") or "exact") for each in predictions}
    return " or ".join(sorted(names)) or "exact"


def _groups(
    predictions: Sequence[Prediction], shares: Sequence[float], bootstrap: Bootstrap
) -> dict[str, dict[str, Any]]:
    """Accuracy by type, and by what only some data tell: source and frequency in training."""
    names = {"by_type": [type_name(each) for each in predictions]}
    sources = [str(each.meta.get("source") or "") for each in predictions]
    if any(sources):
        names["by_source"] = sources
    if any("train_count" in each.meta for each in predictions):
        names["by_frequency"] = [_band(each) for each in predictions]
    groups = {key: accuracy_by(each, shares) for key, each in names.items()}
    for key, found in groups.items():
        for name, group in found.items():
            interval = bootstrap.mean(shares, where=[each == name for each in names[key]])
            if interval is not None:
                group["intervals"] = {"accuracy": interval}
    if "by_frequency" in groups:
        found = groups["by_frequency"]
        groups["by_frequency"] = {name: found[name] for name in _BANDS if name in found}
    return groups


def _band(prediction: Prediction) -> str:
    times = prediction.meta.get("train_count")
    if times is None:
        return "unknown"
    return next(name for name, most in _BANDS.items() if int(times) <= most)


def type_name(prediction: Prediction) -> str:
    """The question's type in words; types other than ViVQA's keep their own name."""
    kind = str(prediction.meta.get("type", "")).strip()
    return TYPE_NAMES.get(kind, kind or "other")


def _original(prediction: Prediction) -> bool:
    """The original's comparison: the raw strings in lower case, nothing else made equal."""
    return prediction.answer.lower() in [each.lower() for each in references(prediction)]


def answers_json(
    predictions: Sequence[Prediction], *, metric: str | None = None
) -> list[dict[str, Any]]:
    """``vivqa.json``: the original's ``pred`` and ``gt`` (each sample's own), and the question."""
    return [
        {
            "pred": each.answer.lower(),
            "gt": each.meta["answer"] if "answer" in each.meta else references(each),
            "correct": is_right(each, metric=metric),
            "question": each.meta.get("question", each.question),
            "type": each.meta.get("type"),
            "img_id": each.meta.get("img_id"),
            "id": each.id,
            # What the VQA challenge's own script asks for.
            **(
                {"question_id": each.meta["question_id"], "answer": each.answer.lower().strip()}
                if "question_id" in each.meta
                else {}
            ),
        }
        for each in predictions
    ]


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as lines of text."""
    strict = metrics["metric"] == "exact"
    counts = (
        f"{metrics['correct']} of {metrics['count']}{'' if strict else ' at least half right'}; "
        f"{metrics['unparsed']} empty and {metrics['unfinished']} cut answers among them"
    )
    measure = "" if strict else f" (metric {metrics['metric']})"
    lines = [
        f"Accuracy{measure} {with_interval(metrics, 'accuracy', counts)}",
        "By question type: "
        + ", ".join(
            f"{name} {with_interval(each, 'accuracy', _of(each))}"
            for name, each in metrics["by_type"].items()
        ),
    ]
    others = {"soft_accuracy": "soft accuracy", "anls": "ANLS", "token_f1": "token F1"}
    named = [
        f"{name} {with_interval(metrics, key)}" for key, name in others.items() if key in metrics
    ]
    ece = metrics["calibration"]["ece"]
    lines.append(f"{'; '.join(named)}; calibration error {percent(ece)}")
    if "by_frequency" in metrics:
        lines.append(
            f"By how often the answer occurs in training: {listed(metrics['by_frequency'])}"
        )
    if "no_overlap" in metrics and metrics["no_overlap"]["count"] < metrics["count"]:
        counted = f"{metrics['no_overlap']['count']} questions"
        lines.append(
            "Without pictures that also occur in training: "
            f"{with_interval(metrics, 'no_overlap', counted)}"
        )
    lines.append(
        "By the original's protocol (lower-cased strings, compared as they are): "
        f"{percent(metrics['original_protocol']['accuracy'])}"
    )
    return lines


def _of(group: Mapping[str, Any]) -> str:
    return f"{group['correct']}/{group['count']}"
