import json
from pathlib import Path

import numpy as np
import pytest
import torch
from scripted import generation, part, said

from minigpt4.models.generation import span_probability
from minigpt4.scoring.coco import Detections
from minigpt4.scoring.defect_answers import DEFECT, NOT_DEFECT, answer_spans, parse_answer
from minigpt4.scoring.detection import (
    answers_json,
    is_right,
    roc,
    score_detection,
    summary,
)
from minigpt4.scoring.original_mvtec import (
    original_id,
    original_map,
    original_protocol,
    torchmetrics_map,
)

ORIGINAL = json.loads(
    (Path(__file__).parents[1] / "fixtures/scoring/original.json").read_text("utf-8")
)
BOX = (10, 20, 40, 50)


@pytest.mark.parametrize("case", ORIGINAL["mvtec_scoring"])
def test_the_originals_scoring_to_the_digit(case):
    values = ORIGINAL["mvtec_scoring"][case]
    result = original_map(values["items"], values["pred"])
    assert {key: result[key] for key in values["result"]} == values["result"]


def test_the_originals_figures_are_torchmetrics_own():
    # Whole-numbered boxes: overlaps and recalls often fall on a threshold exactly.
    torchmetrics = pytest.importorskip("torchmetrics.detection.mean_ap")
    random = np.random.default_rng(0)
    predicted, true = [], []
    for _ in range(150):
        corner, size = random.integers(0, 50, (2, 2)), random.integers(3, 50, (2, 2))
        boxes = np.concatenate([corner, corner + size], axis=1)
        near = boxes + random.integers(-2, 3, (2, 4))
        scores = random.integers(1, 5, 2) / 4
        predicted.append(
            Detections(near.tolist(), random.integers(-1, 2, 2).tolist(), scores.tolist())
        )
        true.append(Detections(boxes.tolist(), random.integers(0, 2, 2).tolist()))
    metric = torchmetrics.MeanAveragePrecision(class_metrics=True)
    metric.update(
        [
            {
                "boxes": torch.tensor(each.boxes).float(),
                "labels": torch.tensor(each.labels),
                "scores": torch.tensor(each.scores),
            }
            for each in predicted
        ],
        [
            {"boxes": torch.tensor(each.boxes).float(), "labels": torch.tensor(each.labels)}
            for each in true
        ],
    )
    expected = {key: value.tolist() for key, value in metric.compute().items()}
    assert torchmetrics_map(predicted, true) == expected


@pytest.mark.parametrize(
    ("text", "label", "name", "boxes"),
    [
        ("<p>bottle-defect</p>{<10><20><40><50>}", DEFECT, "bottle", [BOX]),
        ("<p>bottle-not-defect</p>{<0><0><100><100>}", NOT_DEFECT, "bottle", [(0, 0, 100, 100)]),
        ("<p> b c - not - defect </p> {<1> <2> <3> <4>}", NOT_DEFECT, "b c", [(1, 2, 3, 4)]),
        ("<p>a-defect</p>{<1><2><3><4>}<delim>{<5><6><7><8>}", DEFECT, "a",
         [(1, 2, 3, 4), (5, 6, 7, 8)]),
        ("<p>cable</p>{<0><0><9><9>}<p>a-defect</p>{<1><2><3><4>}", DEFECT, "a", [(1, 2, 3, 4)]),
        ("<p>gạch-defect</p>{<1><2><3><4>}", DEFECT, "gạch", [(1, 2, 3, 4)]),
    ],
)  # fmt: skip
def test_answers_that_can_be_read(text, label, name, boxes):
    answer = parse_answer(text)
    assert (answer.label, answer.object_class, answer.boxes) == (label, name, boxes)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a bottle",
        "<p>bottle-defect</p>",
        "<p>bottle</p>{<1><2><3><4>}",
        "<p>bottle-defect</p>{<40><20><10><50>}",
        "<p>bottle-defect</p>{<1><2><3>}",
        "<p>bottle-defect</p>{<1><2><3><400>}",
        "{<1><2><3><4>}",
    ],
)
def test_answers_that_cannot_be_read(text):
    assert parse_answer(text) is None
    assert answer_spans(text) == {}


def test_the_score_is_the_labels_probability():
    text = said("bottle", "not-defect")
    start, end = answer_spans(text)["label"]
    assert text[start:end] == "not-defect"
    made = generation(text, {"bottle": 0.5, "not": 0.8, "{": 0.1})
    assert span_probability(made, start, end) == pytest.approx(0.8)


def test_perfect_answers():
    metrics = score_detection(
        [
            part("bottle/cut/000.png", said("bottle", "defect", BOX), bbox=BOX, label=0.9),
            part("bottle/good/000.png", said("bottle", "not-defect"), label=0.8),
        ]
    )
    for key in ("map", "map_50", "ap_defect", "ap_not_defect", "auroc", "f1", "class_accuracy"):
        assert metrics[key] == pytest.approx(1.0), key
    assert metrics["mean_iou_defect"] == pytest.approx(1.0)
    assert (metrics["count"], metrics["broken"], metrics["unparsed"]) == (2, 1, 0)


def test_unreadable_answers_are_misses_and_counted():
    parts = [
        part("bottle/cut/000.png", said("bottle", "defect", BOX), bbox=BOX),
        part("bottle/cut/001.png", "I cannot see it", bbox=BOX),
        part("bottle/good/000.png", said("bottle", "not-defect")),
    ]
    metrics = score_detection(parts)
    assert metrics["unparsed"] == 1
    assert metrics["ap_defect"] == pytest.approx(51 / 101)
    assert metrics["map"] == pytest.approx((51 / 101 + 1) / 2)
    assert metrics["mean_iou_defect"] == pytest.approx(0.5)
    # The original leaves the picture out, which hides the miss.
    assert metrics["original_protocol"]["map"] == pytest.approx(1.0)
    assert metrics["original_protocol"]["left_out"] == 1


def test_equal_file_names_do_not_collide():
    other = (60, 60, 90, 95)
    parts = [
        part("x/bottle/broken_large/000.png", said("bottle", "defect", BOX), bbox=BOX),
        part("x/bottle/broken_small/000.png", said("bottle", "defect", other), bbox=other),
    ]
    for each in parts:
        each.meta["class"] = "bottle"
    metrics = score_detection(parts)
    assert metrics["map"] == pytest.approx(1.0)
    assert metrics["count"] == 2
    assert len(answers_json(parts)) == 2
    assert metrics["original_protocol"]["colliding"] == 1
    assert metrics["original_protocol"]["map"] < 1


def test_entries_that_share_a_picture_are_one_picture():
    other = (60, 60, 90, 95)
    answer = said("a", "defect", BOX) + "<delim>" + "{<60><60><90><95>}"
    parts = [part("a/cut/0.png", answer, bbox=BOX), part("a/cut/0.png", answer, bbox=other)]
    metrics = score_detection(parts)
    assert metrics["count"] == 1
    assert metrics["ap_defect"] == pytest.approx(1.0)
    assert metrics["mean_iou_defect"] == pytest.approx(1.0)


def test_confidence_orders_detections_and_the_constant_does_not():
    parts = [
        part("a/cut/0.png", said("a", "defect", BOX), bbox=BOX, label=0.9),
        part("a/good/0.png", said("a", "defect", BOX), label=0.6),
    ]
    confident = score_detection(parts)
    assert confident["ap_defect"] == pytest.approx(1.0)
    assert confident["auroc"] == pytest.approx(1.0)
    constant = score_detection(parts, score="constant")
    assert constant["auroc"] == pytest.approx(0.5)
    assert constant["score"] == "constant"


def test_image_level_auroc_by_hand():
    # Defect scores: broken 0.9, broken 1 - 0.7 = 0.3, good unread 0.5, good 1 - 0.8 = 0.2.
    metrics = score_detection(
        [
            part("a/cut/0.png", said("a", "defect", BOX), bbox=BOX, label=0.9),
            part("a/cut/1.png", said("a", "not-defect"), bbox=BOX, label=0.7),
            part("a/good/0.png", "?", label=0.99),
            part("a/good/1.png", said("a", "not-defect"), label=0.8),
        ]
    )
    assert metrics["auroc"] == pytest.approx(3 / 4)
    assert metrics["f1"] == pytest.approx(2 / 3)


def test_by_class_and_kind_of_defect():
    parts = [
        part("a/cut/0.png", said("a", "defect", BOX), bbox=BOX),
        part("a/hole/0.png", said("a", "not-defect"), bbox=BOX),
        part("b/stain/0.png", said("a", "defect", BOX), bbox=BOX, defect="oil"),
        part("b/good/0.png", said("b", "not-defect")),
    ]
    metrics = score_detection(parts)
    assert metrics["by_class"]["a"]["count"] == 2
    assert metrics["by_class"]["a"]["ap_defect"] == pytest.approx(51 / 101)
    assert metrics["by_class"]["b"]["map"] == pytest.approx(1.0)
    assert metrics["class_accuracy"] == pytest.approx(0.75)
    assert set(metrics["by_defect"]) == {"cut", "hole", "oil"}
    assert metrics["by_defect"]["cut"]["ap"] == pytest.approx(1.0)
    assert metrics["by_defect"]["hole"]["ap"] == 0.0
    assert metrics["by_defect"]["hole"]["recall"] == 0.0
    assert metrics["by_label"]["defect"]["count"] == 3


def test_only_good_parts_leave_defect_figures_undefined():
    metrics = score_detection([part("a/good/0.png", said("a", "not-defect"))])
    assert metrics["map"] == pytest.approx(1.0)
    assert metrics["ap_defect"] is None
    assert metrics["auroc"] is None
    assert metrics["mean_iou_defect"] is None
    assert any("–" in line for line in summary(metrics))


def test_original_protocol_reads_answers_as_the_original_did():
    good = part("a/good/0.png", "<p> a-not-defect </p> {<0> <0> <100> <100>}<unk>")
    assert original_protocol([good])["map"] == pytest.approx(1.0)
    late = part("a/good/0.png", "it is " + said("a", "not-defect"))
    assert original_protocol([late]) == {
        "map": None, "map_50": None, "map_75": None, "left_out": 1, "colliding": 0,
    }  # fmt: skip
    assert original_id(good.meta) == "a.good.0"


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (said("a", "defect", BOX), True),
        (said("b", "defect", (12, 20, 40, 50)), True),
        (said("a", "defect", (60, 60, 90, 90)), False),
        (said("a", "not-defect"), False),
        ("", False),
    ],
)
def test_right_is_label_and_half_overlap(answer, right):
    assert is_right(part("a/cut/0.png", answer, bbox=BOX)) is right


def test_the_curve_of_pictures_needs_both_kinds():
    parts = [
        part("a/cut/0.png", said("a", "defect", BOX), bbox=BOX),
        part("a/good/0.png", said("a", "not-defect")),
    ]
    assert roc(parts)[1][-1] == 1.0
    assert roc(parts[1:]) is None
