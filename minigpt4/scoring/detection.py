"""Defect detection: answers such as ``<p>bottle-defect</p>{<10><20><40><50>}`` to metrics.

Two protocols, side by side. The strict one counts every picture once: an answer that cannot be read
finds nothing and its picture stays in the ground truth. The original's is kept so that published
numbers can be compared; it gives every box the score 1, lets pictures of equal file name collide
and drops pictures whose answer cannot be read.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.metrics import auroc, best_f1, f1, mean, percent, roc_curve
from minigpt4.scoring.calibration import calibration
from minigpt4.scoring.coco import CocoResult, coco_evaluate
from minigpt4.scoring.defect_answers import DEFECT, LABELS, NOT_DEFECT, same_class
from minigpt4.scoring.defect_groups import (
    SIZE_AREAS,
    by_class,
    by_defect,
    by_size,
    class_agnostic,
    class_aware,
)
from minigpt4.scoring.defect_pictures import DefectPicture, pictures_of
from minigpt4.scoring.intervals import Bootstrap, Interval, found_intervals
from minigpt4.scoring.lines import listed, with_interval
from minigpt4.scoring.original_mvtec import original_protocol
from minigpt4.scoring.prediction import Prediction
from minigpt4.scoring.resampled_ap import map_statistics

_LABEL_AP = {DEFECT: "ap_defect", NOT_DEFECT: "ap_not_defect"}


def score_detection(
    predictions: Sequence[Prediction],
    *,
    score: str = "confidence",
    resamples: int = 0,
    seed: int = 0,
) -> dict[str, Any]:
    """All metrics of an evaluation.

    Args:
        predictions: One or more a picture; the boxes of entries that share a picture are its true
            boxes, and the first answer is its answer.
        score: ``confidence`` takes token probabilities as scores (see ``box_score``; a picture's is
            the label's), ``constant`` 1.
        resamples: Of the 95 % intervals, drawn by picture; 0 for none.
        seed: Of the drawing.
    Returns:
        Nested shares (0 to 1) and counts. ``map`` ... are over the labels defect and not-defect;
        ``class_aware`` and ``class_agnostic`` are its counterparts over objects and labels, and
        over boxes alone. ``best_threshold`` is the image score from which calling pictures
        defective has the best F1, chosen on these very pictures. ``by_defect`` is the AP of
        ``defect`` on one kind's pictures together with all good ones; ``by_size`` is by the share
        of the picture that a defect's box covers (``SIZES``). ``calibration`` is of the labels of
        answers that could be read. ``intervals`` of the headline figures.
        ``original_protocol`` holds the original's figures.
    """
    pictures = pictures_of(predictions, score=score)
    result = coco_evaluate(
        [each.found for each in pictures], [each.true for each in pictures], areas=SIZE_AREAS
    )
    whole = result.summarize()
    positive = [each.broken for each in pictures]
    scores = [each.defect_score for each in pictures]
    known = [each for each in pictures if each.label_probability is not None]
    return {
        "map": whole.map,
        "map_50": whole.map_50,
        "map_75": whole.map_75,
        **{
            name: whole.per_label[label].ap if label in whole.per_label else None
            for label, name in _LABEL_AP.items()
        },
        "auroc": auroc(positive, scores),
        "f1": f1(positive, [each.says_broken for each in pictures]),
        "best_threshold": _best_threshold(positive, scores),
        "mean_iou_defect": mean([each.overlap for each in pictures if each.broken]),
        "class_accuracy": mean([_names_class(each) for each in pictures]),
        "class_aware": class_aware(pictures),
        "class_agnostic": class_agnostic(pictures),
        "count": len(pictures),
        "broken": sum(positive),
        "unparsed": sum(each.answer is None for each in pictures),
        "mean_steps": mean([each.steps for each in predictions if each.steps]),
        "score": score,
        "by_label": {
            LABELS[label]: {
                "ap": each.ap,
                "ap_50": each.ap_50,
                "ap_75": each.ap_75,
                "count": sum(broken == (label == DEFECT) for broken in positive),
            }
            for label, each in sorted(whole.per_label.items(), reverse=True)
        },
        "by_class": by_class(pictures),
        "by_defect": by_defect(pictures),
        "by_size": by_size(pictures, result),
        "calibration": calibration(
            [float(each.label_probability or 0.0) for each in known],
            [each.label_right for each in known],
        ),
        "intervals": _intervals(pictures, result, resamples=resamples, seed=seed),
        "original_protocol": original_protocol(predictions),
    }


def _intervals(
    pictures: Sequence[DefectPicture], result: CocoResult, *, resamples: int, seed: int
) -> dict[str, Interval]:
    bootstrap = Bootstrap([each.name for each in pictures], resamples=resamples, seed=seed)
    positive = [each.broken for each in pictures]
    return bootstrap.intervals(
        lambda weights: map_statistics(result, weights[:, bootstrap.cluster], names=_LABEL_AP)
    ) | found_intervals(
        {
            "auroc": bootstrap.auroc(positive, [each.defect_score for each in pictures]),
            "f1": bootstrap.f1(positive, [each.says_broken for each in pictures]),
            "mean_iou_defect": bootstrap.mean([each.overlap for each in pictures], where=positive),
            "class_accuracy": bootstrap.mean([_names_class(each) for each in pictures]),
        }
    )


def _best_threshold(positive: Sequence[bool], scores: Sequence[float]) -> dict[str, Any] | None:
    best = best_f1(positive, scores)
    if best is None:
        return None
    return {"threshold": best[0], "f1": best[1], "chosen_on_these_pictures": True}


def _names_class(picture: DefectPicture) -> bool:
    answer = picture.answer
    return answer is not None and same_class(answer.object_class, picture.object_class)


def roc(
    predictions: Sequence[Prediction], *, score: str = "confidence"
) -> tuple[list[float], list[float]] | None:
    """False and true positive rates of calling pictures defective; None unless both kinds occur."""
    pictures = pictures_of(predictions, score=score)
    return roc_curve([each.broken for each in pictures], [each.defect_score for each in pictures])


def is_right(prediction: Prediction) -> bool:
    """Whether label and box are right: the label, and for a defect an IoU of at least 0.5."""
    (picture,) = pictures_of([prediction], score="constant")
    return picture.label_right and (not picture.broken or picture.overlap >= 0.5)


def answers_json(predictions: Sequence[Prediction]) -> dict[str, list[str]]:
    """``mvtec_ad_regression.json``: the answers under each picture's path, which is unique."""
    answers: dict[str, list[str]] = defaultdict(list)
    for each in predictions:
        answers[str(each.meta["image_path"])].append(each.answer)
    return dict(answers)


def summary(metrics: Mapping[str, Any]) -> list[str]:
    """The metrics as lines of text."""
    original, best = metrics["original_protocol"], metrics["best_threshold"]
    lines = [
        f"mAP {with_interval(metrics, 'map')}, at IoU 0.50 {with_interval(metrics, 'map_50')}, at "
        f"0.75 {with_interval(metrics, 'map_75')} over {metrics['count']} pictures, each counted "
        f"once; {metrics['unparsed']} answers could not be read and count as misses",
        f"AP of defect {with_interval(metrics, 'ap_defect')}, of not-defect "
        f"{with_interval(metrics, 'ap_not_defect')}; mAP over objects and labels "
        f"{percent(metrics['class_aware']['map'])}, of boxes whatever their label "
        f"{percent(metrics['class_agnostic']['map'])}",
        f"Image AUROC {with_interval(metrics, 'auroc')}, F1 {with_interval(metrics, 'f1')}, mean "
        f"IoU of defects {with_interval(metrics, 'mean_iou_defect')}; calibration error of labels "
        f"{percent(metrics['calibration']['ece'])}",
    ]
    if best is not None:
        lines.append(
            f"Best F1 {percent(best['f1'])}, from a score of {best['threshold']:.3f} on: chosen on "
            "these very pictures, so it flatters"
        )
    lines.append(f"mAP by object: {listed(metrics['by_class'], 'map')}")
    for key, name in (("by_defect", "kind of defect"), ("by_size", "size of defect")):
        if metrics[key]:
            lines.append(f"AP by {name}: {listed(metrics[key], 'ap')}")
    lines.append(
        f"By the original's protocol (every score 1): mAP {percent(original['map'])}; it leaves "
        f"out {original['left_out']} pictures and confuses {original['colliding']} names"
    )
    return lines
