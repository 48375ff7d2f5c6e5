"""What the public data sets' rows may hold instead of an answer, and what is said then."""

import pytest
from conftest import open_train, write_json, write_picture

from minigpt4.common.errors import DataError
from minigpt4.datasets.base import Draw

TURNS = [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]


@pytest.fixture
def one(tmp_path):
    """Open a data set of one row on one picture."""
    write_picture(tmp_path / "x.jpg", 0)

    def one(name, content, **info):
        file = write_json(tmp_path / "a.json", content)
        return open_train(name, file, tmp_path, **{"image": "x.jpg", **info})

    return one


def vqa(answer):
    return [{"question": "q?", "answer": answer}]


def test_several_questions_in_a_row_are_refused(one):
    with pytest.raises(DataError, match=r"row 0: question is no text .*a row for each question"):
        one("coco_vqa", [{"question": ["q?", "r?"], "answer": ["a", "b"]}])


@pytest.mark.parametrize(
    ("answer", "drawn"),
    [
        (0, {"0"}),
        ([3, 4.5], {"3", "4.5"}),
        ([None, "b", " "], {"b"}),
    ],
)
def test_numbers_are_answers_and_blanks_are_not_drawn(one, answer, drawn):
    dataset = one("coco_vqa", vqa(answer))
    assert {dataset[Draw(0, salt)].turns[0].answer for salt in range(20)} == drawn


def test_one_answer_of_a_list_by_its_place(one):
    dataset = one("coco_vqa", vqa(["first", "second"]), answer="{answer[1]}")
    assert dataset[0].turns[0].answer == "second"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("coco_vqa", vqa("  "), "answer is empty"),
        ("coco_vqa", vqa(["", None]), "answer is empty"),
        ("coco_vqa", vqa([{"answer": "yes"}]), "answer is no text and no list of texts"),
        ("coco_caption", [{"image": "train", "caption": "\n"}], "caption is empty"),
        ("coco_caption", [{"image": "val", "caption": "c"}], "no row of .* is as .*where says"),
        ("textcaps_caption", {"data": {"a": 1}}, "has no list under 'data'"),
        ("flickr_ObjectToPhrase", [{"phrase": "p", "bbox": None}], "row 0: bbox is"),
        ("flickr_ObjectToPhrase", [{"phrase": "p", "bbox": [1, 2, 3, 4]}], "no box_form: ready"),
        ("llava_detail", [{"conversations": [TURNS[0], {"value": " "}]}], "an empty answer"),
        ("llava_detail", [{"conversations": [*TURNS, TURNS[0]]}], "3 turns has no answer"),
        ("ocrvqa", {"k": {"imageURL": "k.jpg", "split": 2}}, "no question of the split 'train'"),
        ("ocrvqa", {"k": {"imageURL": "k.jpg", "split": 1}}, "it lacks 'questions'"),
    ],
)
def test_one_sentence_each(one, name, content, said):
    with pytest.raises(DataError, match=said):
        one(name, content)
