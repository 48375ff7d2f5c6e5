import json

import pytest
from scripted import vqa_prediction

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.tasks.identity import differences
from minigpt4.tasks.prediction_file import (
    Appender,
    PredictionFile,
    predictions_path,
    read_predictions,
)

RUN = {"key": "k", "name": "vivqa", "identity": {"model.ckpt": "1"}, "ckpt": "a.pth"}


def answer(name, text, tries=0):
    made = vqa_prediction(text, "màu đỏ")
    made.id, made.tries = name, tries
    return made


@pytest.fixture
def path(tmp_path):
    return predictions_path(tmp_path, "vivqa")


def write(path, *batches, run=RUN):
    with Appender(path, run) as log:
        for batch in batches:
            log.append(batch)


def test_the_last_line_of_a_sample_counts_in_the_order_of_the_data(path):
    write(path, [answer("a", "?"), answer("b", "hai")], [answer("a", "đỏ", tries=1)])
    run, found = read_predictions(path)
    assert run == RUN
    assert [(each.id, each.answer, each.tries) for each in found] == [
        ("a", "đỏ", 1), ("b", "hai", 0),
    ]  # fmt: skip
    assert found[1] == answer("b", "hai")
    assert "đỏ" in path.read_text("utf-8")


def test_appending_goes_on_where_it_stopped(path):
    write(path, [answer("a", "1")])
    write(path, [answer("b", "2")])
    assert len(path.read_text("utf-8").splitlines()) == 3
    assert [each.id for each in read_predictions(path)[1]] == ["a", "b"]


def test_a_torn_last_line_is_passed_over(path):
    write(path, [answer("a", "1"), answer("b", "hai")])
    content = path.read_bytes()
    for end in range(content.rindex(b'{"id": "b"') + 1, len(content)):
        path.write_bytes(content[:end])  # also within a letter of several bytes
        assert [each.id for each in read_predictions(path)[1]] == ["a"]
    path.write_bytes(content[:-9] + b"\0\0\0\n")  # as a machine leaves it that lost power
    assert [each.id for each in read_predictions(path)[1]] == ["a"]


def test_a_broken_line_before_others_is_named(path):
    write(path, [answer("a", "1"), answer("b", "2")])
    rows = path.read_text("utf-8").splitlines()
    path.write_text("\n".join([rows[0], rows[1][:-5], rows[2]]) + "\n", "utf-8")
    with pytest.raises(DataError, match="Line 2"):
        read_predictions(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="There is no file"):
        read_predictions(tmp_path / "x_predictions.jsonl")
    (tmp_path / "list.json").write_text("[]")
    with pytest.raises(DataError, match="no file of predictions"):
        read_predictions(tmp_path / "list.json")


@pytest.mark.parametrize(
    "row", ['"text"', "7", '{"id": "a"}', '{"id": "a", "answer": 5, "finished": true, '
            '"probability": 1.0}']
)  # fmt: skip
def test_a_line_that_is_no_prediction_is_named(path, row):
    write(path, [answer("b", "2")])
    head, line = path.read_text("utf-8").splitlines()
    path.write_text(f"{head}\n{row}\n{line}\n", "utf-8")
    with pytest.raises(DataError, match="Line 2"):
        read_predictions(path)


def test_pictures_are_found_from_another_working_folder(path, tmp_path, monkeypatch):
    (tmp_path / "ảnh.jpg").touch()
    made = answer("a", "1")
    made.image_path = "ảnh.jpg"
    write(path, [made], run={**RUN, "folder": str(tmp_path)})
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert read_predictions(path)[1][0].image_path == str(tmp_path / "ảnh.jpg")
    monkeypatch.chdir(tmp_path)
    assert read_predictions(path)[1][0].image_path == "ảnh.jpg"


def test_another_run_that_answered_nothing_is_no_obstacle(path):
    write(path, run={**RUN, "key": "other"})
    assert PredictionFile(path, RUN).saved() is None


def test_fields_of_other_versions_are_passed_over(path):
    write(path, [answer("a", "1")])
    rows = path.read_text("utf-8").splitlines()
    row = {**json.loads(rows[1]), "unheard_of": 1}
    path.write_text(f"{rows[0]}\n{json.dumps(row)}\n", "utf-8")
    assert read_predictions(path)[1] == [answer("a", "1")]


def test_parts_become_one_file(path):
    file = PredictionFile(path, RUN)
    write(file.part(0), [answer("a", "1"), answer("c", "3")])
    write(file.part(1), [answer("b", "2")], [answer("a", "4", tries=1)])
    saved = file.saved()
    file.write(saved, {"a": 0, "b": 1, "c": 2})
    rows = [json.loads(row) for row in path.read_text("utf-8").splitlines()[1:]]
    assert [(row["id"], row["tries"]) for row in rows] == [("a", 0), ("b", 0), ("c", 0), ("a", 1)]
    assert list(path.parent.iterdir()) == [path]


def test_a_part_of_another_run_is_refused(path):
    write(path, [answer("a", "1")])
    write(PredictionFile(path, RUN).part(0), [answer("b", "1")], run={**RUN, "key": "other"})
    with pytest.raises(ConfigError, match="part0"):
        PredictionFile(path, RUN).saved()


def test_what_tells_runs_apart():
    other = {**RUN, "identity": {"model.ckpt": "2", "limit": 3}, "ckpt": "b.pth"}
    assert differences(RUN, other) == ["model.ckpt a.pth -> b.pth", "limit none -> 3"]
    changed = {**RUN, "identity": {"model.ckpt": "2"}}
    assert differences(RUN, changed) == ["the content of model.ckpt a.pth"]
    assert differences({"name": "vivqa"}, {"name": "vivqa"}) == ["it is of another version"]
