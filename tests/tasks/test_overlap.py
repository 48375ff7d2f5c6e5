"""What an evaluation set shares with the training set."""

import csv
import os
import time
import unicodedata
from pathlib import Path

import pytest
from scripted import write_mvtec, write_vivqa

from minigpt4.common.errors import DataError
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.datasets.builders import build_eval_dataset
from minigpt4.datasets.overlap import find_train_file
from minigpt4.reports.shared import overlap_statement
from minigpt4.tasks.overlap import annotate

TEST = [
    ("màu của chiếc xe là gì", "màu đỏ", 5, 2),
    ("có mấy con mèo", "hai", 5, 1),
    ("con gì trên bàn", "mèo", 9, 0),
    ("ở đâu", "bãi biển", 10, 3),
]
TRAIN = [
    # The first test question, but for case, Unicode form and white space.
    (unicodedata.normalize("NFD", "Màu của chiếc  xe là gì"), "Màu Đỏ", 5, 2),
    ("con gì trên bàn", "mèo", 77, 0),
    ("con gì trên ghế", "mèo", 78, 0),
]


def open_eval(name, path, **settings):
    return build_eval_dataset(
        name,
        EvalDatasetSettings(eval_file_path=str(path), blank=True, **settings),
        vis_processor=lambda image: image,
    )


def write_train(folder, rows, name="train.csv"):
    path = folder / name
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "question", "answer", "img_id", "type"])
        writer.writerows([i, *row] for i, row in enumerate(rows))
    return path


@pytest.fixture
def vivqa(tmp_path):
    return write_vivqa(tmp_path / "ViVQA", TEST)


def test_samples_are_told_apart_by_what_training_holds(vivqa):
    write_train(vivqa.parent, TRAIN)
    report = annotate(open_eval("vivqa", vivqa))
    assert report.extras == {
        "0-5": {"overlap": "pair", "train_count": 1},
        "1-5": {"overlap": "picture", "train_count": 0},
        "2-9": {"overlap": "", "train_count": 2},
        "3-10": {"overlap": "", "train_count": 0},
    }
    counts = report.counts()
    assert "extras" not in counts
    assert (counts["pictures"], counts["pictures_in_training"]) == (3, 1)
    assert (counts["samples"], counts["pairs"], counts["without"]) == (4, 1, 2)
    assert (counts["train_answers"], counts["unseen_answers"]) == (2, 2)


def said(report):
    return overlap_statement(report.counts()).replace(f" ({report.train_file})", "")


def test_one_sentence_says_it(vivqa):
    train = write_train(vivqa.parent, TRAIN)
    assert overlap_statement(annotate(open_eval("vivqa", vivqa)).counts()) == (
        "1 of 3 test pictures (33 %) and 1 exact pairs of picture and question also occur in "
        f"training ({train})."
    )


def test_only_the_evaluated_samples_count(vivqa):
    write_train(vivqa.parent, TRAIN)
    assert set(annotate(open_eval("vivqa", vivqa, limit=1)).extras) == {"0-5"}


def test_detection_has_one_question_so_only_pictures_are_shared(tmp_path):
    rows = [("cap/000.png", (1, 2, 30, 40)), ("cap/001.png", None)]
    path = write_mvtec(tmp_path / "MVTEC_det", rows)
    train = path.with_name("train_data.json")
    train.write_text(path.read_text("utf-8").replace("001.png", "100.png"), encoding="utf-8")
    report = annotate(open_eval("mvtec_ad", path))
    assert report.train_file == str(train)
    assert {id: each["overlap"] for id, each in report.extras.items()} == {
        "cap/000.png": "picture",
        "cap/001.png": "",
    }
    assert said(report) == "1 of 2 test pictures (50 %) also occur in training."


def test_nothing_shared_is_said_too(tmp_path):
    path = write_vivqa(tmp_path / "ViVQA", TEST)
    write_train(path.parent, [("ở đâu", "nhà", 1234, 3)])
    report = annotate(open_eval("vivqa", path))
    assert said(report) == "None of the 3 test pictures occurs in training."


def test_a_data_set_with_names_of_its_own(tmp_path):
    info = {"fields": {"question": "cau_hoi", "answer": "tra_loi"}, "image": "{anh}"}
    for name in ("kiem_thu", "huan_luyen"):
        (tmp_path / f"{name}.csv").write_text(
            "cau_hoi,tra_loi,anh\ncó gì ở đây,mèo,con mèo.jpg\n", encoding="utf-8"
        )
    dataset = open_eval("mine", tmp_path / "kiem_thu.csv", kind="vqa", build_info=info)
    assert annotate(dataset) is None
    report = annotate(dataset, tmp_path / "huan_luyen.csv")
    assert report.pairs is None  # all of one question ask the same
    assert report.pictures_in_training == 1


@pytest.mark.parametrize(
    ("evaluated", "training"),
    [
        ("test.csv", "train.csv"),
        ("val_data.json", "train_data.json"),
        ("testdev_balanced_questions.json", "train_balanced_questions.json"),
        ("okvqa_test_split.json", "okvqa_train_split.json"),
        ("latest.csv", "train.csv"),
    ],
)
def test_usual_names(tmp_path, evaluated, training):
    assert find_train_file(tmp_path / evaluated) is None
    (tmp_path / training).touch()
    assert find_train_file(tmp_path / evaluated) == tmp_path / training


def test_an_empty_name_means_none(vivqa):
    write_train(vivqa.parent, TRAIN)
    assert annotate(open_eval("vivqa", vivqa), "") is None


def test_a_named_file_must_be_there_and_fit(vivqa):
    dataset = open_eval("vivqa", vivqa)
    with pytest.raises(DataError, match=r"nowhere\.csv .*evaluation_datasets\.vivqa\.train_file"):
        annotate(dataset, vivqa.with_name("nowhere.csv"))
    other = vivqa.with_name("other.csv")
    other.write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"other\.csv .*not of the form of .*test\.csv"):
        annotate(dataset, other)


def test_a_found_file_that_does_not_fit_is_passed_over_aloud(vivqa, caplog):
    vivqa.with_name("train.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    assert annotate(open_eval("vivqa", vivqa)) is None
    assert "Nothing is said about the overlap" in caplog.text


REAL = Path(os.environ.get("VIVQA_DIR") or "data/ViVQA")


@pytest.mark.skipif(
    not all((REAL / name).is_file() for name in ("train.csv", "test.csv")),
    reason=f"ViVQA's train.csv and test.csv are not in {REAL} (set VIVQA_DIR to their folder)",
)
def test_vivqa_as_published():
    dataset = open_eval("vivqa", REAL / "test.csv")
    start = time.process_time()
    report = annotate(dataset)
    seconds = time.process_time() - start
    assert (report.pictures, report.pictures_in_training) == (2789, 1376)
    assert (report.samples, report.pairs, report.without) == (3001, 66, 1537)
    # 339 as they are spelled; two of them are others with a space at the end.
    assert report.train_answers == 337
    assert report.samples - report.unseen_answers == 2984
    assert said(report).startswith(
        "1,376 of 2,789 test pictures (49 %) and 66 exact pairs of picture and question also occur"
    )
    assert seconds < 3  # a fraction of one on an idle machine
