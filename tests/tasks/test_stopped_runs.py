"""Evaluations that are killed, torn, continued, or begun with something else."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from stopped_run import PARTS, PictureModel, plain, run, write_config

from minigpt4.common.errors import ConfigError, WeightsError
from minigpt4.tasks.prediction_file import alone, read_predictions

HERE = Path(__file__).parent


NAME = "mvtec_ad_predictions.jsonl"


@pytest.fixture
def folder(tmp_path):
    write_config(tmp_path)
    return tmp_path


@pytest.fixture
def whole(folder):
    """The run that nothing stops, and its lines."""
    result = run(folder, PictureModel(), save_path=folder / "whole")
    return result, lines(folder / "whole")


def lines(out):
    return (out / NAME).read_text("utf-8").splitlines()


def metrics(out):
    content = json.loads((out / "mvtec_ad_metrics.json").read_text("utf-8"))
    content["run"].pop("time")
    return content


def same_as_whole(folder, result, whole):
    """Predictions, metrics and files equal those of the run that nothing stopped."""
    assert plain(result) == plain(whole[0])
    assert metrics(folder / "out") == metrics(folder / "whole")
    assert lines(folder / "out")[1:] == whole[1][1:]


@pytest.mark.parametrize("killed_after", [6, 27])  # in the first asking, and in resampling
def test_killed_and_started_again(folder, whole, caplog, killed_after):
    caplog.set_level("INFO", logger="minigpt4")
    paths = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])])
    process = subprocess.Popen(
        [sys.executable, str(HERE / "stopped_run.py"), str(folder), "0.2"],
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"},
    )
    path = folder / "out" / NAME
    deadline = time.monotonic() + 60
    while not path.is_file() or path.read_bytes().count(b"\n") < 1 + killed_after:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = len(lines(folder / "out")) - 1
    assert killed_after <= kept < len(whole[1]) - 1
    model = PictureModel()
    result = run(folder, model)
    assert 0 < model.asked <= len(whole[1]) - 1 - kept
    assert f"continues: {min(kept, len(PARTS))} of {len(PARTS)} answers are there" in caplog.text
    same_as_whole(folder, result, whole)


@pytest.mark.parametrize("cut", [1, 30, 400, 3000, 5000, 9000])
def test_torn_anywhere(folder, whole, cut):
    """Whatever is lost at the end of the file is asked for again, in the same batches."""
    content = (folder / "whole" / NAME).read_bytes()
    (folder / "out").mkdir()
    (folder / "out" / NAME).write_bytes(content[:-cut])
    model = PictureModel()
    same_as_whole(folder, run(folder, model), whole)
    assert model.asked > 0


def test_torn_in_the_first_line(folder, whole):
    (folder / "out").mkdir()
    (folder / "out" / NAME).write_bytes(b'{"run": {"na')
    same_as_whole(folder, run(folder, PictureModel()), whole)


def test_a_finished_run_is_scored_again_without_asking(folder, whole, caplog):
    caplog.set_level("INFO", logger="minigpt4")
    before = whole[1]
    model = PictureModel()
    result = run(folder, model, save_path=folder / "whole")
    assert model.asked == 0
    assert "all 22 answers are there" in caplog.text
    assert plain(result) == plain(whole[0]) and result.metrics == whole[0].metrics
    assert lines(folder / "whole") == before


def test_another_way_of_scoring_needs_no_asking(folder, whole):
    model = PictureModel()
    result = run(folder, model, "run.score=constant", save_path=folder / "whole")
    assert model.asked == 0
    assert result.metrics["score"] == "constant"
    saved, _ = read_predictions(result.files["predictions"])
    assert saved["score_options"]["score"] == "constant"


def test_another_batch_size_keeps_what_is_there(folder, whole):
    (folder / "out").mkdir()
    kept = whole[1][: 1 + 8]
    (folder / "out" / NAME).write_text("\n".join(kept) + "\n", "utf-8")
    model = PictureModel()
    run(folder, model, "evaluation_datasets.mvtec_ad.batch_size=2")
    assert model.batches[:7] == [2] * 7  # 14 of 22 samples were missing
    assert lines(folder / "out")[1:9] == kept[1:]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("evaluation_datasets.mvtec_ad.max_new_tokens=9", "decoding.max_new_tokens 40 -> 9"),
        ("evaluation_datasets.mvtec_ad.blank=True", "blank false -> true"),
        ("evaluation_datasets.mvtec_ad.limit=4", "limit none -> 4"),
        ("run.seed=7", "resample 42 -> 7"),
    ],
)
def test_another_run_is_not_mixed_in(folder, whole, option, said):
    stopped = folder / "out"
    stopped.mkdir()
    (stopped / NAME).write_text("\n".join(whole[1][:13]) + "\n", "utf-8")
    model = PictureModel()
    with pytest.raises(ConfigError, match=r"holds 12 answers.*--fresh") as error:
        run(folder, model, option)
    assert said in str(error.value)
    assert model.asked == 0
    assert lines(stopped) == whole[1][:13]


def test_another_run_keeps_a_finished_one_under_another_name(folder, whole):
    model = PictureModel()
    option = "evaluation_datasets.mvtec_ad.limit=4"
    run(folder, model, option, save_path=folder / "whole")
    assert model.asked >= 4  # and again what cannot be read
    assert len(read_predictions(folder / "whole" / NAME)[1]) == 4
    old = folder / "whole" / "mvtec_ad_predictions.old1.jsonl"
    assert old.read_text("utf-8").splitlines() == whole[1]


def test_what_is_finished_stays_until_the_other_model_is_loaded(folder, whole):
    def load():
        raise WeightsError("broken")

    with pytest.raises(WeightsError):
        run(folder, None, "run.seed=7", load=load, save_path=folder / "whole")
    assert lines(folder / "whole") == whole[1]
    assert not list((folder / "whole").glob("*.old*"))


def test_other_data_or_pictures_are_another_run(folder, whole):
    data = folder / "MVTEC_det" / "val_data.json"
    rows = json.loads(data.read_text("utf-8"))
    rows[1]["bbox"] = [1, 2, 3, 4]
    data.write_text(json.dumps(rows), "utf-8")
    (folder / "out").mkdir()
    (folder / "out" / NAME).write_text("\n".join(whole[1][:13]) + "\n", "utf-8")
    with pytest.raises(ConfigError, match=r"the content of data .*val_data\.json\)"):
        run(folder, PictureModel())
    rows[1]["bbox"] = list(PARTS[1][1])
    data.write_text(json.dumps(rows), "utf-8")
    picture = folder / "MVTEC_det" / "images" / PARTS[0][0]
    picture.write_bytes(picture.read_bytes() + b"\n")
    with pytest.raises(ConfigError, match=r"\(the content of pictures\)"):
        run(folder, PictureModel())


def test_begun_anew_on_request(folder, whole):
    model = PictureModel()
    option = "evaluation_datasets.mvtec_ad.max_new_tokens=9"
    run(folder, model, option, save_path=folder / "whole", fresh=True)
    assert model.asked >= 22
    old = folder / "whole" / "mvtec_ad_predictions.old1.jsonl"
    assert old.read_text("utf-8").splitlines() == whole[1]
    run(folder, model, save_path=folder / "whole", fresh=True)
    assert (folder / "whole" / "mvtec_ad_predictions.old2.jsonl").is_file()


def test_parts_that_several_processes_left_are_taken_in(folder, whole):
    """As after the kill of three processes that had dealt out batches among them."""
    header, *rows = whole[1]
    out = folder / "out"
    out.mkdir()
    (out / NAME).write_text(f"{header}\n", "utf-8")
    batches = [rows[start : start + 4] for start in range(0, 20, 4)]
    for rank, chosen in enumerate(([batches[0], batches[3]], [batches[1], batches[4]], [])):
        text = "\n".join([header, *(row for batch in chosen for row in batch)]) + '\n{"id": "torn'
        (out / f"mvtec_ad_predictions.part{rank}.jsonl").write_text(text, "utf-8")
    model = PictureModel()
    result = run(folder, model)
    assert model.batches[:2] == [4, 2]  # the third batch and the last
    same_as_whole(folder, result, whole)
    assert not list(out.glob("*part*"))


def test_two_evaluations_do_not_write_one_file(folder):
    path = folder / "out" / NAME
    path.parent.mkdir()
    with alone(path), pytest.raises(ConfigError, match="Another evaluation is writing"):
        run(folder, PictureModel())
    run(folder, PictureModel())
    assert not [each for each in path.parent.iterdir() if each.suffix == ".lock"]
