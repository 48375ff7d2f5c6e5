import unicodedata

import pytest
from scripted import vqa_prediction

from minigpt4.common.errors import ConfigError
from minigpt4.scoring.vqa import answers_json, is_right, score_vqa, summary


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
    assert "original's protocol" in lines[-1] and "0.00 %" in lines[-1]


def ten(answer, *, agreeing, **meta):
    """A question that so many of ten people answered with ``dog``, the others all differently."""
    people = ["dog"] * agreeing + [f"cat {i}" for i in range(10 - agreeing)]
    return vqa_prediction(answer, "dog", answers=people, **meta)


def test_the_metric_decides_what_accuracy_and_right_mean():
    asked = [ten("a dog", agreeing=2), ten("Dog", agreeing=2), ten("bird", agreeing=2)]
    by_metric = {name: score_vqa(asked, metric=name) for name in ("exact", "vqa", "vizwiz")}
    assert by_metric["exact"]["accuracy"] == pytest.approx(1 / 3)
    assert by_metric["vqa"]["accuracy"] == pytest.approx(2 * 0.6 / 3)
    assert by_metric["vizwiz"]["accuracy"] == pytest.approx(2 / 3 / 3)
    assert by_metric["vqa"]["correct"] == 2
    assert all(each["soft_accuracy"] == pytest.approx(0.4) for each in by_metric.values())
    assert [is_right(each, metric="vqa") for each in asked] == [True, True, False]
    assert [is_right(each) for each in asked] == [False, True, False]


def test_a_sample_may_name_its_own_metric():
    own = ten("a dog", agreeing=2, metric="vqa")
    assert is_right(own)
    assert not is_right(own, metric="exact")
    assert score_vqa([own])["accuracy"] == pytest.approx(0.6)
    assert score_vqa([own])["metric"] == "vqa"


def test_anls_is_a_mean_and_right_from_half():
    metrics = score_vqa([vqa_prediction("hause", "house"), vqa_prediction("x", "house")],
                        metric="anls")  # fmt: skip
    assert metrics["accuracy"] == metrics["anls"] == pytest.approx(0.4)
    assert metrics["correct"] == 1
    assert "soft_accuracy" not in metrics
    assert "(metric anls)" in summary(metrics)[0]


def test_an_unknown_metric_is_refused():
    with pytest.raises(ConfigError, match=r"'bleu'.*exact, vqa, vizwiz, anls"):
        score_vqa([vqa_prediction("a", "a")], metric="bleu")


def test_by_frequency_in_training_and_without_overlap():
    metrics = score_vqa(
        [
            vqa_prediction("a", "a", train_count=0, overlap=""),
            vqa_prediction("b", "a", train_count=9, overlap="picture"),
            vqa_prediction("a", "a", train_count=10, overlap="pair"),
            vqa_prediction("b", "a", train_count=100, overlap=""),
        ]
    )
    bands = {name: each["accuracy"] for name, each in metrics["by_frequency"].items()}
    assert bands == {"unseen": 1.0, "1-9": 0.0, "10-99": 1.0, "100+": 0.0}
    assert metrics["no_overlap"] == {"accuracy": 0.5, "count": 2}
    assert "by_frequency" not in score_vqa([vqa_prediction("a", "a")])


def test_intervals_are_drawn_by_picture_and_off_unless_asked_for():
    asked = [vqa_prediction("a" if i % 4 else "b", "a", type=str(i % 2)) for i in range(80)]
    for i, each in enumerate(asked):
        each.picture = f"picture {i // 2}"
    assert score_vqa(asked)["intervals"] == {}
    metrics = score_vqa(asked, resamples=400)
    low, high = metrics["intervals"]["accuracy"]
    assert 0.6 < low < 0.75 < high < 0.9
    assert set(metrics["intervals"]) == {"accuracy", "anls", "token_f1"}
    assert "intervals" not in metrics["by_type"]["number"]  # all are right
    assert f"(95 % interval {low * 100:.1f} to {high * 100:.1f}; 60 of 80;" in summary(metrics)[0]


def test_calibration_compares_probability_to_being_right():
    asked = [vqa_prediction("a", "a"), vqa_prediction("b", "a")]
    for each in asked:
        each.probability = 0.75
    found = score_vqa(asked)["calibration"]
    assert found["ece"] == pytest.approx(0.25)
    assert found["bins"][7]["count"] == 2


def test_steps_are_averaged_where_they_are_known():
    asked = [vqa_prediction("a", "a"), vqa_prediction("a", "a"), vqa_prediction("a", "a")]
    assert score_vqa(asked)["mean_steps"] is None
    asked[0].steps, asked[1].steps = 2, 4
    assert score_vqa(asked)["mean_steps"] == pytest.approx(3.0)
