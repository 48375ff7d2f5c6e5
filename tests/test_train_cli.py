"""``train.py`` from a configuration file to a run folder, with a small model of the real class."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import train
from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.errors import run_cli
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.models.vision.base import VisionEncoder
from minigpt4.runners import runner_base
from minigpt4.runners.plan import command
from minigpt4.runners.records import read_records

ROOT = Path(__file__).parents[1]

PARITY = Path(__file__).parent / "fixtures" / "parity"
COLOURS = ["đỏ", "xanh lá", "xanh dương"]
Start = Callable[..., int]


def write_vivqa(folder: Path, *, count: int, first: int) -> Path:
    """Plain pictures in three colours, and a CSV file that asks for them."""
    (folder / "images").mkdir(parents=True, exist_ok=True)
    lines = [",question,answer,img_id,type"]
    for number in range(first, first + count):
        pixels = np.zeros((40, 40, 3), np.uint8)
        pixels[..., number % 3] = 200
        Image.fromarray(pixels).save(folder / "images" / f"{number:012d}.jpg")
        lines.append(f"{number},màu của hình là gì,màu {COLOURS[number % 3]},{number},2")
    path = folder / f"from_{first}.csv"
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.fixture
def config(tmp_path: Path) -> dict[str, Any]:
    """A run of two epochs of three iterations."""
    data = tmp_path / "ViVQA"
    size = {"name": "blip2_image_train", "image_size": 56}
    return {
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
                "vis_processor": {"train": size},
                "text_processor": {"train": {"name": "blip_caption"}},
                "build_info": {
                    "ann_path": str(write_vivqa(data, count=12, first=0)),
                    "val_ann_path": str(write_vivqa(data, count=5, first=100)),
                    "image_path": str(data / "images"),
                },
            }
        },
        "run": {
            "init_lr": 3e-3,
            "max_epoch": 2,
            "log_freq": 1,
            "output_dir": str(tmp_path / "out"),
            "device": "cpu",
        },
    }


@pytest.fixture
def start(tmp_path: Path, config: dict[str, Any]) -> Start:
    """Write the configuration and run ``train.py`` on it; the exit code."""

    def start(*options: str) -> int:
        path = tmp_path / "train.yaml"
        path.write_text(yaml.safe_dump(config), "utf-8")
        words = ["--cfg-path", str(path)]
        return run_cli(train.main, [*words, "--options", *options] if options else words)

    return start


@pytest.fixture(autouse=True)
def _no_curves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs; the first test does it."""
    if request.node.name != "test_a_run_leaves_everything_in_its_folder":
        monkeypatch.setattr(runner_base, "plot_curves", lambda *_: None)


def newest(config: dict[str, Any]) -> Path:
    return max(Path(config["run"]["output_dir"]).iterdir(), key=lambda path: path.stat().st_mtime)


def losses(folder: Path) -> list[float]:
    return [r["loss"] for r in read_records(folder / "log.txt") if r["kind"] == "train"]


# Runs.


def test_a_run_leaves_everything_in_its_folder(
    start: Start, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("run.valid_splits=[val]") == 0
    folder = newest(config)
    assert str(folder) in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {
        "checkpoint_0.pth", "checkpoint_1.pth", "checkpoint_best.pth", "config.yaml",
        "environment.json", "log.txt", "loss.png",
    }  # fmt: skip
    assert len(losses(folder)) == 6
    last = read_records(folder / "log.txt")[-1]
    assert last["kind"] == "epoch"
    assert 0 <= last["valid_vivqa_accuracy"] <= 1
    resolved = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    assert resolved["run"]["valid_splits"] == ["val"]
    assert resolved["run"]["weight_decay"] == 0.05


def test_checkpointing_is_turned_on_where_a_run_fits_with_it_only(
    start: Start,
    config: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert start("run.max_epoch=1", "run.seed=3") == 0
    monkeypatch.setattr(command, "room_on", lambda _: 2**30)
    monkeypatch.setattr(command, "needs_checkpointing", lambda *_, **__: True)
    plain = losses(newest(config))
    assert start("run.max_epoch=1", "run.seed=3") == 0
    folder = newest(config)
    assert losses(folder) == pytest.approx(plain, rel=1e-6)
    resolved = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    assert resolved["model"]["use_grad_checkpoint_llm"] is True
    assert "use_grad_checkpoint_llm is turned on" in "".join(capsys.readouterr())


def test_checkpoints_have_the_originals_names(start: Start, config: dict[str, Any]) -> None:
    assert start() == 0
    checkpoint = load_checkpoint_file(newest(config) / "checkpoint_1.pth")
    layers = "llama_model.base_model.model.model.layers"
    lora = {
        f"{layers}.{n}.self_attn.{target}_proj.lora_{matrix}.default.weight"
        for n in range(2)
        for target in "qv"
        for matrix in "AB"
    }
    assert set(checkpoint.model) == lora | {"llama_proj.weight", "llama_proj.bias"}
    assert checkpoint.extra["config"]["model"]["lora_r"] == 8


def test_a_resumed_run_equals_the_whole_run(start: Start, config: dict[str, Any]) -> None:
    assert start() == 0
    whole = newest(config)
    assert start(f"run.resume_ckpt_path={whole / 'checkpoint_0.pth'}") == 0
    resumed = newest(config)
    assert resumed != whole
    assert losses(resumed) == losses(whole)  # the first epoch's lines are taken over
    expected = load_checkpoint_file(whole / "checkpoint_1.pth").model
    for name, value in load_checkpoint_file(resumed / "checkpoint_1.pth").model.items():
        assert torch.equal(value, expected[name]), name


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_features_train_as_pictures_do(
    start: Start, config: dict[str, Any], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert start() == 0
    expected = losses(newest(config))
    calls = []
    real = VisionEncoder.__call__

    def count(self: VisionEncoder, pixels: torch.Tensor) -> torch.Tensor:
        calls.append(len(pixels))
        return real(self, pixels)

    monkeypatch.setattr(VisionEncoder, "__call__", count)
    assert start("run.feature_cache=memory", f"run.num_workers={workers}") == 0
    assert losses(newest(config)) == pytest.approx(expected, rel=2e-3)  # features are kept in fp16
    assert sum(calls) == 3  # three different pictures under twelve names


def test_the_whole_language_model_can_be_trained(start: Start, config: dict[str, Any]) -> None:
    assert start("model.freeze_llm=False", "model.lora_r=0", "run.max_epoch=6") == 0
    folder = newest(config)
    names = load_checkpoint_file(folder / "checkpoint_5.pth").model
    assert {"llama_model.lm_head.weight", "llama_proj.weight"} <= set(names)
    values = losses(folder)
    assert sum(values[-3:]) < 0.7 * sum(values[:3])


def test_only_evaluating_trains_nothing(start: Start, config: dict[str, Any]) -> None:
    assert start("run.evaluate=True", "run.test_splits=[val]") == 0
    folder = newest(config)
    assert not list(folder.glob("*.pth"))
    (record,) = read_records(folder / "log.txt")
    assert record["kind"] == "test" and record["loss"] > 0


def test_test_splits_are_evaluated_at_the_end(start: Start, config: dict[str, Any]) -> None:
    assert start("run.test_splits=[val]", "run.valid_splits=[val]", "run.max_epoch=1") == 0
    records = {r["kind"]: r for r in read_records(newest(config) / "log.txt")}
    assert records["test"]["loss"] == pytest.approx(records["valid"]["loss"], rel=1e-5)


# Mistakes, found before a model is loaded.


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["model.ckpt=no/such.pth"], 4, "The checkpoint no/such.pth (model.ckpt) does not exist"),
        (["model.llama_model=./no/llama"], 4, "(model.llama_model) does not exist"),
        (["run.resume_ckpt_path=no.pth"], 4, "There is no checkpoint no.pth"),
        (["datasets.vivqa.build_info.ann_path=no.csv"], 3, "no.csv"),
        (["run.max_epochs=3"], 2, "max_epoch"),
        (["run.accum_grad_iters=0"], 2, "run.accum_grad_iters"),
        (["run.evaluate=True"], 2, "run.valid_splits and run.test_splits are empty"),
        (["run.device=gpu"], 2, "run.device"),
    ],
)
def test_a_mistake_is_one_line_and_an_exit_code(
    start: Start,
    options: list[str],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(MiniGPTv2, "from_config", lambda *_: pytest.fail("the model was loaded"))
    assert start(*options) == code
    error = capsys.readouterr().err.splitlines()[-1]
    assert message in error


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_no_gpu_names_the_option_for_the_cpu(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("run.device=cuda") == 5
    assert "--options run.device=cpu" in capsys.readouterr().err


def test_a_finished_run_has_nothing_to_resume(
    start: Start, config: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("run.max_epoch=1", "run.iters_per_epoch=1") == 0
    last = newest(config) / "checkpoint_0.pth"
    assert start(f"run.resume_ckpt_path={last}", "run.max_epoch=1") == 2
    assert "raise run.max_epoch" in capsys.readouterr().err


def test_a_cache_under_an_encoder_that_trains_is_refused(
    start: Start, capsys: pytest.CaptureFixture[str]
) -> None:
    assert start("run.feature_cache=memory", "model.freeze_vit=False") == 2
    assert "run.feature_cache=off" in capsys.readouterr().err


# A real Ctrl-C.


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path: Path, config: dict[str, Any]) -> None:
    config["run"].update(iters_per_epoch=1_000_000, num_workers=1)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")
    process = subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), "--cfg-path", str(path)],
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    try:
        out = Path(config["run"]["output_dir"])
        until = time.monotonic() + 200
        while not list(out.glob("*/log.txt")) and process.poll() is None:
            assert time.monotonic() < until
            time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 130, errors
    saved = newest(config) / "checkpoint_interrupted.pth"
    assert f"--options run.resume_ckpt_path={saved}" in errors
    assert "Traceback" not in errors
    meta = load_checkpoint_file(saved).extra["meta"]
    logged = [
        json.loads(line)
        for line in (saved.parent / "log.txt").read_text("utf-8").split("\n")
        if line
    ]
    assert meta["step"] == logged[-1]["step"]
