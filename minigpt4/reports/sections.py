"""What a report says about an evaluation: its numbers, tables, plots and samples as sections."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.common.metrics import percent
from minigpt4.common.text import normalize
from minigpt4.reports import plots
from minigpt4.reports.page import (
    Card,
    DrawnBox,
    Figure,
    Gallery,
    Headline,
    Note,
    Plot,
    Plots,
    Section,
    Table,
    Verdict,
)
from minigpt4.scoring import defect_answers, detection, vqa
from minigpt4.scoring.prediction import Prediction

MAX_CARDS = 240
"""Samples of a gallery: what goes wrong first, then what goes right."""
_MISTAKES = 12


def evaluation_sections(
    kind: str, metrics: Mapping[str, Any], predictions: Sequence[Prediction]
) -> list[Section]:
    """All sections of one evaluation's report.

    Args:
        kind: ``vqa`` or ``detection``.
        metrics: As its scoring gave them.
        predictions: What was scored.
    """
    compose = {"vqa": vqa_sections, "detection": detection_sections}[kind]
    return compose(metrics, predictions)


def describe_run(run: Mapping[str, Any]) -> str:
    """One line about what was run, on what."""
    weights = run["ckpt"] or "no checkpoint"
    blank = "pictures blanked · " if run["blank"] else ""
    return (
        f"{blank}{weights} · {run['eval_file']} · {run['samples']} samples · prompts in "
        f"{run['prompt_style']} style · {run['time']}"
    )


def vqa_sections(metrics: Mapping[str, Any], predictions: Sequence[Prediction]) -> list[Section]:
    """Accuracy, by type and by source; commonest mistakes; confidence; samples."""
    figures = [
        Figure(
            "Accuracy",
            percent(metrics["accuracy"]),
            f"{metrics['correct']} of {metrics['count']}, equal but for case and white space",
        ),
        Figure(
            "Original protocol",
            percent(metrics["original_protocol"]["accuracy"]),
            "lower-cased strings, compared as they are",
        ),
        Figure("Empty answers", str(metrics["unparsed"]), "counted as misses"),
        Figure("Cut answers", str(metrics["unfinished"]), "reached max_new_tokens"),
    ]
    sections: list[Section] = [Headline(figures)]
    for key, title in (("by_type", "By question type"), ("by_source", "By source")):
        if len(metrics.get(key, ())) > 1:
            rows = [
                [name, each["accuracy"], each["correct"], each["count"]]
                for name, each in metrics[key].items()
            ]
            sections.append(Table(title, ["", "accuracy", "right", "questions"], rows, bars=[1]))
    wrong = Counter(
        (normalize(str(each.meta["answer"])), normalize(each.answer) or "(empty)")
        for each in predictions
        if not vqa.is_right(each)
    )
    if wrong:
        rows = [[true, said, count] for (true, said), count in wrong.most_common(_MISTAKES)]
        sections.append(Table("Commonest mistakes", ["reference", "answer", "times"], rows))
    verdicts = [_vqa_verdict(each) for each in predictions]
    sections.append(_confidence("Confidence", predictions, verdicts, "answer's probability"))
    sections.append(_gallery(predictions, verdicts, vqa_card))
    return sections


def detection_sections(
    metrics: Mapping[str, Any], predictions: Sequence[Prediction]
) -> list[Section]:
    """mAP, AP by label, class and kind of defect; curves; samples with their boxes."""
    original = metrics["original_protocol"]
    figures = [
        Figure("mAP", percent(metrics["map"]), "IoU 0.50 to 0.95, every picture counted once"),
        Figure(
            "AP of defect",
            percent(metrics["ap_defect"]),
            "the mean flatters: a good part's box is always the whole picture",
        ),
        Figure("Image AUROC", percent(metrics["auroc"]), "defective or not, by the label's score"),
        Figure("F1", percent(metrics["f1"]), "of the label defect"),
        Figure("Mean IoU", percent(metrics["mean_iou_defect"]), "over defects; a miss counts 0"),
        Figure("Unread answers", str(metrics["unparsed"]), "counted as misses"),
        Figure(
            "Original protocol",
            percent(original["map"]),
            f"mAP with every score 1; {original['left_out']} pictures left out, "
            f"{original['colliding']} colliding names",
        ),
    ]
    sections: list[Section] = [Headline(figures)]
    sections.append(
        Table(
            "By label",
            ["", "AP", "AP 50", "AP 75", "pictures"],
            [
                [name, each["ap"], each["ap_50"], each["ap_75"], each["count"]]
                for name, each in metrics["by_label"].items()
            ],
            bars=[1],
        )
    )
    sections.append(
        Table(
            "By object",
            ["", "mAP", "AP of defect", "AUROC", "pictures", "defective", "unread"],
            [
                [name, *(each[key] for key in (
                    "map", "ap_defect", "auroc", "count", "broken", "unparsed"
                ))]
                for name, each in metrics["by_class"].items()
            ],
            bars=[1, 2],
        )
    )  # fmt: skip
    if metrics["by_defect"]:
        sections.append(
            Table(
                "By kind of defect",
                ["", "AP", "AP 50", "called a defect", "mean IoU", "pictures"],
                [
                    [name, *(each[key] for key in ("ap", "ap_50", "recall", "mean_iou", "count"))]
                    for name, each in metrics["by_defect"].items()
                ],
                bars=[1],
                note="AP on the pictures of one kind together with all good ones, so that false "
                "alarms count.",
            )
        )
    sections.append(_detection_plots(metrics, predictions))
    verdicts = [_detection_verdict(each) for each in predictions]
    sections.append(_gallery(predictions, verdicts, detection_card))
    return sections


def vqa_card(prediction: Prediction, verdict: Verdict) -> Card:
    """A question under its picture."""
    return Card(
        picture=_picture(prediction),
        question=str(prediction.meta.get("question", prediction.question)),
        answer=prediction.answer,
        reference=str(prediction.meta["answer"]),
        verdict=verdict,
        groups={"type": vqa.type_name(prediction)},
        confidence=prediction.probability,
    )


def detection_card(prediction: Prediction, verdict: Verdict) -> Card:
    """A picture with its true and its answered boxes; a good part's box is not drawn."""
    meta = prediction.meta
    broken = defect_answers.is_broken(meta)
    answer = defect_answers.parse_answer(prediction.answer)
    boxes = []
    if broken:
        boxes += [DrawnBox(box, "true", true=True) for box in defect_answers.true_boxes(meta)]
    if answer is not None and answer.label == defect_answers.DEFECT:
        boxes += [DrawnBox(box, "answer", true=False) for box in answer.boxes]
    groups = {"object": str(meta["class"]), "state": "good"}
    if broken:
        groups["state"] = defect_answers.defect_kind(meta)
    return Card(
        picture=_picture(prediction),
        question="",
        answer=prediction.answer,
        reference=prediction.reference,
        verdict=verdict,
        groups=groups,
        confidence=prediction.probabilities.get("label"),
        boxes=boxes,
    )


def _picture(prediction: Prediction) -> Path | None:
    return Path(prediction.image_path) if prediction.image_path else None


def _vqa_verdict(prediction: Prediction) -> Verdict:
    if not prediction.answer.strip():
        return "unparsed"
    return "right" if vqa.is_right(prediction) else "wrong"


def _detection_verdict(prediction: Prediction) -> Verdict:
    if defect_answers.parse_answer(prediction.answer) is None:
        return "unparsed"
    return "right" if detection.is_right(prediction) else "wrong"


def _gallery(predictions: Sequence[Prediction], verdicts: Sequence[Verdict], card: Any) -> Gallery:
    chosen = choose(verdicts, MAX_CARDS)
    note = ""
    if len(chosen) < len(predictions):
        note = (
            f"{len(chosen)} of {len(predictions)} samples, misses first, spread over the data; the "
            "shares of right and wrong here are not those of the whole. All answers are in the "
            "predictions file."
        )
    return Gallery("Samples", [card(predictions[i], verdicts[i]) for i in chosen], note)


def choose(verdicts: Sequence[Verdict], most: int) -> list[int]:
    """Which samples to show: misses, then right ones, spread evenly over the data.

    Half of the places belong to right answers where there are enough of both.
    """
    missed = [i for i, each in enumerate(verdicts) if each != "right"]
    right = [i for i, each in enumerate(verdicts) if each == "right"]
    places = max(most - len(right), min(len(missed), most - most // 2))
    chosen = _spread(missed, places)
    return chosen + _spread(right, most - len(chosen))


def _spread(items: Sequence[int], count: int) -> list[int]:
    count = min(count, len(items))
    return [items[i * len(items) // count] for i in range(count)]


def _confidence(
    title: str, predictions: Sequence[Prediction], verdicts: Sequence[Verdict], x: str
) -> Plots:
    series = {
        name: [each.probability for each, v in zip(predictions, verdicts, strict=True) if test(v)]
        for name, test in (("right", _is_right), ("wrong", lambda v: not _is_right(v)))
    }
    return Plots(
        title,
        [
            Plot(
                plots.histogram(series, x=x),
                "How sure the model was",
                "A model that knows what it knows puts its wrong answers at the left.",
            )
        ],
    )


def _is_right(verdict: Verdict) -> bool:
    return verdict == "right"


def _detection_plots(metrics: Mapping[str, Any], predictions: Sequence[Prediction]) -> Section:
    score = metrics["score"]
    drawn = []
    precision = detection.defect_curve(predictions, score=score)
    if precision:
        recall = [i / 100 for i in range(len(precision))]
        drawn.append(
            Plot(
                plots.curves(
                    {"defect": (recall, precision)},
                    x="recall", y="precision", x_range=(0, 1), y_range=(0, 1),
                ),
                "Precision and recall",
                "Of the label defect, boxes right from an IoU of 0.50.",
            )
        )  # fmt: skip
    roc = detection.roc(predictions, score=score)
    if roc is not None:
        drawn.append(
            Plot(
                plots.curves(
                    {"image": roc},
                    x="false alarms (share of good pictures)", y="defects found",
                    x_range=(0, 1), y_range=(0, 1), diagonal=True,
                ),
                "ROC of pictures",
                f"Defective or not; the area is {percent(metrics['auroc'])}.",
            )
        )  # fmt: skip
    if not drawn:
        return Note("Curves", "There is no defective picture, so there is nothing to draw.")
    return Plots("Curves", drawn)
