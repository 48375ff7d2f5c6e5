"""``build_info`` of the wrong types or meaning: one sentence, before any file is read."""

import pytest
from conftest import open_train, write_json, write_picture
from made_shards import caption_shards, open_stream

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import make_builder


@pytest.fixture
def opened(tmp_path):
    write_picture(tmp_path / "x.jpg", 0)
    rows = [{"image": "x.jpg", "question": "q?", "answer": "a", "2nd": "b"}]
    file = write_json(tmp_path / "a.json", rows)
    return lambda **info: open_train("gqa", file, tmp_path, **info)


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"prompts": 3}, "prompts is 3, but must be text or a list of texts"),
        ({"classes": ["an", True]}, "a list of texts: put it in quotes"),
        ({"answer": False}, "answer is False, but must be text: put it in quotes"),
        ({"answer": None}, "answer is None, but must be text"),
        ({"image": 5}, "image is 5, but must be text"),
        ({"image_name_only": "no"}, "image_name_only is 'no', but must be True or False"),
        ({"turns": "2"}, "turns is '2', but must be a whole number"),
        ({"turns": 0}, "turns is 0, but must be 1 or more"),
        ({"fields": ["answer"]}, "fields is .*, but must be keys and values"),
        ({"fields": {"answer": 1}}, "fields.answer is 1, but must be text"),
        ({"answers": {"answer": "x"}}, "answers.answer is 'x', but must be keys and values"),
        ({"task": "refers"}, "task is 'refers', but must be one of refer, identify"),
        ({"answer": "{}"}, "'{}' cannot be read .*name no column"),
        ({"answer": "{0}"}, "'{0}' cannot be read .*name no column"),
        ({"annotations": ["a"]}, "holds a list where its default file .gqa.yaml. has keys"),
    ],
)
def test_values_of_the_wrong_type(opened, info, said):
    with pytest.raises(ConfigError, match=said):
        opened(**info)


def test_a_split_of_the_older_form_may_be_its_file_alone(opened, tmp_path):
    dataset = opened(ann_path=None, annotations={"train": str(tmp_path / "a.json")})
    assert dataset[0].turns[0].answer == "a"
    with pytest.raises(ConfigError, match=r"annotations is .*, but must name splits"):
        open_train("mine", "", None, kind="vqa", annotations=["a.json"])


def test_what_a_row_cannot_fill_in_is_told(opened):
    assert opened(answer="{2nd}")[0].turns[0].answer == "b"
    with pytest.raises(DataError, match=r"a\.json, row 0: the patterns .* \(could not convert"):
        opened(answer="{answer:d}")[0]


def test_a_picture_that_is_the_same_for_all_rows(opened):
    assert opened(image="x.jpg")[0].picture == "x.jpg"
    with pytest.raises(DataError, match=r"1 of 1 pictures are missing .*\(y\.jpg\)"):
        opened(image="y.jpg")


@pytest.mark.parametrize(
    ("info", "said"),
    [
        ({"shuffle": "10"}, "shuffle is '10', but must be a whole number"),
        ({"lanes": 0}, "lanes is 0, but must be 1 or more"),
        ({"process": 3}, "process is 3, but must be text or a list of texts"),
        ({"fields": ["x"]}, "fields is .*, but must be keys and values"),
    ],
)
def test_streams(tmp_path, info, said):
    with pytest.raises(ConfigError, match=said):
        open_stream(caption_shards(tmp_path, [2]), **info)


def test_a_kind_that_does_not_go_with_the_name(opened):
    with pytest.raises(ConfigError, match=r"kind is 'webpair', but gqa can only be one of vqa"):
        opened(kind="webpair")
    with pytest.raises(ConfigError, match=r"kind is 'web', but laion can only be one of webpair"):
        make_builder("laion", DatasetSettings(kind="web"))


def test_a_split_without_annotations():
    builder = make_builder("gqa", DatasetSettings())
    with pytest.raises(ConfigError, match=r"split 'val' \(val_ann_path, or val_share\)"):
        builder.build_split("val")
