import json
import logging
from types import SimpleNamespace

import pytest
import yaml
from scripted import ScriptedModel, part, said, write_mvtec, write_vivqa

from minigpt4.common.config import Config
from minigpt4.common.errors import ConfigError, DataError, ResourceError
from minigpt4.datasets.features import FeatureCache
from minigpt4.scoring.kinds import get_kind
from minigpt4.scoring.original_mvtec import original_id
from minigpt4.tasks import evaluate as evaluate_module
from minigpt4.tasks import rounds
from minigpt4.tasks.eval_setup import find_entry, load_model, open_eval_data
from minigpt4.tasks.evaluate import evaluate
from minigpt4.tasks.validation import evaluate_dataset

QUESTIONS = [
    ("màu của chiếc xe là gì", "màu đỏ", 5, 2),
    ("có mấy con mèo", "hai", 9, 1),
    ("con gì trên bàn", "mèo", 9, 0),
]
BOX = (10, 20, 40, 50)
PARTS = [
    ("x/cap/cut/000.png", BOX),
    ("x/cap/hole/000.png", (60, 60, 90, 90)),
    ("x/cap/good/000.png", None),
]


@pytest.fixture(autouse=True)
def _ask_in_order(monkeypatch):
    """The scripted answers are those of the samples as they stand in the file."""
    for module in ("evaluate", "validation"):
        monkeypatch.setattr(
            f"minigpt4.tasks.{module}.asking_order", lambda samples: list(range(len(list(samples))))
        )


@pytest.fixture(autouse=True)
def _logging(caplog):
    caplog.set_level(logging.INFO, logger="minigpt4")


@pytest.fixture
def cfg(tmp_path):
    return make_config(tmp_path)


def make_config(folder, **run):
    vivqa = write_vivqa(folder / "ViVQA", QUESTIONS)
    mvtec = write_mvtec(folder / "MVTEC_det", [(name[2:], box) for name, box in PARTS])
    file = folder / "eval.yaml"
    content = {
        "model": {"arch": "minigpt_v2", "image_size": 8},
        "datasets": {
            "cc_sbu_align": {
                "vis_processor": {"train": {"name": "blip2_image_eval", "image_size": 8}},
                "text_processor": {"train": {"name": "blip_caption"}},
            }
        },
        "evaluation_datasets": {
            "vivqa": {
                "eval_file_path": str(vivqa),
                "img_path": str(vivqa.parent / "images"),
                "batch_size": 2,
                "max_new_tokens": 20,
            },
            "mvtec_ad": {"eval_file_path": str(mvtec), "batch_size": 4, "max_new_tokens": 40},
        },
        "run": {"save_path": str(folder / "out"), "device": "cpu", **run},
    }
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return Config(SimpleNamespace(cfg_path=str(file), options=None))


def read(path):
    return json.loads(path.read_text("utf-8"))


def test_vivqa_from_configuration_to_files(cfg, tmp_path, caplog):
    result = evaluate(cfg, "vivqa", model=ScriptedModel(["Màu đỏ", "ba", "mèo"]))
    assert result.metrics["accuracy"] == pytest.approx(2 / 3)
    assert result.metrics[get_kind(result.kind).primary] == result.metrics["accuracy"]
    out = tmp_path / "out"
    assert {path.name for path in out.iterdir()} == {
        "vivqa.json", "vivqa_predictions.jsonl", "vivqa_metrics.json", "vivqa_report.html",
    }  # fmt: skip
    assert [(row["pred"], row["gt"]) for row in read(out / "vivqa.json")] == [
        ("màu đỏ", "màu đỏ"), ("ba", "hai"), ("mèo", "mèo"),
    ]  # fmt: skip
    saved = read(result.files["metrics"])
    assert saved["metrics"] == result.metrics
    assert saved["run"]["samples"] == 3
    assert len(result.files["predictions"].read_text("utf-8").splitlines()) == 4
    assert "prompts in training style" in caplog.text
    assert "By question type" in caplog.text and "number 0.00 %" in caplog.text


def test_mvtec_from_configuration_to_files(cfg, tmp_path):
    answers = [said("cap", "defect", BOX), "no idea", said("cap", "not-defect")]
    result = evaluate(cfg, "mvtec_ad", model=ScriptedModel(answers))
    assert result.metrics["count"] == 3
    assert result.metrics["unparsed"] == 1
    assert result.metrics["ap_defect"] == pytest.approx(51 / 101)
    assert set(result.metrics["by_defect"]) == {"cut", "hole"}
    # Two pictures called 000.png are kept apart.
    assert read(tmp_path / "out" / "mvtec_ad_regression.json") == {
        "cap/cut/000.png": [answers[0]],
        "cap/hole/000.png": ["no idea"],
        "cap/good/000.png": [answers[2]],
    }
    assert result.metrics["original_protocol"]["left_out"] == 0  # hidden by the collision
    assert result.metrics["original_protocol"]["colliding"] == 1


def test_constant_scores_on_request(tmp_path):
    cfg = make_config(tmp_path, score="constant")
    answers = [said("cap", "defect", BOX), said("cap", "defect", BOX), said("cap", "not-defect")]
    result = evaluate(cfg, "mvtec_ad", model=ScriptedModel(answers), report=False)
    assert result.metrics["score"] == "constant"
    assert "report" not in result.files


def test_resampling_asks_only_for_what_cannot_be_read(cfg, caplog):
    good = said("cap", "not-defect")
    model = ScriptedModel(["?", "??", good], ["again", said("cap", "defect", BOX), "x", "x"])
    model.sampled = ["again", said("cap", "defect", (60, 60, 90, 90)), said("cap", "defect", BOX)]
    result = evaluate(cfg, "mvtec_ad", model=model, resample=True)
    assert model.batches == [3, 2, 1]
    assert [each.tries for each in result.predictions] == [2, 1, 0]
    assert result.metrics["resampled"] == {"asked": 2, "rounds": 2, "remaining": 0}
    assert result.metrics["map"] == pytest.approx(1.0)
    assert "0 remain" in caplog.text
    rows = result.files["predictions"].read_text("utf-8").splitlines()
    assert len(rows) == 1 + 3 + 2 + 1
    last = {row["id"]: row["answer"] for row in map(json.loads, rows[1:])}
    assert last == {each.id: each.answer for each in result.predictions}


def test_resampling_is_bounded(cfg, monkeypatch, caplog):
    monkeypatch.setattr(rounds, "RESAMPLE_ROUNDS", 3)
    model = ScriptedModel(["?"] * 3, ["?"] * 9)
    result = evaluate(cfg, "mvtec_ad", model=model, resample=True)
    assert result.metrics["resampled"] == {"asked": 3, "rounds": 3, "remaining": 3}
    assert result.metrics["unparsed"] == 3
    assert "3 remain" in caplog.text


def test_cached_features_are_made_once_and_reused(cfg, tmp_path):
    cache = FeatureCache("memory", None, encoder_fingerprint="e", processor_fingerprint="p")
    model = ScriptedModel(["a", "b", "c"] * 2)
    evaluate(cfg, "vivqa", model=model, cache=cache, report=False)
    assert model.encoded == 2  # two questions share a picture
    evaluate(cfg, "vivqa", model=model, cache=cache, save_path=tmp_path / "second", report=False)
    assert model.encoded == 2
    assert (tmp_path / "second" / "vivqa.json").is_file()


def test_blanked_pictures(cfg):
    model = ScriptedModel(["a", "b", "c"])
    result = evaluate(cfg, "vivqa", model=model, blank=True)
    assert read(result.files["metrics"])["run"]["blank"] is True
    assert "pictures blanked" in result.files["report"].read_text("utf-8")


def test_validation_figures_are_plain_numbers(cfg):
    data = open_eval_data(cfg, "vivqa")
    model = ScriptedModel(["màu đỏ", "ba"], style="original")
    figures = evaluate_dataset(model, data.dataset, "vqa", 2, 8, indices=[0, 1])
    assert figures["accuracy"] == 0.5
    assert all(type(value) is float for value in figures.values())
    assert not model.prompts[0].startswith("<s>")  # asked as it trains


def test_missing_data_are_found_before_the_model_is_loaded(cfg, tmp_path, monkeypatch):
    def fail(*_):
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(evaluate_module, "load_model", fail)
    (tmp_path / "ViVQA" / "images" / f"{5:012d}.jpg").unlink()
    with pytest.raises(DataError, match=r"000000000005\.jpg"):
        evaluate(cfg, "vivqa")
    (tmp_path / "ViVQA" / "test.csv").unlink()
    with pytest.raises(DataError, match=r"test\.csv"):
        evaluate(cfg, "vivqa")


def test_scripts_find_their_entry(cfg):
    assert find_entry(cfg, name="vivqa", kind="vqa") == "vivqa"
    assert find_entry(cfg, name="mvtec_ad", kind="detection") == "mvtec_ad"
    entries = cfg.config.evaluation_datasets
    entries.tiles = {**entries.pop("mvtec_ad"), "kind": "detection"}
    assert find_entry(cfg, name="mvtec_ad", kind="detection") == "tiles"
    entries.pop("tiles")
    with pytest.raises(ConfigError, match=r"needs an entry 'mvtec_ad'.*it has vivqa"):
        find_entry(cfg, name="mvtec_ad", kind="detection")


def test_an_entry_of_the_users_own_name(cfg, tmp_path):
    entries = cfg.config.evaluation_datasets
    entries.tiles = {**entries.pop("mvtec_ad"), "kind": "detection"}
    result = evaluate(cfg, "tiles", model=ScriptedModel(["?"] * 3), report=False)
    assert result.kind == "detection"
    assert (tmp_path / "out" / "tiles_regression.json").is_file()


def test_a_device_that_is_not_there(cfg):
    import torch

    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    cfg.config.run.device = "cuda"
    with pytest.raises(ResourceError, match=r"run\.device=cpu"):
        load_model(cfg)


def test_the_originals_name_of_a_picture():
    assert original_id(part("x/cap/cut/000.png", "", bbox=BOX).meta) == "x.broken.000"


@pytest.mark.parametrize(("longest", "batches", "at_once"), [(63, [2, 1], None), (64, [3], 2)])
def test_prompts_of_long_answers_follow_each_other(cfg, longest, batches, at_once):
    cfg.evaluation_datasets_cfg.vivqa.max_new_tokens = longest
    model = ScriptedModel(["màu đỏ", "hai", "mèo"])
    result = evaluate(cfg, "vivqa", model=model)
    assert result.metrics["accuracy"] == 1
    assert (model.batches, model.at_once[0]) == (batches, at_once)
