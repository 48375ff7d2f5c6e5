"""Configurations: the files of this repository, precedence, types, and all mistakes at once."""

import random
from argparse import Namespace
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from minigpt4.common import config_check
from minigpt4.common.config import Config, typed
from minigpt4.common.errors import ConfigError
from minigpt4.common.settings import (
    DatasetSettings,
    EvalDatasetSettings,
    ModelSettings,
    ProcessorSettings,
    RunSettings,
)

ROOT = Path(__file__).parents[2]

MINIMAL = """\
model:
  arch: minigpt_v2
  model_type: pretrain
datasets:
  vivqa:
    batch_size: 2
run:
  task: image_text_pretrain
"""


def load(path: Path, *options: str) -> Config:
    return Config(Namespace(cfg_path=str(path), options=list(options) or None))


@pytest.fixture
def write(tmp_path):
    def write(text: str) -> Path:
        path = tmp_path / "config.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def mistakes_of(path: Path, *options: str) -> str:
    with pytest.raises(ConfigError) as error:
        load(path, *options)
    return str(error.value)


# --- the files of this repository ---------------------------------------------------------------

TRAINING = {
    "lr_sched": "linear_warmup_cosine_lr",
    "init_lr": 1e-5,
    "min_lr": 1e-6,
    "warmup_lr": 1e-6,
    "weight_decay": 0.05,
    "num_workers": 6,
    "iters_per_epoch": 2000,
    "seed": 42,
    "amp": True,
    "device": "cuda",
    "world_size": 1,
    "dist_url": "env://",
    "distributed": True,
    "wandb_log": False,
    "job_name": "minigptv2_finetune",
    "beta2": 0.999,
    "accum_grad_iters": 1,
    "resume_ckpt_path": None,
    "evaluate": False,
    "train_splits": ["train"],
}
MODEL = {
    "arch": "minigpt_v2",
    "model_type": "pretrain",
    "image_size": 448,
    "vit_model": "eva_clip_g",
    "end_sym": "</s>",
    "llama_model": "meta-llama/Llama-2-7b-chat-hf",
    "ckpt": "./ckpt/checkpoint_stage3.pth",
    "low_resource": True,
    "prompt_template": "[INST] {} [/INST]",
    "max_context_len": 3800,
    "lora_r": 64,
    "lora_alpha": 16,
    "lora_dropout": 0.05,
    "lora_target_modules": ["q_proj", "v_proj"],
}


@pytest.mark.parametrize(
    ("file", "dataset", "run"),
    [
        (
            "minigptv2_finetune_vivqa.yaml",
            "vivqa",
            {"max_epoch": 5, "warmup_steps": 500, "output_dir": "vivqa_outputs"},
        ),
        (
            "minigptv2_finetune_mvtec.yaml",
            "mvtec_ad",
            {"max_epoch": 2, "warmup_steps": 1000, "output_dir": "mvtec_outputs"},
        ),
    ],
)
def test_training_files_have_the_tutorials_values(file, dataset, run):
    config = load(ROOT / "train_configs" / file)
    run_settings = vars(config.run())
    assert {key: run_settings[key] for key in TRAINING | run} == TRAINING | run
    expected = MODEL | {"max_txt_len": 1024, "use_grad_checkpoint": True, "chat_template": True}
    model_settings = vars(config.model())
    assert {key: model_settings[key] for key in expected} == expected
    assert config.dataset_names == [dataset]
    entry = config.dataset(dataset)
    assert (entry.batch_size, entry.sample_ratio) == (2, 100)
    assert entry.vis_processor["train"]["name"] == "blip2_image_train"
    assert entry.vis_processor["train"]["image_size"] == 448
    assert entry.text_processor["train"]["name"] == "blip_caption"


@pytest.mark.parametrize(
    "file",
    [
        "minigptv2_benchmark_evaluation.yaml",
        "minigptv2_eval_vivqa.yaml",
        "minigptv2_eval_mvtec.yaml",
    ],
)
def test_evaluation_files_have_the_tutorials_values(file):
    config = load(ROOT / "eval_configs" / file)
    expected = MODEL | {"max_txt_len": 500}
    model_settings = vars(config.model())
    assert {key: model_settings[key] for key in expected} == expected
    vis, text = config.eval_processors("vivqa")
    assert (vis.name, vis.image_size) == ("blip2_image_eval", 448)
    assert text is not None
    assert text.name == "blip_caption"


def test_benchmark_file_names_both_data_sets():
    config = load(ROOT / "eval_configs" / "minigptv2_benchmark_evaluation.yaml")
    assert config.eval_dataset_names == ["vivqa", "mvtec_ad"]
    vivqa, mvtec = config.eval_dataset("vivqa"), config.eval_dataset("mvtec_ad")
    assert vivqa.eval_file_path == "./data/ViVQA/test.csv"
    assert vivqa.img_path == "./data/ViVQA/images"
    assert (vivqa.batch_size, vivqa.max_new_tokens) == (4, 20)
    assert mvtec.eval_file_path == "./data/MVTEC_det/val_data.json"
    assert (mvtec.batch_size, mvtec.max_new_tokens) == (4, 40)
    assert config.run().save_path == "eval_outputs"


# --- precedence ---------------------------------------------------------------------------------


def test_sources_from_weakest_to_strongest(write, tmp_path, monkeypatch):
    defaults = tmp_path / "defaults"
    (defaults / "models").mkdir(parents=True)
    (defaults / "datasets").mkdir()
    (defaults / "models" / "minigpt_v2_pretrain.yaml").write_text(
        "model: {lora_r: 1, lora_alpha: 1, max_txt_len: 1}"
    )
    (defaults / "datasets" / "vivqa.yaml").write_text(
        "datasets: {vivqa: {build_info: {ann_path: default, image_path: default}, batch_size: 7}}"
    )
    (defaults / "datasets" / "vivqa_other.yaml").write_text(
        "datasets: {vivqa: {build_info: {ann_path: other}}}"
    )
    monkeypatch.setattr("minigpt4.common.config.DEFAULTS", defaults)
    path = write(
        "model: {lora_alpha: 2, max_txt_len: 2}\n"
        "datasets: {vivqa: {build_info: {image_path: mine}}}\n"
    )
    config = load(path, "model.max_txt_len=3", "datasets.vivqa.sample_ratio=0.5")
    model = config.model()
    assert (model.lora_dropout, model.lora_r, model.lora_alpha, model.max_txt_len) == (
        0.05,
        1,
        2,
        3,
    )
    entry = config.dataset("vivqa")
    assert entry.build_info == {"ann_path": "default", "image_path": "mine"}
    assert (entry.batch_size, entry.sample_ratio) == (7, 0.5)
    other = load(path, "datasets.vivqa.type=other").dataset("vivqa")
    assert other.build_info == {"ann_path": "other", "image_path": "mine"}
    assert other.batch_size == 1
    assert "known: default, other" in mistakes_of(path, "datasets.vivqa.type=x").replace("'", "")
    assert "no model type" in mistakes_of(path, "model.model_type=zzz")


def test_origin_of_a_key(write):
    path = write(MINIMAL)
    config = load(path, "run.seed=7")
    assert config.origin("run.seed") == "--options"
    assert config.origin("datasets.vivqa.batch_size") == f"{path}, line 6"
    assert config.origin("evaluation_datasets.x") == "default"


def test_option_values_are_read_as_yaml(write):
    config = load(
        write(MINIMAL),
        "run.init_lr=3e-4",
        "run.amp=true",
        "run.train_splits=[train, extra]",
        "run.resume_ckpt_path=null",
        "model.ckpt=a=b.pth",
        "model.llama_model=",
        "model.vit_config={depth: 2, embed_dim: 64}",
        "datasets.vivqa.build_info.image={img_id:012d}.jpg",
    )
    run, model = config.run(), config.model()
    assert (run.init_lr, run.amp, run.train_splits) == (3e-4, True, ["train", "extra"])
    assert run.resume_ckpt_path is None
    assert (model.ckpt, model.llama_model) == ("a=b.pth", "")
    assert model.vit_config == {"depth": 2, "embed_dim": 64}


@pytest.mark.parametrize("item", ["run.max_epoch", "run.max_epoch 1", "=1", "run..seed=1", ""])
def test_option_that_is_no_pair_is_a_mistake(write, item):
    message = mistakes_of(write(MINIMAL), item)
    assert repr(item) in message
    assert "key=value" in message


def test_works_without_options_attribute_and_with_few_sections(write):
    config = Config(Namespace(cfg_path=write("model:\n  arch: minigpt_v2\n")))
    assert config.dataset_names == []
    assert config.eval_processors("vivqa")[0] == ProcessorSettings(
        name="blip2_image_eval", image_size=448
    )
    assert isinstance(config.run(), RunSettings)


# --- types --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [("1e-5", 1e-5), ("1.0e-5", 1e-5), ('"1e-5"', 1e-5), ("1E-05", 1e-5), (".5", 0.5), ("2", 2.0)],
)
def test_numbers_in_every_spelling(write, text, value):
    run = load(write(f"run:\n  init_lr: {text}\n")).run()
    assert run.init_lr == value
    assert isinstance(run.init_lr, float)


@pytest.mark.parametrize(("text", "value"), [("1000", 1000), ("1e3", 1000), ('"1000"', 1000)])
def test_whole_numbers(write, text, value):
    run = load(write(f"run:\n  iters_per_epoch: {text}\n")).run()
    assert run.iters_per_epoch == value
    assert isinstance(run.iters_per_epoch, int)


@pytest.mark.parametrize(
    ("text", "value"),
    [("True", True), ("false", False), ("yes", True), ('"False"', False), ('"true"', True)],
)
def test_booleans_also_in_quotes(write, text, value):
    assert load(write(f"run:\n  amp: {text}\n")).run().amp is value


@pytest.mark.parametrize("text", ["off", "Off", "no", "false", '"off"'])
def test_a_choice_that_yaml_reads_as_a_truth_is_understood(write, text):
    assert load(write(f"run:\n  feature_cache: {text}\n")).run().feature_cache == "off"
    assert load(write(MINIMAL), f"run.feature_cache={text}").run().feature_cache == "off"
    message = mistakes_of(write("run:\n  feature_cache: on\n  mixing: off\n"))
    assert "'True' is not one of off, memory, disk, auto" in message
    assert "'False' is not one of samples, steps" in message


def test_texts_and_lists_are_lenient_where_the_meaning_is_clear(write):
    path = write(
        "run:\n  job_name: 2024\n  train_splits: train\n  valid_splits:\n  name: 2024-05-06\n"
    )
    run = load(path).run()
    assert (run.job_name, run.train_splits, run.valid_splits) == ("2024", ["train"], [])
    assert run.name == "2024-05-06"


def test_interpolation(write, monkeypatch):
    monkeypatch.setenv("LLM_HOME", "/models")
    config = load(
        write(
            "model:\n  llama_model: ${oc.env:LLM_HOME}/tiny\n  ckpt: ${run.name}\nrun:\n  name: x\n"
        )
    )
    assert (config.model().llama_model, config.model().ckpt) == ("/models/tiny", "x")
    message = mistakes_of(write("model:\n  ckpt: ${run.nothing}\n"))
    assert "model.ckpt" in message
    assert "line 2" in message


# --- mistakes -----------------------------------------------------------------------------------


def test_all_mistakes_at_once_with_their_places(write):
    path = write(
        """\
model:
  arch: minigpt_v3
  lorar: 3
  prompt_template: "[INST] [/INST]"
datasets:
  vivqua:
    batch_size: -1
    vis_processor:
      train:
        name: blip2_image_trian
  mvtec_ad:
    vis_processor:
      train:
        name: blip2_image_train
        image_size: 224
evaluation_dataset:
  vivqa: {}
run:
  max_epoch: five
  init_lr: fast
  amp: maybe
  lr_sched: cosine
  eval_file_path: x.csv
"""
    )
    message = mistakes_of(path, "run.max_epok=3", "run.beta2=2")
    lines = message.splitlines()[1:]
    expected = [
        ("model.arch", "line 2", "minigpt_v3", "minigpt_v2"),
        ("model.lorar", "line 3", "lora_r"),
        ("model.prompt_template", "line 4", "{}"),
        ("datasets.vivqua", "line 6", "no data set named", "vivqa"),
        ("datasets.vivqua.batch_size", "line 7", "more than 0", "-1"),
        ("datasets.vivqua.vis_processor.train.name", "line 10", "blip2_image_train"),
        ("datasets.mvtec_ad.vis_processor.train.image_size", "line 15", "224", "448"),
        ("evaluation_dataset", "line 16", "evaluation_datasets"),
        ("run.max_epoch", "line 19", "whole number", "five"),
        ("run.init_lr", "line 20", "number", "fast"),
        ("run.amp", "line 21", "True or False", "maybe"),
        ("run.lr_sched", "line 22", "linear_warmup_cosine_lr"),
        ("run.eval_file_path", "line 23", "evaluation_datasets"),
        ("run.max_epok", "--options", "max_epoch"),
        ("run.beta2", "--options", "from 0 to 1"),
    ]
    assert len(lines) == len(expected)
    for key, *parts in expected:
        (line,) = [line for line in lines if line.startswith(f"  - {key} (")]
        assert all(part in line for part in parts), line
    assert f"{path}, line 2" in message


def test_one_mistake_is_one_line(write):
    message = mistakes_of(write("run:\n  max_epoch: 0\n"))
    assert "\n" not in message
    assert "run.max_epoch" in message


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("max_epoch: 1.5", "whole number"),
        ("max_epoch: true", "whole number"),
        ("max_epoch:", "empty"),
        ("init_lr: [1]", "a number"),
        ("amp: 1", "True or False"),
        ("job_name: no", "quotes"),
        ("job_name: {a: 1}", "text"),
        ("train_splits: {a: 1}", "list"),
        ("train_splits: [1]", "list"),
        ("lr_scale: 3", "keys and values"),
        ("lr_scale: {llama_proj: big}", "a number"),
        ("num_workers: many", "whole number"),
        ("seed: -1", "0 or more"),
        ("feature_cache: ram", "off, memory, disk, auto"),
        ("device: gpu", "cuda"),
        ("log_freq: 0", "more than 0"),
    ],
)
def test_wrong_values(write, line, part):
    message = mistakes_of(write(f"run:\n  {line}\n"))
    assert f"run.{line.split(':')[0]}" in message
    assert "line 2" in message
    assert part in message


def test_section_of_the_wrong_form(write):
    assert "datasets" in mistakes_of(write("datasets: [vivqa]\n"))
    assert "datasets.vivqa" in mistakes_of(write("datasets:\n  vivqa: 3\n"))
    message = mistakes_of(write("datasets:\n  vivqa:\n  batch_size: 2\n"))
    assert "datasets.batch_size" in message
    assert "line 3" in message


def test_key_at_the_root_or_in_another_section_says_where_it_belongs(write):
    assert "belongs below run" in mistakes_of(write("max_epoch: 3\n"))
    assert "belongs below model" in mistakes_of(write("run:\n  llama_model: x\n"))


def test_two_quantizations_are_one_too_many(write):
    message = mistakes_of(write("model:\n  low_resource: True\n  load_in_4bit: True\n"))
    assert "low_resource" in message
    assert "load_in_4bit" in message


def test_processor_needs_a_name(write):
    message = mistakes_of(
        write("datasets:\n  vivqa:\n    vis_processor:\n      train:\n        image_size: 448\n")
    )
    assert "datasets.vivqa.vis_processor.train" in message
    assert "name is missing" in message
    assert "\n" not in message


def test_missing_file_names_a_similar_one(tmp_path, write):
    write("{}")
    message = mistakes_of(tmp_path / "confg.yaml")
    assert "does not exist" in message
    assert str(tmp_path / "config.yaml") in message
    assert "\n" not in message
    assert "check the path" in mistakes_of(tmp_path / "zzzzzzzzzz.yaml")


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("model:\n\tarch: x\n", "tabs"),
        ("model: {\n", "line 2"),
        ("run:\n  name: 'x\n", "quotes"),
        ("run:\n  name: x\n    amp: True\n", "line 3"),
        ("", "empty"),
        ("# nothing\n", "empty"),
        ("- a\n- b\n", "a list"),
        ("just words\n", "just words"),
        ("run:\n  amp: True\n  amp: False\n", "already given in line 2"),
        ("run: &a\n  lr_scale: *a\n", "anchor"),
    ],
)
def test_broken_file_is_one_sentence(write, text, part):
    path = write(text)
    message = mistakes_of(path)
    assert str(path) in message
    assert part in message
    assert "\n" not in message


VALUES = ["", "null", "[]", "{a: [1]}", ".nan", "-1", "!!binary aGk=", "*a", "${x}", "???", "\t"]
SIGNS = "x:[]{}#'&*!|%@ \t-1"


def damaged(text: str, rng: random.Random) -> str:
    """Shift, drop, repeat or overwrite a few lines or characters."""
    lines = text.splitlines()
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(lines))
        match rng.randrange(5):
            case 0:
                lines[at] = "  " * rng.randint(0, 3) + lines[at].strip()
            case 1:
                del lines[at]
            case 2:
                lines.insert(at, rng.choice(lines))
            case 3:
                lines[at] = f"{lines[at].split(':')[0]}: {rng.choice(VALUES)}"
            case 4:
                cut = rng.randint(0, len(lines[at]))
                lines[at] = lines[at][:cut] + rng.choice(SIGNS) + lines[at][cut + 1 :]
    return "\n".join(lines)


def test_no_damage_to_a_file_ends_in_a_traceback(write):
    rng = random.Random(0)
    texts = [path.read_text("utf-8") for path in sorted(ROOT.glob("*_configs/minigptv2_*.yaml"))]
    refused = 0
    for _ in range(150):
        path = write(damaged(rng.choice(texts), rng))
        try:
            config = load(path)
            config.model(), config.run(), config.eval_processors("vivqa")
            assert all(config.dataset(name) for name in config.dataset_names)
        except ConfigError as error:
            assert str(path) in str(error)
            refused += 1
    assert 20 < refused < 150


def test_what_is_no_text_file_is_refused(tmp_path):
    path = tmp_path / "model.yaml"
    path.write_bytes(b"\xff\xfe\x00\x80")
    assert "not UTF-8" in mistakes_of(path)
    assert "cannot be read" in mistakes_of(tmp_path)


def test_file_from_a_windows_editor(tmp_path):
    path = tmp_path / "windows.yaml"
    path.write_bytes(b"\xef\xbb\xbf" + "run:\r\n  name: tiếng Việt\r\n".encode())
    assert load(path).run().name == "tiếng Việt"


@pytest.mark.parametrize("name", ["/etc/passwd", "../x", "a[b", "123", "**"])
def test_strange_names_of_data_sets_are_only_unknown(write, name):
    message = mistakes_of(write(f"datasets:\n  '{name}':\n"))
    assert f"no data set named {name!r}" in message


# --- keys without effect, own data sets ---------------------------------------------------------

PUBLIC = """\
model:
  arch: minigpt_v2
  model_type: pretrain
  load_finetuned: False
  prompt: ""
preprocess:
  vis_processor:
    train:
      name: "blip2_image_train"
datasets:
  cc_sbu_align:
    vis_processor:
      train:
        name: "blip2_image_eval"
        image_size: 448
    text_processor:
      train:
        name: "blip_caption"
evaluation_datasets:
  refcoco:
    eval_file_path: /path/to/eval/annotation/path
    img_path: /path/to/eval/image/path
    max_new_tokens: 20
    batch_size: 10
    splits: [val, testA]
  refcoco+:
    eval_file_path: /path
run:
  task: image_text_pretrain
  name: minigptv2_evaluation
  save_path: /path/to/save/folder_path
  batch_size_train: 12
"""


def test_keys_of_public_files_are_accepted_and_named(write, caplog):
    config = load(write(PUBLIC))
    said = caplog.text
    for key in (
        "model.load_finetuned",
        "model.prompt",
        "preprocess",
        "run.batch_size_train",
    ):
        assert f"{key} (" in said
    assert said.count("has no effect") == 4
    assert config.eval_dataset_names == ["refcoco", "refcoco+"]
    assert config.model().arch == "minigpt_v2"
    assert "load_finetuned" not in config.model_cfg


def test_resolved_evaluation_file_is_itself_a_configuration(write):
    resolved = load(ROOT / "eval_configs" / "minigptv2_benchmark_evaluation.yaml").to_dict()
    assert load(write(yaml.safe_dump(resolved))).to_dict() == resolved


def test_own_data_set_needs_only_a_kind(write):
    text = """\
datasets:
  my_questions:
    kind: vqa
    build_info: {ann_path: a.csv, anything: [1, {true: x}]}
"""
    entry = load(write(text)).dataset("my_questions")
    assert entry.kind == "vqa"
    assert entry.build_info == {"ann_path": "a.csv", "anything": [1, {True: "x"}]}
    assert "no data set named 'my_questions'" in mistakes_of(
        write(text.replace("kind: vqa", "batch_size: 2"))
    )


def test_image_size_is_that_of_the_model_unless_said(write):
    text = """\
model: {image_size: 64}
datasets:
  vivqa:
    vis_processor: {train: {name: blip2_image_train}}
"""
    processors = load(write(text)).dataset("vivqa").vis_processor
    assert processors["train"]["image_size"] == processors["eval"]["image_size"] == 64
    assert processors["eval"]["name"] == "blip2_image_eval"


def test_processors_for_evaluation_prefer_eval_and_the_data_sets_own(write):
    config = load(
        write(
            """\
model: {image_size: 64}
datasets:
  vivqa:
    text_processor: {train: {name: blip_caption}, eval: {name: blip_caption, max_words: 9}}
  mvtec_ad:
    batch_size: 3
"""
        )
    )
    assert config.eval_processors("vivqa")[1].max_words == 9
    assert config.eval_processors("unlisted")[1].max_words == 9
    vis, text = config.eval_processors("mvtec_ad")
    assert (vis.name, vis.image_size, text) == ("blip2_image_eval", 64, None)


def test_tables_of_checks_name_real_keys():
    for table in (config_check.CHOICES, config_check.RANGES, config_check.IGNORED):
        for cls, content in table.items():
            names = {item.name for item in fields(cls)} if cls else set()
            if table is config_check.IGNORED:
                assert not names & content
            elif table is config_check.CHOICES:
                assert set(content) <= names
            else:
                assert {name for group in content.values() for name in group} <= names


# --- handing out --------------------------------------------------------------------------------


def test_sections_are_complete_and_typed(write):
    config = load(write(MINIMAL), "evaluation_datasets.vivqa.eval_file_path=t.csv")
    assert config.model_cfg.lora_r == 64
    assert config.run_cfg.get("beta2") == 0.999
    assert config.datasets_cfg.vivqa.batch_size == 2
    assert config.evaluation_datasets_cfg.vivqa.max_new_tokens == 20
    assert isinstance(config.model(), ModelSettings)
    assert isinstance(config.dataset("vivqa"), DatasetSettings)
    assert isinstance(config.eval_dataset("vivqa"), EvalDatasetSettings)
    with pytest.raises(ConfigError, match="vivqa"):
        config.dataset("vivqaa")
    with pytest.raises(ConfigError, match="evaluation_datasets"):
        config.eval_dataset("mvtec")
    with pytest.raises(ConfigError, match="no evaluation_datasets"):
        load(write(MINIMAL)).eval_dataset("vivqa")


def test_scripts_may_change_a_section_before_it_is_typed(write):
    config = load(write(MINIMAL))
    config.model_cfg.device_8bit = 1
    config.run_cfg.max_epoch = 9
    assert config.model().device_8bit == 1
    assert config.run().max_epoch == 9
    config.run_cfg.max_epoch = "many"
    with pytest.raises(ConfigError, match=r"run\.max_epoch"):
        config.run()


def test_typed_fills_defaults_and_refuses_unknown_keys():
    assert typed(ModelSettings, {"lora_r": "8"}, "model") == ModelSettings(lora_r=8)
    with pytest.raises(ConfigError, match=r"model\.lorar.*lora_r"):
        typed(ModelSettings, {"lorar": 8}, "model")


def test_whole_configuration_reads_back_equal(write, tmp_path, caplog):
    caplog.set_level("INFO", logger="minigpt4")
    config = load(ROOT / "train_configs" / "minigptv2_finetune_vivqa.yaml")
    again = tmp_path / "resolved.yaml"
    again.write_text(yaml.safe_dump(config.to_dict(), allow_unicode=True), encoding="utf-8")
    assert load(again).to_dict() == config.to_dict()
    config.pretty_print()
    assert "llama_model: meta-llama/Llama-2-7b-chat-hf" in caplog.text


def test_what_the_user_says_is_told_from_defaults(tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text("run: {seed: 3}\ndatasets: {vivqa: {batch_size: 2}}\n", encoding="utf-8")
    cfg = Config(Namespace(cfg_path=str(path), options=["run.max_epoch=2"]))
    said = ("run.seed", "run.max_epoch", "datasets.vivqa.batch_size")
    assert all(map(cfg.is_said, said))
    unsaid = ("run.init_lr", "datasets.vivqa.sample_ratio", "datasets.vivqa.build_info", "model")
    assert not any(map(cfg.is_said, unsaid))
