"""What the quick start runs: its two tasks, their files, and its length."""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from minigpt4.common.errors import ConfigError

if TYPE_CHECKING:
    from minigpt4.common.config import Config

DATA = Path("data/tiny")
PRETRAINED = Path("ckpt/tiny/pretrained.safetensors")
_SHORTEST = 20
"""Iterations of fine-tuning that a reduced run keeps."""


@dataclass(frozen=True, slots=True)
class QuickTask:
    """One of the two tasks.

    Attributes:
        key: Its key in ``results.json``.
        name: Registry name of its data set.
        title: For people.
        train_annotations: Below the data folder, as ``eval_annotations`` and ``images``.
    """

    key: str
    name: str
    title: str
    train_annotations: str
    eval_annotations: str
    images: str

    @property
    def train_config(self) -> Path:
        """Configuration of fine-tuning."""
        return Path(f"train_configs/tiny_{self.key}.yaml")

    @property
    def eval_config(self) -> Path:
        """Configuration of evaluation."""
        return Path(f"eval_configs/tiny_{self.key}.yaml")


VIVQA = QuickTask(
    "vivqa", "vivqa", "Questions (ViVQA)", "vivqa/train.csv", "vivqa/test.csv", "vivqa/images"
)
MVTEC = QuickTask(
    "mvtec", "mvtec_ad", "Defects (MVTec AD)", "mvtec/train_data.json", "mvtec/val_data.json",
    "mvtec",
)  # fmt: skip
TASKS = (VIVQA, MVTEC)


@dataclass(frozen=True, slots=True, kw_only=True)
class QuickSettings:
    """Length and place of a run.

    Attributes:
        out: Folder of everything the run leaves.
        scale: Share of the data and of the iterations; 1 is the whole thing.
    """

    out: Path
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.scale <= 1:
            raise ConfigError(f"--scale is {self.scale}; it has to be above 0 and at most 1.")

    @property
    def data(self) -> Path:
        """Folder of the data; a reduced run makes its own."""
        return DATA if self.scale == 1 else self.out / "data"

    def run_folder(self, task: QuickTask) -> Path:
        """Where a task's training runs have their folders."""
        return (self.out / "runs" / task.key).resolve()

    def train_options(self, task: QuickTask) -> dict[str, Any]:
        """What this run overrides in a task's training configuration: places and length."""
        info = f"datasets.{task.name}.build_info"
        options = {
            f"{info}.ann_path": self.data / task.train_annotations,
            f"{info}.image_path": self.data / task.images,
            "run.output_dir": self.run_folder(task),
        }
        if self.scale < 1:
            whole = OmegaConf.load(task.train_config).run.iters_per_epoch
            options["run.iters_per_epoch"] = max(_SHORTEST, math.ceil(whole * self.scale))
        return options

    def train_config(self, task: QuickTask) -> Config:
        """Configuration of a task's fine-tuning, with this run's overrides."""
        return load_config(task.train_config, self.train_options(task))

    def eval_config(self, task: QuickTask, checkpoint: Path) -> Config:
        """Configuration of a task's evaluation of one checkpoint."""
        entry = f"evaluation_datasets.{task.name}"
        options = {
            f"{entry}.eval_file_path": self.data / task.eval_annotations,
            f"{entry}.img_path": self.data / task.images,
            "model.ckpt": checkpoint,
        }
        return load_config(task.eval_config, options)


def load_config(path: Path, options: dict[str, Any]) -> Config:
    """A configuration file with overrides."""
    from minigpt4.common.config import Config

    pairs = [f"{key}={value}" for key, value in options.items()]
    return Config(argparse.Namespace(cfg_path=str(path), options=pairs))
