"""The evaluation scripts as a user calls them."""

import json

import pytest
import yaml
from scripted import ScriptedModel, said, write_mvtec, write_vivqa

import eval_mvtec
import eval_vivqa
import evaluate
from minigpt4.common.errors import run_cli
from minigpt4.tasks import evaluate as evaluate_module

BOX = (10, 20, 40, 50)


@pytest.fixture
def config(tmp_path):
    """One file for both scripts, as in the tutorial."""
    vivqa = write_vivqa(
        tmp_path / "ViVQA",
        [("màu của xe là gì", "màu đỏ", 5, 2), ("có mấy con mèo ở trên bàn", "hai", 9, 1)],
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


def test_all_entries_with_one_model(config, monkeypatch, tmp_path, capsys):
    scripted = ScriptedModel(["màu đỏ", "ba", said("cap", "defect", BOX), "?"])
    loads = []
    monkeypatch.setattr(evaluate_module, "load_model", lambda cfg: loads.append(1) or scripted)
    words = ("--cfg-path", config, "--dataset", "vivqa,mvtec_ad")
    assert run(evaluate, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(loads) == 1
    assert [line.partition(" (")[0] for line in lines] == [
        "vivqa: accuracy 50.00 %", "mvtec_ad: map 50.00 %",
    ]  # fmt: skip
    assert all("95 % interval" in line and line.endswith("2 samples") for line in lines)
    assert run(evaluate, "--cfg-path", config) == 0  # all entries; nothing is left to ask
    assert len(loads) == 1
    assert sorted(capsys.readouterr().out.splitlines()) == sorted(lines)


def test_chosen_entries_and_unknown_ones(config, model, tmp_path, capsys):
    model.greedy = ["màu đỏ", "hai"]
    assert run(evaluate, "--cfg-path", config, "--dataset", "vivqa") == 0
    assert len(capsys.readouterr().out.splitlines()) == 1
    assert run(evaluate, "--cfg-path", config, "--dataset", "vivqa,gqa") == 2
    assert "no entry gqa; it has" in capsys.readouterr().err
    assert run(evaluate, "--cfg-path", config, "--split", "testA") == 2
    assert "has a split testA" in capsys.readouterr().err


def test_mistakes_in_any_entry_come_before_the_model(config, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(evaluate_module, "load_model", None)
    word = "evaluation_datasets.mvtec_ad.decoding=answers"
    assert run(evaluate, "--cfg-path", config, "--options", word) == 2
    assert "decoding is answers, which is for kind vqa" in capsys.readouterr().err
    assert run(evaluate, "--cfg-path", config, "--ckpt", "nowhere.pth") == 4
    assert "nowhere.pth" in capsys.readouterr().err


def test_baselines_stand_beside_the_metrics(config, model, tmp_path, capsys):
    (tmp_path / "ViVQA" / "train.csv").write_text(
        ",question,answer,img_id,type\n0,màu của xe là gì,màu đỏ,7,2\n1,a,màu đỏ,8,2\n", "utf-8"
    )
    model.greedy = ["màu đỏ", "hai", "blind", "hai"]
    words = ("--cfg-path", config, "--dataset", "vivqa")
    assert run(evaluate, *words, "--baselines") == 0
    assert "Without looking, the model with every picture blanked: accuracy 50.00 %" in (
        capsys.readouterr().err
    )
    found = json.loads((tmp_path / "out" / "vivqa_metrics.json").read_text("utf-8"))["metrics"]
    assert found["baselines"]["blank"]["accuracy"] == 0.5
    assert found["baselines"]["commonest_answer"]["accuracy"] == 0.5
    assert (tmp_path / "out" / "blank" / "vivqa_predictions.jsonl").is_file()
    assert run(evaluate, *words, "--blank") == 0  # it is there
    assert capsys.readouterr().out.startswith("vivqa: accuracy 50.00 %")


def test_rescore_and_compare_from_the_command_line(config, model, tmp_path, capsys):
    words = ("--cfg-path", config, "--dataset", "vivqa", "--options")
    for name, answers in (("a", ["màu đỏ", "hai"]), ("b", ["màu đỏ", "ba"])):
        model.greedy = answers
        assert run(evaluate, *words, f"run.save_path={tmp_path / name}") == 0
    capsys.readouterr()
    assert run(evaluate, "rescore", tmp_path / "b" / "vivqa_predictions.jsonl") == 0
    assert capsys.readouterr().out.startswith("vivqa: accuracy 50.00 %")
    assert run(evaluate, "compare", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c") == 0
    assert "100.00 %" in capsys.readouterr().out
    assert (tmp_path / "c" / "compare.md").is_file()
    assert run(evaluate, "rescore", tmp_path / "none.jsonl") == 3


def test_other_weights_do_not_mix_with_answers_that_are_there(config, model, tmp_path, capsys):
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_text(name)
    words = ("--cfg-path", config, "--ckpt")
    model.greedy = ["màu đỏ", "hai"] * 3
    assert run(eval_vivqa, *words, tmp_path / "a.pth") == 0
    out = tmp_path / "out"
    answers = out / "vivqa_predictions.jsonl"
    finished = answers.read_text("utf-8")
    assert run(eval_vivqa, *words, tmp_path / "b.pth") == 0
    assert (out / "vivqa_predictions.old1.jsonl").read_text("utf-8") == finished
    # One that is not finished is not given up unasked.
    stopped = "".join(answers.read_text("utf-8").splitlines(keepends=True)[:2])
    answers.write_text(stopped, "utf-8")
    capsys.readouterr()
    assert run(eval_vivqa, *words, tmp_path / "a.pth") == 2
    error = capsys.readouterr().err
    assert f"model.ckpt {tmp_path / 'b.pth'} -> {tmp_path / 'a.pth'}" in error
    assert "--fresh" in error and answers.read_text("utf-8") == stopped
    (tmp_path / "b.pth").write_text("trained on")
    assert run(eval_vivqa, *words, tmp_path / "b.pth") == 2
    assert f"the content of model.ckpt {tmp_path / 'b.pth'}" in capsys.readouterr().err
    assert run(eval_vivqa, *words, tmp_path / "b.pth", "--fresh") == 0
