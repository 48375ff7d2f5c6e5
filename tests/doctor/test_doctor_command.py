"""The command: its files, its summary, its exit codes; and that it is quick."""

import json
import random
import subprocess
import sys
import time

import pytest
from made_sets import (
    TRAIN,
    draw,
    entry,
    examined,
    vivqa_pictures,
    write_config,
    write_csv,
    write_json,
)

from minigpt4.common.errors import run_cli
from minigpt4.doctor.cli import WARNINGS_EXIT_CODE, main


def run(path, out, *words):
    return run_cli(main, ["--cfg-path", str(path), "--out", str(out), *words])


@pytest.fixture
def vivqa(tmp_path):
    def made(rows, pictures=(1, 2, 3)):
        vivqa_pictures(tmp_path, pictures)
        path = write_csv(tmp_path / "train.csv", rows)
        return write_config(tmp_path, {"vivqa": entry(ann_path=str(path))})

    return made


def test_fine_data_exit_with_0(tmp_path, vivqa, capsys):
    path = vivqa([("có gì", "mèo", 1), ("ở đâu", "nhà", 2)])
    assert run(path, tmp_path / "out", "--strict") == 0
    said = capsys.readouterr().out
    assert "datasets.vivqa (train): 2 samples, 2 pictures, 2 read" in said
    assert "0 errors, 0 warnings, 0 notes" in said


def test_warnings_fail_only_when_asked(tmp_path, vivqa, capsys):
    path = vivqa(TRAIN)
    assert run(path, tmp_path / "out") == 0
    assert run(path, tmp_path / "out", "--strict") == WARNINGS_EXIT_CODE == 8
    said = capsys.readouterr()
    assert "warning: datasets.vivqa (train): 1 picture-question pair has different" in said.out
    assert "--strict" in said.err


def test_errors_fail_with_their_own_code(tmp_path, vivqa, capsys):
    path = vivqa(TRAIN, pictures=(1, 2))
    for words in ([], ["--strict"], ["--no-pictures"]):
        assert run(path, tmp_path / "out", *words) == 3
    skip = "datasets.vivqa.build_info.on_broken=skip"
    assert run(path, tmp_path / "out", "--options", skip) == 0
    capsys.readouterr()


def test_a_configuration_that_names_no_data(tmp_path, capsys):
    assert run(write_config(tmp_path), tmp_path / "out") == 2
    assert "names no data" in capsys.readouterr().err


def test_the_files_hold_every_place(tmp_path, vivqa, capsys):
    rows = [("có gì", f"mèo{number} ", number) for number in range(1, 61)]
    path = vivqa(rows, pictures=range(1, 61))
    run(path, tmp_path / "out", "--samples", "6")
    capsys.readouterr()
    found = json.loads((tmp_path / "out" / "doctor.json").read_text("utf-8"))
    assert found["counts"] == {"error": 0, "warning": 1, "note": 0}
    (stray,) = found["findings"]
    assert [place["row"] for place in stray["places"]] == list(range(60))
    assert found["datasets"][0]["pictures"] == found["datasets"][0]["read"] == 60
    page = (tmp_path / "out" / "doctor.html").read_text("utf-8")
    assert page.count('<article class="card') == 6
    assert "60 answers have stray spaces" in page
    assert "10 more, all in doctor.json" in page
    assert 'class="learned"' in page
    assert "picture × 1" in page
    assert 'src="http' not in page


def test_the_contact_sheet_draws_true_and_faulty_boxes(tmp_path, capsys):
    for name in ("a.png", "b.png"):
        draw(tmp_path / name, 3)
    rows = [
        {"image_path": "a.png", "class": "cap", "is_broken": True, "bbox": [10, 20, 40, 60]},
        {"image_path": "b.png", "class": "cap", "is_broken": True, "bbox": [80, 20, 40, 160]},
    ]
    path = write_json(tmp_path / "train_data.json", rows)
    config = write_config(tmp_path, {"mvtec_ad": entry(ann_path=str(path))})
    assert run(config, tmp_path / "out") == 3
    capsys.readouterr()
    page = (tmp_path / "out" / "doctor.html").read_text("utf-8")
    assert 'class="box true" style="left:10%;top:20%;width:30%;height:40%"' in page
    assert 'class="box said" style="left:40%;top:20%;width:40%;height:80%"' in page
    assert "faulty box" in page


def test_it_runs_under_its_documented_name(tmp_path, vivqa):
    path = vivqa([("có gì", "mèo", 1)])
    done = subprocess.run(
        [sys.executable, "-m", "minigpt4.datasets.doctor", "--help"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "--no-pictures" in done.stdout
    assert path.is_file()


def test_a_hundred_thousand_annotations_take_less_than_a_minute(tmp_path):
    rng = random.Random(0)
    words = ["màu", "của", "cái", "gì", "ở trên", "bàn", "con mèo", "người đàn ông", "chiếc xe"]
    rows = [
        (" ".join(rng.choices(words, k=9)), rng.choice(words), rng.randrange(40_000))
        for _ in range(100_000)
    ]
    path = write_csv(tmp_path / "train.csv", rows)
    config = write_config(tmp_path, {"vivqa": entry(ann_path=str(path))})
    start = time.process_time()
    examination = examined(config, read_pictures=False)
    assert examination.checkups[0].figures["samples"] == 100_000
    assert time.process_time() - start < 60
