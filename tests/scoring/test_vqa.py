import unicodedata

import pytest
from scripted import vqa_prediction

from minigpt4.scoring.vqa import answers_json, score_vqa, summary


def test_unicode_form_case_and_white_space_do_not_count():
    decomposed = unicodedata.normalize("NFD", "màu đỏ")
    metrics = score_vqa(
        [
            vqa_prediction(decomposed, "màu đỏ"),
            vqa_prediction(" Màu  đỏ ", "màu đỏ"),
            vqa_prediction("màu xanh", "màu đỏ"),
            vqa_prediction("mau do", "màu đỏ"),
        ]
    )
    assert metrics["accuracy"] == pytest.approx(0.5)
    assert (metrics["correct"], metrics["count"]) == (2, 4)


def test_the_original_compares_lower_cased_strings_as_they_are():
    metrics = score_vqa(
        [
            vqa_prediction("Màu Đỏ", "màu đỏ"),
            vqa_prediction("màu đỏ ", "màu đỏ"),
            vqa_prediction(unicodedata.normalize("NFD", "màu đỏ"), "màu đỏ"),
        ]
    )
    assert metrics["original_protocol"]["accuracy"] == pytest.approx(1 / 3)
    assert metrics["accuracy"] == pytest.approx(1.0)


def test_empty_and_cut_answers_are_misses_and_counted():
    cut = vqa_prediction("chiếc xe màu đ", "màu đỏ")
    cut.finished = False
    metrics = score_vqa([vqa_prediction("  ", "màu đỏ"), cut])
    assert (metrics["unparsed"], metrics["unfinished"], metrics["accuracy"]) == (1, 1, 0.0)


def test_accuracy_by_type_and_source():
    metrics = score_vqa(
        [
            vqa_prediction("hai", "hai", type="1", source="scenes"),
            vqa_prediction("ba", "hai", type=1, source="scenes"),
            vqa_prediction("mèo", "mèo", type="0", source="easy"),
            vqa_prediction("có", "có", type="yes/no"),
        ]
    )
    assert metrics["by_type"]["number"] == {"accuracy": 0.5, "correct": 1, "count": 2}
    assert metrics["by_type"]["object"]["count"] == 1
    assert metrics["by_type"]["yes/no"]["accuracy"] == 1.0
    assert metrics["by_source"]["scenes"]["accuracy"] == 0.5
    assert sum(each["count"] for each in metrics["by_type"].values()) == metrics["count"]


def test_answers_file_gives_each_sample_its_own_reference():
    rows = answers_json(
        [
            vqa_prediction("Mèo", "mèo", question="con gì", img_id=7),
            vqa_prediction("hai", "ba", question="mấy con", img_id=8),
        ]
    )
    assert [(row["pred"], row["gt"]) for row in rows] == [("mèo", "mèo"), ("hai", "ba")]
    assert [row["correct"] for row in rows] == [True, False]
    assert rows[0]["question"] == "con gì"
    assert rows[1]["img_id"] == 8


def test_summary_labels_the_second_figure():
    lines = summary(score_vqa([vqa_prediction("hai ", "hai", type=1)]))
    assert "100.00 %" in lines[0]
    assert "number 100.00 % (1/1)" in lines[1]
    assert "original's protocol" in lines[2] and "0.00 %" in lines[2]
