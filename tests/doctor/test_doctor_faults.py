"""Every row, picture and text that is wrong is listed, with its file and row."""

import unicodedata

import pytest
from made_sets import (
    codes,
    draw,
    entry,
    examined,
    finding,
    vivqa_pictures,
    write_config,
    write_csv,
    write_json,
)
from PIL import Image

from minigpt4.doctor.boxes import box_fault, written_box_fault

PIXELS = {"width": 200, "height": 100}


@pytest.mark.parametrize(
    ("box", "form", "fault"),
    [
        ([10, 10, 20, 20], "grid", None),
        ([10, 10, 20, 101], "grid", "box_outside"),
        ([-1, 10, 20, 20], "grid", "box_outside"),
        ([20, 10, 10, 20], "grid", "box_inverted"),
        ([10, 10, 10, 20], "grid", "box_empty"),
        ([10, 10, 20], "grid", "box_malformed"),
        (["10", 10, 20, 20], "grid", "box_malformed"),
        ([], "grid", "box_missing"),
        (None, "grid", "box_missing"),
        ([150, 50, 50, 50], "pixels_xywh", None),
        ([150, 50, 60, 50], "pixels_xywh", "box_outside"),
        ([150, 50, -10, 50], "pixels_xywh", "box_inverted"),
        ([150, 50, 0, 50], "pixels_xywh", "box_empty"),
        ([150, 50, 200, 100], "pixels_xyxy", None),
        ([[1, 1, 5, 5], [9, 1, 5, 5]], "pixels_xyxy", "box_inverted"),
    ],
)
def test_faults_of_boxes(box, form, fault):
    assert box_fault({"bbox": box, **PIXELS}, form) == fault


def test_boxes_in_texts():
    assert written_box_fault("<p>a</p>{<1><2><3><4>}<delim>{<5><6><7><8>}") is None
    assert "[3, 2, 1, 4]" in written_box_fault("<p>a</p>{<3><2><1><4>}")
    assert "no box can be read" in written_box_fault("{<1><2><3>}")
    assert "no box can be read" in written_box_fault("{<1><2><3><400>}")
    assert "no area" in written_box_fault("{<1><2><1><4>}")


def test_all_faulty_rows_are_listed_not_only_the_first(tmp_path):
    faulty = [[50, 50, 10, 60], [5, 5, 5, 60], [0, 0, 50, 120], [1, 2, 3], None]
    rows = []
    for number in range(24):
        draw(tmp_path / f"{number}.png", number)
        box = faulty[number % 6] if number % 6 < 5 else [10, 10, 60, 60]
        rows.append({"image_path": f"{number}.png", "class": "cap", "is_broken": True, "bbox": box})
    path = write_json(tmp_path / "train_data.json", rows)
    config = write_config(tmp_path, {"mvtec_ad": entry(ann_path=str(path))})
    examination = examined(config)
    listed = ("box_inverted", "box_empty", "box_outside", "box_malformed", "box_missing")
    for offset, code in enumerate(listed):
        found = finding(examination, code)
        assert found.severity == "error"
        assert [place.row for place in found.places] == [offset + 6 * i for i in range(4)]
        assert {place.file for place in found.places} == {str(path)}
        assert "on_bad_row=skip" in found.remedy
    assert examination.checkups[0].figures["samples"] == 4
    skip = "datasets.mvtec_ad.build_info.on_bad_row=skip"
    assert finding(examined(config, skip), "box_empty").severity == "warning"


def test_boxes_that_reach_beyond_and_sizes_that_are_not_the_files(tmp_path):
    draw(tmp_path / "a.png", 1, size=(40, 20))
    said = {"image": "a.png", "phrase": "con mèo"}
    rows = [
        {**said, "width": 40, "height": 20, "bbox": [10, 5, 20, 10]},
        {**said, "width": 40, "height": 20, "bbox": [30, 5, 14, 10]},
        {**said, "width": 80, "height": 40, "bbox": [10, 5, 20, 10]},
    ]
    path = write_json(tmp_path / "boxes.json", rows)
    info = entry(ann_path=str(path), box_form="pixels_xywh")
    examination = examined(write_config(tmp_path, {"mine": {**info, "kind": "refer"}}))
    assert [place.row for place in finding(examination, "box_cut").places] == [1]
    wrong = finding(examination, "wrong_size").places
    assert [(place.row, place.what) for place in wrong] == [(2, "80 by 40, the file 40 by 20")]


def test_missing_and_broken_pictures(tmp_path):
    vivqa_pictures(tmp_path, (1, 2, 3))
    pictures = tmp_path / "images"
    whole = (pictures / f"{2:012d}.jpg").read_bytes()
    (pictures / f"{2:012d}.jpg").write_bytes(whole[: len(whole) // 2])
    with Image.open(pictures / f"{3:012d}.jpg") as image:
        image.getexif()[0x0112] = 6
        image.save(pictures / f"{3:012d}.jpg", exif=image.getexif())
    (pictures / f"{5:012d}.jpg").write_bytes((pictures / f"{1:012d}.jpg").read_bytes())
    rows = [("có gì", "mèo", number) for number in (1, 4, 2, 4, 3, 5)]
    path = write_csv(tmp_path / "train.csv", rows)
    config = write_config(tmp_path, {"vivqa": entry(ann_path=str(path))})
    examination = examined(config)
    missing = finding(examination, "missing_picture")
    assert dict(missing.figures) == {"pictures": 1, "samples": 2}
    assert (missing.severity, missing.places[0].row) == ("error", 1)
    broken = finding(examination, "broken_picture")
    assert (broken.severity, broken.places[0].row) == ("error", 2)
    assert "broken" in broken.places[0].what
    assert finding(examination, "turned_picture").places[0].row == 4
    same = finding(examination, "same_picture")
    assert (same.severity, same.places[0].row) == ("note", 5)
    assert "broken_picture" not in codes(examined(config, read_pictures=False))
    skip = "datasets.vivqa.build_info.on_broken=skip"
    assert finding(examined(config, skip), "missing_picture").severity == "warning"


def test_texts_before_and_after_the_processor(tmp_path):
    vivqa_pictures(tmp_path, (1,))
    long = " ".join(f"chữ{i}" for i in range(53))
    rows = [
        ("Màu Gì", "đỏ", 1),  # only its case changes
        ("màu gì: (a) hay b.", "đỏ", 1),
        (long, "đỏ", 1),
        ("!!!", "đỏ", 1),
        (unicodedata.normalize("NFD", "ở đâu"), "đỏ", 1),
        ("", "đỏ", 1),
        ("ở đâu", "", 1),
    ]
    path = write_csv(tmp_path / "train.csv", rows)
    examination = examined(write_config(tmp_path, {"vivqa": entry(ann_path=str(path))}))

    def at(code):
        return [place.row for place in finding(examination, code).places]

    assert at("text_cut") == [2]
    assert finding(examination, "text_cut").places[0].what.startswith("3 words of")
    assert at("text_gone") == [3]
    assert at("text_changed") == [1, 2, 3]
    figures = dict(finding(examination, "text_changed").figures)
    assert figures == {"rows": 3, ":": 1, "(": 1, ")": 1, ".": 1, "!": 1}
    assert at("decomposed") == [4]
    assert at("empty_text") == [5, 6]


def test_conversations_are_looked_at_turn_by_turn(tmp_path):
    draw(tmp_path / "COCO_train2014_000000000001.jpg", 1)
    turns = [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": " A cat. "},
        {"from": "human", "value": "Sure?"},
        {"from": "gpt", "value": "Yes."},
    ]
    rows = [
        {"id": "000000000001", "conversations": turns},
        {"id": "000000000001", "conversations": turns[:1]},
    ]
    path = write_json(tmp_path / "conversations.json", rows)
    info = entry(ann_path=str(path), image="COCO_train2014_{id}.jpg")
    datasets = {"mine": {**info, "kind": "conversation"}}
    examination = examined(write_config(tmp_path, datasets))
    assert [p.row for p in finding(examination, "unusable_row").places] == [1]
    assert finding(examination, "stray_spaces").places[0].what == "' A cat. '"
    assert examination.checkups[0].figures["samples"] == 1


def test_a_set_that_cannot_be_opened_does_not_hide_the_others(tmp_path):
    vivqa_pictures(tmp_path, (1,))
    path = write_csv(tmp_path / "train.csv", [("có gì", "mèo ", 1)])
    (tmp_path / "broken.json").write_text("[{", encoding="utf-8")
    write_csv(tmp_path / "empty.csv", [("", "", 1), ("a", "", 1)])
    datasets = {
        "gone": {**entry(ann_path=str(tmp_path / "nowhere.csv")), "kind": "vqa"},
        "torn": {**entry(ann_path=str(tmp_path / "broken.json")), "kind": "vqa"},
        "void": {**entry(ann_path=str(tmp_path / "empty.csv"), image="{img_id}"), "kind": "vqa"},
        "vivqa": entry(ann_path=str(path)),
    }
    examination = examined(write_config(tmp_path, datasets))
    assert "nowhere.csv" in finding(examination, "cannot_open", "gone").summary
    assert "broken.json" in finding(examination, "cannot_open", "torn").summary
    void = finding(examination, "cannot_open", "void")
    assert [place.row for place in void.places] == [None, 0, 1]
    assert finding(examination, "stray_spaces", "vivqa")


def test_entries_that_only_name_processors_are_not_trained_on(tmp_path):
    vivqa_pictures(tmp_path, (1,))
    path = write_csv(tmp_path / "test.csv", [("có gì", "mèo", 1)])
    processors = {k: v for k, v in entry().items() if k.endswith("processor")}
    tested = {"vivqa": {"eval_file_path": str(path)}}
    examination = examined(write_config(tmp_path, {"cc_sbu_align": processors}, tested))
    assert examination.unused == ["datasets.cc_sbu_align"]
    assert not examination.findings


def test_an_entry_of_a_training_run_is_looked_at_whatever_it_leaves_out(tmp_path):
    vivqa_pictures(tmp_path, (1,))
    path = write_csv(tmp_path / "train.csv", [("có gì", "mèo ", 1)])
    bare = {key: value for key, value in entry(ann_path=str(path)).items() if key != "batch_size"}
    config = write_config(tmp_path, {"vivqa": bare})
    assert finding(examined(config, "run.max_epoch=2"), "stray_spaces")
