import argparse
import json

import pytest
import yaml
from PIL import Image

from minigpt4.common.config import Config
from minigpt4.serve.examples import PER_DATASET, find_examples


@pytest.fixture
def config(tmp_path):
    """A configuration that evaluates on questions and on defects, both outside of the project."""
    pictures = tmp_path / "images"
    pictures.mkdir()
    rows, defects = [",question,answer,img_id,type"], []
    for number in range(12):
        Image.new("RGB", (20, 10), (number, 0, 0)).save(pictures / f"{number:012d}.jpg")
        rows.append(f"{number},câu {number},đỏ,{number},{number % 3}")
        defects.append(
            {
                "image_path": f"{number:012d}.jpg",
                "class": "xyz"[number % 3],
                "is_broken": number % 2 == 0,
                "bbox": [0, 0, 50, 50],
            }
        )
    (tmp_path / "test.csv").write_text("\n".join(rows), encoding="utf-8")
    (tmp_path / "val.json").write_text(json.dumps(defects), encoding="utf-8")
    entries = {
        "vivqa": {"eval_file_path": str(tmp_path / "test.csv"), "img_path": str(pictures)},
        "mvtec_ad": {"eval_file_path": str(tmp_path / "val.json"), "img_path": str(pictures)},
    }
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump({"model": {"image_size": 16}, "evaluation_datasets": entries}))
    return Config(argparse.Namespace(cfg_path=str(file), options=None))


def test_a_few_of_each_data_set_one_of_each_kind(config, tmp_path):
    copies = tmp_path / "copies"
    copies.mkdir()
    examples = find_examples(config, copies)
    questions = [each for each in examples if each.tag == "[vqa]"]
    defects = [each for each in examples if each.tag == "[detection]"]
    assert [each.question for each in questions] == ["câu 0", "câu 1", "câu 2"]
    assert len(defects) == PER_DATASET
    assert all(each.question.startswith("a defect or not-defect") for each in defects)
    for each in examples:
        assert each.picture.startswith(str(copies))
        with Image.open(each.picture) as picture:
            assert picture.size == (20, 10)
    assert len({each.picture for each in examples}) == len(examples)


def test_data_that_are_not_there_give_no_examples(config, tmp_path, caplog):
    (tmp_path / "test.csv").unlink()
    with caplog.at_level("INFO", logger="minigpt4"):
        examples = find_examples(config, tmp_path)
    assert {each.tag for each in examples} == {"[detection]"}
    assert "no examples of vivqa" in caplog.text


def test_phrases_are_asked_in_the_words_of_the_data(tmp_path):
    phrases = [
        {
            "img_id": f"COCO_train2014_{number:012d}_{number}",
            "sents": f"the cup {number}",
            "bbox": [1, 1, 5, 5],
            "width": 20,
            "height": 10,
        }
        for number in range(2)
    ]
    for each in phrases:
        Image.new("RGB", (20, 10)).save(tmp_path / f"{each['img_id'][:27]}.jpg")
    (tmp_path / "refcoco_val.json").write_text(json.dumps(phrases), encoding="utf-8")
    entry = {"eval_file_path": str(tmp_path / "refcoco_val.json"), "img_path": str(tmp_path)}
    file = tmp_path / "demo.yaml"
    file.write_text(yaml.safe_dump({"evaluation_datasets": {"refcoco": entry}}))
    copies = tmp_path / "copies"
    copies.mkdir()
    examples = find_examples(Config(argparse.Namespace(cfg_path=str(file), options=None)), copies)
    assert [(each.tag, each.question) for each in examples] == [
        ("[refer]", "give me the location of the cup 0"),
        ("[refer]", "give me the location of the cup 1"),
    ]
