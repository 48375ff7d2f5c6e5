"""Evaluation with a real, if tiny, model: prompts, batching, checkpoints."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import yaml
from scripted import write_mvtec, write_vivqa

from minigpt4.common.config import Config
from minigpt4.common.errors import WeightsError, run_cli
from minigpt4.common.eval_utils import init_model
from minigpt4.datasets.features import FeatureCache
from minigpt4.models import precision
from minigpt4.tasks.eval_setup import load_model, open_eval_data
from minigpt4.tasks.evaluate import evaluate
from minigpt4.tasks.predict import prompt_of

sys.path.append(str(Path(__file__).parents[2]))
import eval_vivqa

PARITY = Path(__file__).parents[1] / "fixtures" / "parity"
ORIGINAL = PARITY / "original_checkpoint_1.pth"
ROWS = [
    ("màu của chiếc xe là gì", "màu đỏ", 5, 2),
    ("có bao nhiêu con mèo đang ngồi trên chiếc ghế dài màu xanh", "hai", 9, 1),
    ("con gì", "mèo", 7, 0),
]


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)  # the encoder's weights are drawn


@pytest.fixture
def arguments(tmp_path):
    """Command-line words of an evaluation with the tiny model, and options added to them."""
    vivqa = write_vivqa(tmp_path / "ViVQA", ROWS)
    mvtec = write_mvtec(tmp_path / "MVTEC_det", [("cap/cut/0.png", (1, 2, 30, 40))])
    content = {
        "model": {
            "arch": "minigpt_v2",
            "image_size": 112,
            "vit_weights": "random",
            "vit_config": {"embed_dim": 64, "depth": 1, "num_heads": 4},
            "llama_model": str(PARITY / "tiny_llama_vi1000"),
            "ckpt": str(ORIGINAL),
            "lora_r": 8,
            "end_sym": "</s>",
            "max_txt_len": 500,
        },
        "evaluation_datasets": {
            "vivqa": {"eval_file_path": str(vivqa), "batch_size": 3, "max_new_tokens": 6},
            "mvtec_ad": {"eval_file_path": str(mvtec), "max_new_tokens": 6},
        },
        "run": {"save_path": str(tmp_path / "out"), "device": "cpu"},
    }
    path = tmp_path / "eval.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")

    def words(*options):
        return SimpleNamespace(cfg_path=str(path), options=list(options))

    return words


@pytest.fixture
def own_checkpoint(tmp_path):
    """The original's weights as a run of ours would write them."""

    def write(**model):
        weights = torch.load(ORIGINAL, weights_only=True)["model"]
        path = tmp_path / "own.pth"
        torch.save({"model": weights, "config": {"model": model}, "meta": {}}, path)
        return f"model.ckpt={path}"

    return write


@pytest.mark.parametrize("name", ["vivqa", "mvtec_ad"])
@pytest.mark.parametrize("chat_template", [True, False])
def test_an_inference_prompt_is_the_beginning_of_a_training_sequence(
    arguments, own_checkpoint, name, chat_template
):
    cfg = Config(arguments(own_checkpoint(chat_template=chat_template)))
    model = load_model(cfg)
    assert model.settings.chat_template is chat_template
    (turn, *_) = open_eval_data(cfg, name).dataset[0].turns
    turns = model._turns({"instruction_input": [turn.instruction], "answer": [turn.answer]})
    training = model.sequences.training(*turns[0], 1, 16)
    inference = model.sequences.inference(prompt_of(model, turn.instruction), 1, 16)
    begin = len(inference.ids)
    assert training.ids[:begin] == inference.ids
    answer = model.tokenizer.encode(turn.answer + "</s>")
    assert training.ids[begin:] == training.labels[begin:] == answer


def test_the_originals_prompt_has_two_bos_and_a_space_less(arguments):
    cfg = Config(arguments())
    model = load_model(cfg)
    assert model.prompt_style == "original"
    instruction = open_eval_data(cfg, "vivqa").dataset[0].turns[0].instruction
    prompt = prompt_of(model, instruction)
    assert prompt.startswith("<s>[INST] <Img>") and prompt.endswith("gì [/INST]")
    assert model.sequences.inference(prompt, 1, 16).ids[:2] == [model.tokenizer.bos_id] * 2
    assert prompt_of(model, instruction, "training").endswith("gì  [/INST]")


def test_the_checkpoint_says_how_it_is_asked(arguments, own_checkpoint):
    assert load_model(Config(arguments(own_checkpoint()))).settings.chat_template is True
    own = own_checkpoint(chat_template=False)
    assert load_model(Config(arguments(own, "model.prompt_style=original"))).prompt_style == (
        "original"
    )


def test_an_answer_does_not_depend_on_its_batch_or_on_the_cache(arguments, tmp_path):
    cfg = Config(arguments())
    model = load_model(cfg)
    together = evaluate(cfg, "vivqa", model=model, report=False)
    cache = FeatureCache(
        "memory", None, encoder_fingerprint="e", processor_fingerprint="p", dtype="fp32"
    )
    cfg.config.evaluation_datasets.vivqa.batch_size = 1
    alone = evaluate(cfg, "vivqa", model=model, cache=cache, report=False, fresh=True)
    assert [each.answer for each in alone.predictions] == [
        each.answer for each in together.predictions
    ]
    for one, other in zip(alone.predictions, together.predictions, strict=True):
        assert one.probability == pytest.approx(other.probability, rel=1e-3)
        assert 0 < one.probability < 1


def test_features_are_kept_where_the_configuration_says(arguments, tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    cfg = Config(arguments("run.feature_cache=disk"))
    model = load_model(cfg)
    evaluate(cfg, "vivqa", model=model, report=False)
    assert len(list((tmp_path / "cache" / "features").iterdir())) == 1
    monkeypatch.setattr(model, "encode_image_features", None)  # nothing is left to encode
    evaluate(cfg, "vivqa", model=model, report=False, fresh=True)


def test_the_script_from_checkpoint_to_accuracy(arguments, tmp_path, capsys):
    words = ["--cfg-path", arguments().cfg_path, "--options", "model.ckpt="]
    assert run_cli(eval_vivqa.main, words) == 0
    out, err = capsys.readouterr()
    assert out.splitlines()[-1] == "Top 1 Accuracy: 0.00"
    assert "model.ckpt is empty" in err
    assert "prompts in training style" in err
    assert len(json.loads((tmp_path / "out" / "vivqa.json").read_text("utf-8"))) == 3


def test_a_missing_checkpoint_is_named(arguments):
    with pytest.raises(WeightsError, match=r"nowhere\.pth"):
        load_model(Config(arguments("model.ckpt=nowhere.pth")))


def test_init_model_gives_model_and_processor(arguments):
    model, vis_processor = init_model(arguments())
    assert not model.training
    assert vis_processor.image_size == 112


def test_answers_in_bf16_on_cpus_made_for_it(arguments, tmp_path, monkeypatch):
    exact = evaluate(Config(arguments()), "vivqa", report=False)
    monkeypatch.setattr(precision, "_cpu_gains_from_bf16", lambda: True)
    unasked = evaluate(Config(arguments()), "vivqa", report=False)
    assert unasked.predictions == exact.predictions
    cfg = Config(arguments("run.amp=True", f"run.save_path={tmp_path / 'half'}"))
    model = load_model(cfg)
    assert model.mixed == torch.bfloat16
    assert model.llama_model.get_output_embeddings().weight.dtype == torch.bfloat16
    half = evaluate(cfg, "vivqa", report=False)
    assert ['"precision": "bf16"' in _header(tmp_path / out) for out in ("out", "half")] == [0, 1]
    found, expected = ([each.probability for each in run.predictions] for run in (half, exact))
    assert found != expected
    assert found[0] == pytest.approx(expected[0], rel=0.2)


def _header(folder: Path) -> str:
    with (folder / "vivqa_predictions.jsonl").open(encoding="utf-8") as file:
        return file.readline()
