"""A fine-tuning in a process beside this one: what it leaves, and what becomes of its errors."""

import argparse
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch
import yaml
from PIL import Image

from minigpt4.common.config import Config
from minigpt4.common.errors import DataError
from minigpt4.quickstart import training
from minigpt4.quickstart.settings import QuickSettings
from minigpt4.quickstart.training import Beside, pays_side_by_side
from minigpt4.runners.records import read_records

ROOT = Path(__file__).parents[2]
LLAMA = ROOT / "tests/fixtures/parity/tiny_llama_vi1000"


@dataclass(frozen=True)
class SmallTask:
    """A task with a configuration of its own."""

    train_config: Path
    key: str = "vivqa"
    name: str = "vivqa"
    title: str = "Questions"


@dataclass(frozen=True)
class SmallSettings:
    """Places of a run."""

    out: Path
    options: dict[str, Any]

    def run_folder(self, task: SmallTask) -> Path:
        return self.out / "runs" / task.key

    def train_options(self, task: SmallTask) -> dict[str, Any]:
        return {"run.output_dir": self.run_folder(task), **self.options}

    def train_config(self, task: SmallTask) -> Config:
        return Config(argparse.Namespace(cfg_path=str(task.train_config), options=None))


@pytest.fixture
def beside(tmp_path, monkeypatch):
    """Starts ``train.py`` on a few plain pictures."""
    monkeypatch.chdir(ROOT)
    images = tmp_path / "images"
    images.mkdir()
    for number in range(4):
        picture = np.full((32, 32, 3), 60 * number, np.uint8)
        Image.fromarray(picture).save(images / f"{number:012d}.jpg")
    rows = "".join(f"{n},màu gì,màu đỏ,{n},2\n" for n in range(4))
    (tmp_path / "train.csv").write_text(",question,answer,img_id,type\n" + rows, "utf-8")
    size = {"name": "blip2_image_train", "image_size": 56}
    config = {
        "model": {
            "arch": "minigpt_v2",
            "image_size": 56,
            "vit_config": {"embed_dim": 64, "depth": 1, "num_heads": 4},
            "vit_weights": "random",
            "llama_model": str(LLAMA),
            "lora_r": 2,
            "max_txt_len": 12,
        },
        "datasets": {
            "vivqa": {
                "batch_size": 2,
                "vis_processor": {"train": size},
                "text_processor": {"train": {"name": "blip_caption"}},
                "build_info": {
                    "ann_path": str(tmp_path / "train.csv"),
                    "image_path": str(images),
                },
            }
        },
        "run": {"max_epoch": 1, "iters_per_epoch": 3, "log_freq": 1, "device": "cpu"},
    }
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(config), "utf-8")

    def start(**options: Any) -> Any:
        chosen: Any = SmallSettings(tmp_path, options)
        task: Any = SmallTask(path)
        return closing(Beside(chosen, task, threads=1))

    return start


def test_what_a_training_beside_leaves(beside, tmp_path):
    with beside() as other:
        trained = other.wait()

    steps = [record["step"] for record in read_records(trained.log) if record["kind"] == "train"]
    assert steps[-1] == 3
    assert trained.checkpoint.name == "checkpoint_0.pth"
    assert trained.checkpoint.is_file()
    assert trained.checkpoint.is_relative_to(tmp_path / "runs" / "vivqa")
    assert "training" in (tmp_path / "runs" / "vivqa.txt").read_text("utf-8")


def test_its_mistake_is_told_as_if_it_was_made_here(beside):
    missing = {"datasets.vivqa.build_info.ann_path": "/none/train.csv"}
    with (
        beside(**missing) as other,
        pytest.raises(DataError, match=r"/none/train\.csv.*vivqa\.txt"),
    ):
        other.wait()


def test_it_ends_with_what_it_was_beside(beside, monkeypatch):
    monkeypatch.setattr(training, "_GRACE", 0.1)
    with pytest.raises(KeyboardInterrupt), beside(**{"run.iters_per_epoch": 100000}):
        raise KeyboardInterrupt
    children = psutil.Process().children(recursive=True)
    assert not [each for each in children if "train.py" in " ".join(each.cmdline())]


def test_side_by_side_needs_cores_and_enough_to_do(tmp_path, monkeypatch):
    whole, short = QuickSettings(out=tmp_path), QuickSettings(out=tmp_path, scale=0.1)
    monkeypatch.setattr(training, "_MEMORY", 0)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    assert pays_side_by_side(whole)
    assert not pays_side_by_side(short)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    assert not pays_side_by_side(whole)
