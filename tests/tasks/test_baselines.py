"""Numbers that need no picture: each is worked out by hand."""

import csv
import json
from types import SimpleNamespace

import pytest
from scripted import write_mvtec, write_vivqa

from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.datasets.builders import build_eval_dataset
from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.tasks.baselines import (
    answered,
    commonest_label_and_box,
    condense,
    score_baselines,
)

COLOUR, NUMBER, PLACE = "2", "1", "3"


def opened(name, kind, path, **settings):
    settings = EvalDatasetSettings(eval_file_path=str(path), blank=True, **settings)
    dataset = build_eval_dataset(name, settings, vis_processor=lambda image: image)
    return SimpleNamespace(name=name, kind=kind, settings=settings, dataset=dataset)


def predictions_of(data):
    return [
        Prediction(
            id=each.id, answer="?", finished=True, probability=0.1,
            question=each.turns[0].instruction, reference=each.turns[0].answer,
            picture=each.picture, meta=each.meta,
        )
        for each in data.dataset.described()
    ]  # fmt: skip


def vivqa(tmp_path, test, train):
    path = write_vivqa(tmp_path / "ViVQA", test)
    with path.with_name("train.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "question", "answer", "img_id", "type"])
        writer.writerows([i, *row] for i, row in enumerate(train))
    return opened("vivqa", "vqa", path)


def test_commonest_answers_overall_by_type_and_by_question(tmp_path):
    train = [
        ("màu của xe là gì", "màu đỏ", 1, COLOUR),
        ("màu của xe là gì", "Màu đỏ", 2, COLOUR),
        ("màu của xe là gì", "màu trắng", 3, COLOUR),
        ("màu của mèo là gì", "màu đen", 4, COLOUR),
        ("có mấy con mèo", "hai", 5, NUMBER),
    ]
    test = [
        ("Màu của xe là gì", "màu đỏ", 11, COLOUR),  # all three know
        ("màu của mèo là gì", "màu đen", 12, COLOUR),  # only the question tells
        ("có mấy quả táo", "hai", 13, NUMBER),  # the type tells, and so the question's fallback
        ("ở đâu", "bãi biển", 14, PLACE),  # nobody knows
    ]
    data = vivqa(tmp_path, test, train)
    found = score_baselines(data, predictions_of(data))
    assert {name: each["accuracy"] for name, each in found.items()} == {
        "commonest_answer": 1 / 4,
        "commonest_by_type": 2 / 4,
        "commonest_by_question": 3 / 4,
    }
    assert "màu đỏ" in found["commonest_answer"]["description"]
    assert all(each["count"] == 4 for each in found.values())
    json.dumps(found)


def test_questions_of_one_kind_have_no_baseline_by_type(tmp_path):
    rows = [("ở đâu", "bãi biển", 1, PLACE)]
    data = vivqa(tmp_path, rows, rows)
    assert set(score_baselines(data, predictions_of(data))) == {"commonest_answer"}


def test_intervals_come_with_the_figures(tmp_path):
    rows = [(f"câu {i}", "hai" if i % 2 else "ba", i, NUMBER) for i in range(30)]
    data = vivqa(tmp_path, rows, rows)
    found = score_baselines(data, predictions_of(data), options=ScoreOptions(resamples=200))
    low, high = found["commonest_answer"]["intervals"]["accuracy"]
    assert 0.2 < low < found["commonest_answer"]["accuracy"] == 0.5 < high < 0.8


def test_without_training_annotations_there_are_none(tmp_path):
    data = opened("vivqa", "vqa", write_vivqa(tmp_path / "a", [("ở đâu", "nhà", 1, PLACE)]))
    assert score_baselines(data, predictions_of(data)) == {}


def mvtec(tmp_path, test, train):
    path = write_mvtec(tmp_path / "MVTEC_det", test)
    train_file = write_mvtec(tmp_path / "training", train)
    return opened("mvtec_ad", "detection", path, train_file_path=str(train_file))


def test_boxes_of_defects_are_guessed_from_their_usual_place(tmp_path):
    train = [(f"cap/good/{i}.png", None) for i in range(5)]
    train += [("cap/cut/0.png", (10, 10, 30, 30)), ("cap/cut/1.png", (10, 10, 30, 30))]
    train += [("nut/cut/0.png", (60, 60, 80, 80)), ("nut/cut/1.png", (70, 70, 90, 90))]
    test = [("cap/cut/9.png", (10, 10, 30, 30)), ("nut/cut/9.png", (65, 65, 85, 85))]
    test += [("cap/good/9.png", None)]
    data = mvtec(tmp_path, test, train)
    found = score_baselines(data, predictions_of(data))
    # Boxes by object: cap (10..30), nut: the commonest of two is the first, the mean lies between.
    assert set(found) == {"commonest_answer", "mean_defect_box", "commonest_defect_box"}
    assert found["mean_defect_box"]["ap_defect"] > found["commonest_defect_box"]["ap_defect"] > 0.4
    assert found["mean_defect_box"]["ap_defect"] == pytest.approx(1.0)
    assert found["commonest_answer"]["ap_defect"] == found["commonest_answer"]["f1"] == 0
    assert all(each["auroc"] == 0.5 for each in found.values())
    json.dumps(found)


def test_the_commonest_pair_may_differ_from_the_commonest_label(tmp_path):
    # Most pictures are broken, in places all different; the whole picture is the commonest box.
    train = [(f"cap/cut/{i}.png", (i, i, 50 + i, 50 + i)) for i in range(3)]
    train += [(f"cap/good/{i}.png", None) for i in range(2)]
    data = mvtec(tmp_path, [("cap/good/9.png", None), ("cap/cut/9.png", (0, 0, 50, 50))], train)
    found = score_baselines(data, predictions_of(data))
    assert "not-defect" in found["commonest_answer"]["description"]
    assert "(defect)" in found["whole_picture"]["description"]
    assert found["whole_picture"]["f1"] == pytest.approx(2 / 3)


def test_training_without_defects_says_nothing_about_their_place(tmp_path):
    data = mvtec(tmp_path, [("cap/good/9.png", None)], [("cap/good/1.png", None)])
    assert set(score_baselines(data, predictions_of(data))) == {"commonest_answer"}


def test_ties_do_not_depend_on_the_order_of_the_file():
    rows = [
        {"is_broken": True, "bbox": [1, 1, 9, 9], "image_path": "a"},
        {"is_broken": True, "bbox": [2, 2, 9, 9], "image_path": "b"},
    ]
    assert commonest_label_and_box(rows) == commonest_label_and_box(rows[::-1]) == (1, (1, 1, 9, 9))


def test_other_answers_for_the_same_samples():
    before = Prediction(
        id="1", answer="x", finished=False, probability=0.3, picture="p", meta={"answer": "hai"}
    )
    (after,) = answered([before], lambda each: "Hai")
    assert (after.answer, after.finished, after.probability) == ("Hai", True, 1.0)
    assert (after.id, after.picture, after.meta) == ("1", "p", {"answer": "hai"})
    assert before.answer == "x"


def test_condensed_figures_leave_out_what_is_not_defined():
    metrics = {"map": 0.5, "auroc": None, "count": 3, "by_class": {}}
    metrics["intervals"] = {"map": [0.4, 0.6], "map_75": [0, 1]}
    assert condense(get_kind("detection"), metrics, "pictures blanked") == {
        "description": "pictures blanked",
        "map": 0.5,
        "intervals": {"map": [0.4, 0.6]},
        "count": 3,
    }
