import pytest

from minigpt4.scoring.kinds import ScoreOptions, get_kind
from minigpt4.scoring.prediction import Prediction
from minigpt4.scoring.refer import answered_box, is_right, overlap, score_refer, true_boxes


def phrase(answer, box=(10, 20, 50, 60), *, picture="a.jpg", pixels=True, **meta):
    """A phrase whose true box stands in a picture of 200 by 100 pixels."""
    x1, y1, x2, y2 = box
    if pixels:
        meta |= {"boxes_px": [[2 * x1, y1, 2 * x2, y2]], "width": 200, "height": 100}
    return Prediction(
        id=f"{picture}-{answer}",
        answer=answer,
        finished=True,
        probability=1.0,
        picture=picture,
        meta={"boxes": [list(box)], **meta},
    )


def test_the_first_box_with_an_area_is_the_answer():
    assert answered_box("<p>a cat</p> {<10><20><50><60>}<delim>{<0><0><1><1>}") == (10, 20, 50, 60)
    assert answered_box("{<50><20><10><60>} {<1><2><3><4>}") == (1, 2, 3, 4)
    for nothing in ("", "at the left", "{<10><20><50>}", "{<10><20><50><600>}", "{<5><5><5><9>}"):
        assert answered_box(nothing) is None


@pytest.mark.parametrize("pixels", [True, False])
def test_a_box_is_right_from_half_an_overlap_on(pixels):
    # The true box is 40 by 40: half of it, and one row less.
    half, less = "{<10><20><50><40>}", "{<10><20><50><39>}"
    assert overlap(phrase(half, pixels=pixels)) == 0.5
    assert is_right(phrase(half, pixels=pixels))
    assert overlap(phrase(less, pixels=pixels)) == pytest.approx(19 / 40)
    assert not is_right(phrase(less, pixels=pixels))


def test_true_boxes_are_not_rounded_where_they_are_in_pixels():
    exact = phrase("{<10><20><50><40>}")
    exact.meta["boxes_px"] = [[20.0, 20.0, 100.0, 60.4]]  # half of 40.4 rows is more than 20
    assert not is_right(exact)
    assert true_boxes(exact.meta) == [(10, 20, 50, 60)]


def test_the_originals_protocol_differs_in_what_it_says_it_does():
    def original(answer, **meta):
        return score_refer([phrase(answer, **meta)])["original_protocol"]["accuracy"]

    whole = "{<10><20><50><60>}"
    assert original(whole) == 1.0
    assert original(f"<unk> {whole}</s>") == 1.0
    assert original(f"a cat {whole}") == 0.0
    assert original(f"{whole} 2") == 0.0
    # 80 by 20 of 80 by 40 pixels: 81 * 21 of 81 * 41 with a pixel more a side.
    assert original("{<10><20><50><40>}") == 1.0
    assert original("{<10><20><50><39>}") == 0.0
    assert original(whole, pixels=False) is None


def test_the_original_compares_with_the_last_box_of_a_name():
    rows = [
        phrase("{<10><20><50><60>}", img_id="COCO_1_2"),
        phrase("{<10><20><50><60>}", box=(60, 60, 90, 90), img_id="COCO_1_2"),
    ]
    metrics = score_refer(rows)
    assert metrics["accuracy"] == 0.5
    assert metrics["original_protocol"]["accuracy"] == 0.0


def test_figures_and_files_of_an_evaluation():
    rows = [
        phrase("{<10><20><50><60>}", picture="a.jpg", img_id="a_1"),
        phrase("nowhere", picture="a.jpg", img_id="a_1"),
        phrase("{<10><20><50><45>}", picture="b.jpg", img_id="b_1"),
        phrase("{<80><80><90><90>}", picture="c.jpg", img_id="c_1"),
    ]
    rows[3].finished = False
    kind = get_kind("refer")
    metrics = kind.score(rows, ScoreOptions(resamples=200))
    assert metrics["accuracy"] == 0.5
    assert metrics["accuracy_75"] == 0.25
    assert metrics["mean_iou"] == pytest.approx((1 + 0 + 25 / 40 + 0) / 4)
    assert (metrics["correct"], metrics["count"]) == (2, 4)
    assert (metrics["unparsed"], metrics["unfinished"]) == (1, 1)
    low, high = metrics["intervals"]["accuracy"]
    assert 0 <= low < 0.5 < high <= 1
    assert [kind.can_read(each) for each in rows] == [True, False, True, True]
    assert kind.answers(rows)["a_1"] == ["{<10><20><50><60>}", "nowhere"]
    assert "2 of 4; 1 answers hold no box" in kind.summary(metrics)[0]
    assert kind.score(rows, ScoreOptions(resamples=0))["intervals"] == {}
