"""``train.py --plan`` from a configuration file to what it prints and writes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from test_train_cli import PARITY, ROOT, write_vivqa

import train
from minigpt4.common.config import Config
from minigpt4.common.errors import run_cli
from minigpt4.datasets.collate import collate
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.runners.plan import command
from minigpt4.runners.rng import rng_state
from minigpt4.tasks.image_text_pretrain import ImageTextPretrainTask

Plan = Callable[..., tuple[str, dict[str, Any]]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    data = tmp_path / "ViVQA"
    annotations = write_vivqa(data, count=12, first=0)
    path = tmp_path / "plan.yaml"
    written = {
        "model": {
            "arch": "minigpt_v2",
            "image_size": 56,
            "vit_config": {"embed_dim": 64, "depth": 1, "num_heads": 4},
            "vit_weights": "random",
            "llama_model": str(PARITY / "tiny_llama_vi1000"),
            "lora_r": 8,
            "chat_template": True,
            "max_txt_len": 12,
            "end_sym": "</s>",
        },
        "datasets": {
            "vivqa": {
                "batch_size": 4,
                "vis_processor": {"train": {"name": "blip2_image_train", "image_size": 56}},
                "text_processor": {"train": {"name": "blip_caption"}},
                "build_info": {
                    "ann_path": str(annotations),
                    "image_path": str(data / "images"),
                },
            }
        },
        "run": {
            "max_epoch": 2,
            "iters_per_epoch": 50,
            "output_dir": str(tmp_path / "out"),
            "device": "cpu",
        },
    }
    path.write_text(yaml.safe_dump(written), "utf-8")
    return path


@pytest.fixture
def plan(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Plan:
    def plan(*words: str, path: Path = config) -> tuple[str, dict[str, Any]]:
        file = tmp_path / "plan.json"
        given = ["--cfg-path", str(path), "--plan", "--json", str(file), *words]
        assert run_cli(train.main, given) == 0
        return capsys.readouterr().out, json.loads(file.read_text("utf-8"))

    return plan


def test_real_steps_are_measured_and_nothing_is_left(
    plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = {path.name for path in tmp_path.iterdir()}
    generators = rng_state()
    out, data = plan("--options", "run.feature_cache=memory", "run.accum_grad_iters=2")
    after = {path.name for path in tmp_path.iterdir()}
    # PyTorch's own folder for compiled code may come; the run's folder and the plan's are gone.
    assert {name for name in after - before if "inductor" not in name} == {"plan.json"}
    assert torch.equal(rng_state()["torch"], generators["torch"])
    assert rng_state()["python"] == generators["python"]
    assert data["kind"] == "measured"
    assert data["steps"] == 5 and data["steps_left"] == 100 and data["batch"] == 4
    assert 0 < data["seconds_per_step"] < data["seconds_to_end"]
    assert data["samples_per_second"] == pytest.approx(4 / data["seconds_per_step"])
    assert data["peak_bytes"] >= data["loaded_bytes"] > 0
    assert data["cache"]["pictures"] == 12
    for row in ("a step", "to the end", "100 steps", "12 of 12 pictures to encode", "peak memory"):
        assert row in out


def test_what_would_help_is_only_said_where_it_would(plan: Plan) -> None:
    _, data = plan("--options", "model.use_grad_checkpoint_llm=True")
    settings = {advice["setting"] for advice in data["advice"]}
    assert "model.use_grad_checkpoint_llm=False" in settings
    assert not any("load_in_4bit" in setting for setting in settings)


def test_a_plan_takes_no_more_steps_than_an_epoch_has(plan: Plan) -> None:
    _, data = plan("--options", "run.iters_per_epoch=2")
    assert data["steps"] == 1


def test_an_estimate_builds_no_model(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MiniGPTv2, "from_config", lambda *_: pytest.fail("the model was built"))
    out, data = plan("--estimate")
    assert data["kind"] == "estimated" and data["reason"] is None
    assert data["lengths"]["origin"] == "of the first 12 samples"
    assert sum(item["bytes"] for item in data["items"]) == data["total_bytes"]
    assert "total" in out and "16 GB" not in out  # a CPU is no GPU


def test_lengths_are_those_that_training_has(plan: Plan, config: Path) -> None:
    _, data = plan("--estimate")
    cfg = Config(SimpleNamespace(cfg_path=str(config), options=None))
    model = MiniGPTv2.from_config(cfg.model(), torch.device("cpu"))
    (split,) = ImageTextPretrainTask().build_datasets(cfg, ["train"])
    batches = [collate([split.dataset[index]]) for index in range(12)]
    lengths = [model.prepare(batch).inputs_embeds.shape[-2] for batch in batches]
    assert data["lengths"]["positions"] == max(lengths)


@pytest.mark.parametrize("name", ["vivqa", "mvtec"])
def test_the_tutorials_configurations_are_estimated_anywhere(plan: Plan, name: str) -> None:
    out, data = plan(path=ROOT / "train_configs" / f"minigptv2_finetune_{name}.yaml")
    if data["kind"] == "measured":
        pytest.skip("everything of the tutorial is on this machine")
    assert data["reason"]
    assert data["parameters"]["language model"] == 6_738_415_616
    assert data["settings"][0]["largest_batch"]["24 GB"] >= 1
    assert "language model, 8 bit" in out and "largest batch on" in out


def test_a_run_that_cannot_fit_is_refused_before_its_model_is_built(
    config: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MiniGPTv2, "from_config", lambda *_: pytest.fail("the model was built"))
    monkeypatch.setattr(command, "room_on", lambda _: 2**20)
    assert run_cli(train.main, ["--cfg-path", str(config)]) == 5
    error = capsys.readouterr().err
    assert "Training needs about" in error and "0.0 GiB are free" in error
    assert not (config.parent / "out").exists()


def test_options_of_a_plan_without_it_are_refused(config: Path) -> None:
    with pytest.raises(SystemExit):
        train.main(["--cfg-path", str(config), "--estimate"])
