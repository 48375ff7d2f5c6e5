"""Duplicates, conflicts, overlap and unseen answers, on made-up rows and on the real ones."""

import os
from pathlib import Path

import pytest
from made_sets import (
    TEST,
    TRAIN,
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


@pytest.fixture
def folder(tmp_path):
    write_csv(tmp_path / "train.csv", TRAIN)
    write_csv(tmp_path / "test.csv", TEST)
    vivqa_pictures(tmp_path)
    return tmp_path


def train_entry(folder):
    return {"vivqa": entry(ann_path=str(folder / "train.csv"))}


def test_entry(folder):
    return {"vivqa": {"eval_file_path": str(folder / "test.csv")}}


test_entry.__test__ = False


def test_pairs_that_occur_more_than_once(folder):
    examination = examined(write_config(folder, train_entry(folder), test_entry(folder)))
    repeated = finding(examination, "repeated_pair", "(train)")
    assert dict(repeated.figures) == {"pairs": 2, "extra_rows": 3}
    assert [place.row for place in repeated.places] == [1, 3, 4]
    conflicts = finding(examination, "conflicting_answers")
    assert (conflicts.severity, dict(conflicts.figures)) == ("warning", {"pairs": 1, "rows": 3})
    assert [str(place).rpartition("/")[2] for place in conflicts.places] == [
        "train.csv, row 2: 'hai'",
        "train.csv, row 3: 'ba', asked as in row 2",
        "train.csv, row 4: 'hai', asked as in row 2",
    ]
    exact = finding(examination, "exact_duplicate")
    assert dict(exact.figures) == {"samples": 2, "extra_rows": 2}
    assert [place.row for place in exact.places] == [1, 4]


def test_stray_spaces(folder):
    places = finding(examined(write_config(folder, train_entry(folder))), "stray_spaces").places
    assert [(place.row, place.what) for place in places] == [(5, "'mèo '"), (7, "'trên  bàn'")]


@pytest.mark.parametrize("which", ["both", "train", "test"])
def test_what_the_test_set_shares_with_training(folder, which):
    """The file that the configuration does not name is found beside the other."""
    trained = train_entry(folder) if which != "test" else {}
    tested = test_entry(folder) if which != "train" else {}
    examination = examined(write_config(folder, trained, tested))
    severity = "note" if which == "train" else "warning"
    pairs = finding(examination, "shared_pairs")
    assert (pairs.severity, [place.row for place in pairs.places]) == (severity, [0, 1])
    assert pairs.places[1].what.endswith("train.csv, row 6")
    pictures = finding(examination, "shared_pictures")
    assert dict(pictures.figures) == {"pictures": 3, "of": 4, "rows": 3}
    assert "by content" in pictures.summary
    unseen = finding(examination, "unseen_answers")
    assert [(place.row, place.what) for place in unseen.places] == [(3, "'bò'")]


def test_pictures_are_compared_by_what_the_files_hold(folder):
    """Another name does not hide a picture, and the same name in another folder is no sign."""
    elsewhere = folder / "elsewhere"
    write_csv(elsewhere / "test.csv", [("con gì", "mèo", 9), ("ở đâu", "chó", 1)])
    draw(elsewhere / "images" / f"{9:012d}.jpg", 1)  # picture 1 of training
    draw(elsewhere / "images" / f"{1:012d}.jpg", 77)
    tested = {"vivqa": {"eval_file_path": str(elsewhere / "test.csv")}}
    path = write_config(folder, train_entry(folder), tested)
    assert [p.row for p in finding(examined(path), "shared_pictures").places] == [0]
    by_name = finding(examined(path, read_pictures=False), "shared_pictures")
    assert [p.row for p in by_name.places] == [1]
    assert "by name" in by_name.summary


def test_a_picture_may_have_several_captions(tmp_path):
    draw(tmp_path / "a.jpg", 1)
    rows = [{"image": "a.jpg", "caption": text} for text in ("một con mèo", "a cat", "a cat")]
    path = write_json(tmp_path / "captions.json", rows)
    datasets = {"mine": {**entry(ann_path=str(path)), "kind": "caption"}}
    examination = examined(write_config(tmp_path, datasets))
    assert "conflicting_answers" not in codes(examination)
    assert [p.row for p in finding(examination, "exact_duplicate").places] == [2]


def test_a_test_set_knows_labels_that_training_lacks(tmp_path):
    def row(name, cls, broken):
        draw(tmp_path / name, hash(name) % 1000)
        box = [10, 10, 50, 50] if broken else [0, 0, 100, 100]
        return {"image_path": name, "class": cls, "is_broken": broken, "bbox": box}

    train = [row("a.png", "cap", True), row("b.png", "cap", False), row("c.png", "nut", True)]
    test = [row("d.png", "cap", True), row("e.png", "nut", False), row("f.png", "key", True)]
    datasets = {"mvtec_ad": entry(ann_path=str(write_json(tmp_path / "train_data.json", train)))}
    tested = {"mvtec_ad": {"eval_file_path": str(write_json(tmp_path / "val_data.json", test))}}
    examination = examined(write_config(tmp_path, datasets, tested))
    unseen = finding(examination, "unseen_answers").places
    assert [(p.row, p.what) for p in unseen] == [(1, "'nut-not-defect'"), (2, "'key-defect'")]
    assert "without a defect: nut" in finding(examination, "one_sided_class", "(train)").summary
    balance = examination.checkups[0].balance
    assert (balance.good["cap"], balance.broken["cap"], balance.broken["nut"]) == (1, 1, 1)


REAL = Path(os.environ.get("VIVQA_DIR") or "data/ViVQA")


@pytest.mark.skipif(
    not all((REAL / name).is_file() for name in ("train.csv", "test.csv")),
    reason=f"ViVQA's train.csv and test.csv are not in {REAL} (set VIVQA_DIR to their folder)",
)
def test_vivqa_as_published(tmp_path):
    datasets = {"vivqa": entry(ann_path=str(REAL / "train.csv"), image_path=str(tmp_path))}
    tested = {"vivqa": {"eval_file_path": str(REAL / "test.csv"), "img_path": str(tmp_path)}}
    path = write_config(tmp_path, datasets, tested)
    examination = examined(path, read_pictures=False)
    repeated = finding(examination, "repeated_pair", "(train)")
    assert dict(repeated.figures) == {"pairs": 107, "extra_rows": 109}
    assert finding(examination, "conflicting_answers", "(train)").figures["pairs"] == 18
    stray = finding(examination, "stray_spaces", "(train)")
    assert sorted(place.what for place in stray.places) == ["'dĩa '", "'quả cam '", "'quả cam '"]
    assert finding(examination, "shared_pairs").figures["rows"] == 66
    assert finding(examination, "unseen_answers").figures["rows"] == 17
    assert finding(examination, "shared_pictures").figures["pictures"] == 1376
    assert finding(examination, "missing_picture", "(train)").figures["samples"] == 11999


def test_what_lies_beside_one_test_set_is_not_the_training_of_another(folder):
    other = folder / "other"
    write_csv(other / "train.csv", [("màu gì", "tím", 4), ("ở đâu", "đó", 4)])
    write_csv(other / "test.csv", [("màu gì", "tím", 4), ("có mấy con mèo", "hai", 1)])
    info = {"image": "{img_id:012d}.jpg"}
    tested = {
        **test_entry(folder),
        "mine": {
            "eval_file_path": str(other / "test.csv"),
            "img_path": str(folder / "images"),
            "kind": "vqa",
            "build_info": info,
        },
    }
    examination = examined(write_config(folder, evaluations=tested))
    assert [p.row for p in finding(examination, "shared_pairs", ".mine").places] == [0]
    assert [p.row for p in finding(examination, "unseen_answers", ".mine").places] == [1]
    assert [p.row for p in finding(examination, "unseen_answers", ".vivqa").places] == [3]
