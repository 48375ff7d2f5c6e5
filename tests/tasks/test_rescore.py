import dataclasses
import json
import logging

import pytest
from stopped_run import PARTS, PictureModel, run, write_config

from minigpt4.common.errors import DataError
from minigpt4.tasks.rescore import rescore


@pytest.fixture
def result(tmp_path):
    write_config(tmp_path)
    return run(tmp_path, PictureModel())


def content(path):
    return json.loads(path.read_text("utf-8"))


def test_it_equals_the_run(result, tmp_path):
    again = rescore(result.files["predictions"], out=tmp_path / "again", report=False)
    assert again.metrics == result.metrics
    assert "resampled" in again.metrics
    assert [dataclasses.asdict(each) for each in again.predictions] == [
        dataclasses.asdict(each) for each in result.predictions
    ]
    for name in ("metrics", "answers"):
        assert content(again.files[name]) == content(result.files[name])


def test_files_go_beside_the_predictions(result):
    for name in ("metrics", "answers"):
        result.files[name].unlink()
    before = result.files["predictions"].read_bytes()
    again = rescore(result.files["predictions"], report=False)
    assert again.files == result.files
    assert all(path.is_file() for path in again.files.values())
    assert result.files["predictions"].read_bytes() == before


def test_other_scores_on_request(result, tmp_path):
    again = rescore(
        result.files["predictions"], score="constant", out=tmp_path / "again", report=False
    )
    assert again.metrics["score"] == "constant"
    assert content(again.files["metrics"])["run"]["score_options"]["score"] == "constant"


def test_an_unfinished_file_is_said_to_be_one(result, tmp_path, caplog):
    caplog.set_level(logging.INFO, logger="minigpt4")
    path = tmp_path / "some_predictions.jsonl"
    rows = result.files["predictions"].read_text("utf-8").splitlines()[:9]
    path.write_text("\n".join(rows) + "\n", "utf-8")
    again = rescore(path, out=tmp_path / "again", report=False)
    assert again.metrics["count"] == 8
    assert f"8 of {len(PARTS)} answers" in caplog.text


def test_baselines_are_kept_where_they_were_scored_alike(result, tmp_path):
    path = tmp_path / "x_predictions.jsonl"
    first, *rows = result.files["predictions"].read_text("utf-8").splitlines()
    header = json.loads(first)
    header["run"]["baselines"] = {"blank": {"description": "blind", "map": 0.1}}
    path.write_text("\n".join([json.dumps(header), *rows]) + "\n", "utf-8")
    same = rescore(path, out=tmp_path / "again", report=False)
    assert same.metrics["baselines"]["blank"]["map"] == 0.1
    other = rescore(path, score="constant", out=tmp_path / "again", report=False)
    assert "baselines" not in other.metrics


def test_a_file_without_answers_is_refused(tmp_path):
    path = tmp_path / "x_predictions.jsonl"
    path.write_text('{"run": {"name": "x", "kind": "vqa", "samples": 3}}\n')
    with pytest.raises(DataError, match="no predictions"):
        rescore(path)


@pytest.mark.parametrize(
    ("head", "meta", "message"),
    [
        ({}, {}, "meta lacks 'answer'"),
        ({"name": "../x"}, {"answer": "a"}, "which is no name"),
    ],
)
def test_what_cannot_be_scored_is_refused(tmp_path, head, meta, message):
    path = tmp_path / "x_predictions.jsonl"
    run = {"name": "x", "kind": "vqa", "samples": 1, **head}
    row = {"id": "1", "answer": "a", "finished": True, "probability": 1.0, "meta": meta}
    path.write_text(f"{json.dumps({'run': run})}\n{json.dumps(row)}\n", "utf-8")
    with pytest.raises(DataError, match=message):
        rescore(path, report=False)


def test_options_of_other_versions_are_passed_over(result, tmp_path):
    path = tmp_path / "x_predictions.jsonl"
    head, *rows = result.files["predictions"].read_text("utf-8").splitlines()
    run = json.loads(head)["run"]
    run["score_options"]["unheard_of"] = 1
    path.write_text("\n".join([json.dumps({"run": run}), *rows, ""]), "utf-8")
    assert rescore(path, report=False).metrics == result.metrics
