"""The evaluation scripts as a user calls them."""

import json

import pytest
import yaml
from scripted import ScriptedModel, said, write_mvtec, write_vivqa

import eval_mvtec
import eval_vivqa
from minigpt4.common.errors import run_cli
from minigpt4.tasks import evaluate as evaluate_module

BOX = (10, 20, 40, 50)


@pytest.fixture
def config(tmp_path):
    """One file for both scripts, as in the tutorial."""
    vivqa = write_vivqa(
        tmp_path / "ViVQA", [("màu của xe là gì", "màu đỏ", 5, 2), ("mấy con mèo", "hai", 9, 1)]
    )
    mvtec = write_mvtec(tmp_path / "MVTEC_det", [("cap/cut/0.png", BOX), ("cap/good/0.png", None)])
    content = {
        "model": {"arch": "minigpt_v2", "image_size": 8},
        "datasets": {
            "cc_sbu_align": {
                "vis_processor": {"train": {"name": "blip2_image_eval", "image_size": 8}},
                "text_processor": {"train": {"name": "blip_caption"}},
            }
        },
        "evaluation_datasets": {
            "vivqa": {"eval_file_path": str(vivqa), "batch_size": 4, "max_new_tokens": 20},
            "mvtec_ad": {"eval_file_path": str(mvtec), "batch_size": 4, "max_new_tokens": 40},
        },
        "run": {"save_path": str(tmp_path / "out"), "device": "cpu"},
    }
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


@pytest.fixture
def model(monkeypatch):
    scripted = ScriptedModel([])
    monkeypatch.setattr(evaluate_module, "load_model", lambda cfg: scripted)
    return scripted


def run(script, *words):
    return run_cli(script.main, [str(word) for word in words])


def test_vivqa_ends_with_the_accuracy(config, model, tmp_path, capsys):
    model.greedy = ["Màu đỏ", "ba"]
    assert run(eval_vivqa, "--cfg-path", config) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "Top 1 Accuracy: 50.00"
    rows = json.loads((tmp_path / "out" / "vivqa.json").read_text("utf-8"))
    assert [row["gt"] for row in rows] == ["màu đỏ", "hai"]


def test_mvtec_ends_with_the_map(config, model, tmp_path, capsys):
    model.greedy = [said("cap", "defect", BOX), "?"]
    assert run(eval_mvtec, "--cfg-path", config) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "mAP: 50.00"
    assert "original's protocol (every score 1): mAP 100.00 %; it leaves out 1 pictures" in err
    answers = json.loads((tmp_path / "out" / "mvtec_ad_regression.json").read_text("utf-8"))
    assert answers == {"cap/cut/0.png": [said("cap", "defect", BOX)], "cap/good/0.png": ["?"]}


def test_resample_mends_what_could_not_be_read(config, model, capsys):
    model.greedy = [said("cap", "defect", BOX), "?"]
    model.sampled = [said("cap", "not-defect")]
    assert run(eval_mvtec, "--cfg-path", config, "--resample") == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "mAP: 100.00"
    assert "Resampled 1 answers that could not be read, in 1 rounds; 0 remain" in err


def test_options_override_the_file(config, model, tmp_path):
    model.greedy = ["màu đỏ"]
    code = run(
        eval_vivqa, "--cfg-path", config, "--options",
        f"run.save_path={tmp_path / 'other'}", "evaluation_datasets.vivqa.limit=1",
    )  # fmt: skip
    assert code == 0
    assert len(json.loads((tmp_path / "other" / "vivqa.json").read_text("utf-8"))) == 1


def test_mistakes_are_one_line_and_a_code(config, model, tmp_path, capsys):
    missing = tmp_path / "MVTEC_det" / "images" / "cap" / "cut" / "0.png"
    missing.unlink()
    assert run(eval_mvtec, "--cfg-path", config) == 3
    err = capsys.readouterr().err.strip()
    assert err.splitlines()[-1].startswith("error: ") and "cap/cut/0.png" in err
    assert run(eval_vivqa, "--cfg-path", tmp_path / "no.yaml") == 2
    assert run(eval_vivqa, "--cfg-path", config, "--options", "run.save_pth=x") == 2
    assert "save_path" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written(config, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(evaluate_module, "load_model", None)  # it is found before
    (tmp_path / "file").write_text("")
    code = run(
        eval_vivqa, "--cfg-path", config, "--options", f"run.save_path={tmp_path / 'file' / 'x'}"
    )
    assert code == 5
    assert "run.save_path" in capsys.readouterr().err


def test_ctrl_c_keeps_the_answers_made_before(config, model, tmp_path, capsys):
    model.greedy = ["màu đỏ"]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    whole = model.generate_scored
    calls = []

    def generate(*args, **options):
        calls.append(1)
        return interrupted() if len(calls) > 1 else whole(*args, **options)

    model.generate_scored = generate
    code = run(
        eval_vivqa, "--cfg-path", config, "--options", "evaluation_datasets.vivqa.batch_size=1"
    )
    assert code == 130
    lines = (tmp_path / "out" / "vivqa_predictions.jsonl").read_text("utf-8").splitlines()
    assert [json.loads(line)["answer"] for line in lines[1:]] == ["màu đỏ"]
