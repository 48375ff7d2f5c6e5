"""The report of defects: labels and boxes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from minigpt4.common.boxes import Box
from minigpt4.common.metrics import percent
from minigpt4.common.text import normalize
from minigpt4.reports import plots
from minigpt4.reports.gallery import Card, DrawnBox, Verdict, composed, gallery_of, picture_of
from minigpt4.reports.page import Figure, Headline, Matrix, Note, Plot, Plots, Section, Table
from minigpt4.reports.shared import (
    asking_figures,
    baseline_sections,
    confidence_plot,
    confusion,
    group_table,
    overlap_section,
    reliability_plot,
    share_figure,
    verdict_of,
)
from minigpt4.scoring import defect_answers, detection
from minigpt4.scoring.defect_answers import DEFECT, LABELS, DefectAnswer
from minigpt4.scoring.defect_groups import SIZES, ap_of
from minigpt4.scoring.defect_pictures import DefectPicture, pictures_of
from minigpt4.scoring.kinds import get_kind
from minigpt4.scoring.prediction import Prediction

_UNREAD = "(unread)"
_RECALLS = [i / 100 for i in range(101)]
_BASELINES = {
    "map": "mAP",
    "map_50": "mAP 50",
    "ap_defect": "AP of defect",
    "auroc": "image AUROC",
    "f1": "F1",
}


def detection_sections(
    metrics: Mapping[str, Any],
    predictions: Sequence[Prediction],
    *,
    overlap: Mapping[str, Any] | None = None,
) -> list[Section]:
    """mAP, AP by label, object, kind of defect and size; curves; samples with their boxes.

    Args:
        metrics: As scoring gave them.
        predictions: What was scored.
        overlap: What evaluation and training share.
    """
    kind = get_kind("detection")
    verdicts = [verdict_of(kind, each) for each in predictions]
    sections: list[Section] = [Headline(_figures(metrics))]
    sections += baseline_sections(metrics, _BASELINES)
    sections += group_table(
        metrics,
        "by_label",
        "By label",
        {"ap": "AP", "ap_50": "AP 50", "ap_75": "AP 75", "count": "pictures"},
        fewest=1,
    )
    sections += _aware(metrics)
    sections += group_table(
        metrics,
        "by_class",
        "By object",
        {
            "map": "mAP",
            "ap_defect": "AP of defect",
            "auroc": "AUROC",
            "count": "pictures",
            "broken": "defective",
            "unparsed": "unread",
        },
        bars=[1, 2],
        fewest=1,
    )
    sections += group_table(
        metrics,
        "by_defect",
        "By kind of defect",
        {
            "ap": "AP",
            "ap_50": "AP 50",
            "recall": "called a defect",
            "mean_iou": "mean IoU",
            "count": "pictures",
        },
        note="AP on the pictures of one kind together with all good ones, so that false alarms "
        "count.",
        fewest=1,
    )
    sections += group_table(
        metrics,
        "by_size",
        "By size of the defect",
        {
            "ap": "AP",
            "ap_50": "AP 50",
            "recall": "called a defect",
            "mean_iou": "mean IoU",
            "count": "boxes",
        },
        note=f"By the share of the picture that a box covers: {size_ranges()}.",
        fewest=1,
    )
    sections += overlap_section(metrics, overlap)
    sections += _curves(metrics, predictions, verdicts)
    sections += _label_confusion(predictions)
    sections.append(gallery_of(predictions, verdicts, detection_card))
    return sections


def size_ranges() -> str:
    """The sizes of boxes and their shares of a picture, for a note."""
    return ", ".join(
        f"{name} from {low * 100:g} % to {high * 100:g} %" for name, (low, high) in SIZES.items()
    )


def _figures(metrics: Mapping[str, Any]) -> list[Figure]:
    figures = [
        *share_figure(metrics, "map", "mAP", "IoU 0.50 to 0.95, every picture counted once"),
        *share_figure(
            metrics,
            "ap_defect",
            "AP of defect",
            "the mean flatters: a good part's box is always the whole picture",
        ),
        *share_figure(metrics, "map_50", "mAP 50", "boxes right from an IoU of 0.50"),
        *share_figure(metrics, "auroc", "Image AUROC", "defective or not, by the label's score"),
        *share_figure(metrics, "f1", "F1", "of the label defect, as answered"),
        *_best_threshold(metrics),
        *share_figure(metrics, "mean_iou_defect", "Mean IoU", "over defects; a miss counts 0"),
        *share_figure(
            metrics.get("calibration") or {},
            "ece",
            "Calibration error",
            "how far probabilities are from being true",
        ),
        Figure("Unread answers", str(metrics.get("unparsed", "–")), "counted as misses"),
        *asking_figures(metrics),
    ]
    original = metrics.get("original_protocol")
    if original:
        note = (
            f"mAP with every score 1; {original['left_out']} pictures left out, "
            f"{original['colliding']} colliding names"
        )
        figures.append(Figure("Original protocol", percent(original["map"]), note))
    return figures


def _best_threshold(metrics: Mapping[str, Any]) -> list[Figure]:
    best = metrics.get("best_threshold")
    if not best or best.get("f1") is None:
        return []
    note = f"from a score of {best['threshold']:.3f} on, chosen on these pictures, so it flatters"
    return [Figure("Best F1", percent(best["f1"]), note)]


def _aware(metrics: Mapping[str, Any]) -> list[Section]:
    found = {
        name: metrics[key]
        for key, name in (("class_aware", "labels by object"), ("class_agnostic", "any label"))
        if metrics.get(key)
    }
    if not found:
        return []
    columns = {"map": "mAP", "map_50": "mAP 50", "map_75": "mAP 75"}
    rows = [
        [name, *(each.get(column) for column in columns)]
        for name, each in {"defect and not-defect": metrics, **found}.items()
    ]
    return [
        Table(
            "What counts as the same label",
            ["", *columns.values()],
            rows,
            bars=[1],
            note="Labels by object tell a bottle's defect from a cable's; any label asks only "
            "where the box is.",
        )
    ]


def _curves(
    metrics: Mapping[str, Any], predictions: Sequence[Prediction], verdicts: Sequence[Verdict]
) -> list[Section]:
    score = metrics.get("score", "confidence")
    drawn = []
    found = ap_of(pictures_of(predictions, score=score)).per_label
    if DEFECT in found:
        series = {
            LABELS[label]: (_RECALLS, found[label].precision_50) for label in (DEFECT, *found)
        }
        drawn.append(
            Plot(
                plots.curves(series, x="recall", y="precision", x_range=(0, 1), y_range=(0, 1)),
                "Precision and recall",
                "Boxes are right from an IoU of 0.50; a good part's is the whole picture.",
            )
        )
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
                f"Defective or not; the area is {percent(metrics.get('auroc'))}.",
            )
        )  # fmt: skip
    if not drawn:
        return [Note("Curves", "There is no defective picture, so there is nothing to draw.")]
    drawn += reliability_plot(metrics, "labels")
    drawn += confidence_plot(
        [each.probabilities.get("label") for each in predictions],
        verdicts,
        "the label's probability",
    )
    return [Plots("Curves", drawn)]


def _label_confusion(predictions: Sequence[Prediction]) -> list[Matrix]:
    labels, objects = [], []
    for each in predictions:
        answer = defect_answers.parse_answer(each.answer)
        true = LABELS[defect_answers.is_broken(each.meta)]
        labels.append((true, LABELS[answer.label] if answer else _UNREAD))
        objects.append((str(each.meta["class"]), _object_name(each, answer)))
    found = confusion(labels, "Labels", names=LABELS[::-1])
    if any(true != said for true, said in objects):
        found += confusion(objects, "Objects", note="What the answer called the part.")
    return found


def _object_name(prediction: Prediction, answer: DefectAnswer | None) -> str:
    if answer is None:
        return _UNREAD
    true = str(prediction.meta["class"])
    same = defect_answers.same_class(answer.object_class, true)
    return true if same else normalize(answer.object_class) or "(none)"


def detection_card(prediction: Prediction, verdict: Verdict, order: int = 0) -> Card:
    """A picture with its true and its answered boxes; a good part's box is not drawn."""
    (picture,) = pictures_of([prediction], score="confidence")
    answer = picture.answer
    true_boxes = defect_answers.true_boxes(prediction.meta) if picture.broken else []
    boxes = [DrawnBox(box, "true", true=True) for box in true_boxes]
    said, raw = composed(prediction.answer), ""
    facts = {}
    if answer is not None:
        said_boxes = answer.boxes if picture.says_broken else []
        boxes += [DrawnBox(box, "answer", true=False) for box in said_boxes]
        said, raw = _readable(answer.object_class, answer.label, said_boxes), said
        if said_boxes and any(name.startswith("box_") for name in prediction.probabilities):
            facts["box score"] = f"{max(picture.scores):.2f}"
    overlap = _overlap(picture)
    if picture.broken:
        facts["IoU"] = f"{picture.overlap:.2f}"
    if prediction.tries:
        facts["asked again"] = f"{prediction.tries} times"
    name = picture.object_class
    return Card(
        picture=picture_of(prediction),
        question="",
        answer=said,
        reference=_readable(name, int(picture.broken), true_boxes),
        verdict=verdict,
        groups={"object": name, "state": picture.defect if picture.broken else "good"},
        confidence=picture.label_probability,
        boxes=boxes,
        facts=facts,
        raw=raw,
        overlap=overlap,
        order=order,
    )


def _overlap(picture: DefectPicture) -> float | None:
    """What cards are sorted by; of a good part, which has no box to find, 0 for a false alarm."""
    if picture.broken:
        return picture.overlap
    return None if picture.label_right else 0.0


def _readable(name: str, label: int, boxes: Sequence[Box]) -> str:
    places = "; ".join(" ".join(str(edge) for edge in box) for box in boxes)
    title = composed(f"{name}: {LABELS[label]}" if name else LABELS[label])
    return f"{title} [{places}]" if places else title
