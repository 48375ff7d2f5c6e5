"""Data sets of any number of objects a picture, and of several pictures a sample."""

import pytest
from made_sets import codes, draw, entry, examined, finding, write_config, write_json


def coco(path, objects, names=("cat", "dog")):
    """Three pictures of 100 by 50 and boxes: (picture, class, left, top, width, height)."""
    images = [{"id": i, "file_name": f"{i}.png", "width": 100, "height": 50} for i in range(3)]
    annotations = [
        {"id": n, "image_id": i, "category_id": names.index(name), "bbox": list(box), "iscrowd": 0}
        for n, (i, name, *box) in enumerate(objects)
    ]
    categories = [{"id": i, "name": name} for i, name in enumerate(names)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    for i in range(3):
        draw(path.parent / "images" / f"{i}.png", i, size=(100, 50))
    return write_json(path, content)


GOOD = [(0, "cat", 10, 10, 20, 20), (0, "dog", 50, 10, 20, 20), (1, "cat", 0, 0, 100, 50)]


def detection(path, **info):
    return {**entry(ann_path=str(path), reader="coco", **info), "kind": "detection"}


def test_whole_objects_have_no_findings(tmp_path):
    path = coco(tmp_path / "boxes.json", GOOD)
    examination = examined(write_config(tmp_path, {"mine": detection(path)}))
    assert not examination.findings
    (checkup,) = examination.checkups
    assert checkup.figures["samples"] == 3
    assert dict(checkup.balance.groups["class"]) == {"cat": 2, "dog": 1}


def test_faulty_objects_are_listed_refused_or_left_out(tmp_path):
    faulty = [
        *GOOD,
        (1, "dog", 20, 20, 0, 10),  # without area
        (2, "cat", 90, 10, 20, 10),  # cut at the edge
    ]
    path = coco(tmp_path / "boxes.json", faulty)
    config = write_config(tmp_path, {"mine": detection(path)})
    examination = examined(config)
    assert [place.row for place in finding(examination, "box_empty").places] == [1]
    assert len(finding(examination, "box_cut").places) == 1
    skip = examined(config, "datasets.mine.build_info.on_bad_row=skip")
    left = finding(skip, "box_left_out")
    assert (left.severity, dict(left.figures)) == ("warning", {"boxes": 1})
    assert "is empty" in left.places[0].what
    assert "box_empty" not in codes(skip)


def test_classes_that_training_never_shows(tmp_path):
    train = coco(tmp_path / "a" / "instances_train.json", GOOD)
    names = ("cat", "dog", "cow")
    test = coco(tmp_path / "b" / "instances_val.json", [*GOOD, (2, "cow", 5, 5, 9, 9)], names)
    tested = {
        "mine": {
            "eval_file_path": str(test),
            "kind": "detection",
            "build_info": {"reader": "coco"},
            "max_new_tokens": 90,
        }
    }
    examination = examined(write_config(tmp_path, {"mine": detection(train)}, tested))
    unseen = finding(examination, "unseen_classes")
    assert [place.what for place in unseen.places] == ["cow (1 object)"]
    assert finding(examination, "shared_pictures").figures["pictures"] == 3
    assert "unseen_answers" not in codes(examination)


@pytest.fixture
def pairs(tmp_path):
    rows = []
    for i in range(3):
        draw(tmp_path / f"a{i}.png", i)
        draw(tmp_path / f"b{i}.png", 10 + i)
        rows.append({"a": f"a{i}.png", "b": f"b{i}.png", "question": "khác gì", "answer": f"{i}"})
    path = write_json(tmp_path / "pairs.json", rows)
    info = {"image": "{a}", "more_images": "{b}", "prompts": "[vqa] {question}"}
    return write_config(tmp_path, {"mine": {**entry(ann_path=str(path), **info), "kind": "vqa"}})


def test_all_pictures_of_a_sample_are_looked_at(pairs):
    whole = examined(pairs)
    assert not whole.findings
    (checkup,) = whole.checkups
    sample = checkup.patient.samples_at([0])[0]
    assert sum(token.id is None for token in whole.spelling.tokens(sample)) == 2
    (pairs.parent / "b1.png").write_bytes(b"no picture")
    (pairs.parent / "b2.png").unlink()
    examination = examined(pairs)
    assert "b1.png" in finding(examination, "broken_picture").places[0].what
    assert finding(examination, "missing_picture").places[0].what == "b2.png"
