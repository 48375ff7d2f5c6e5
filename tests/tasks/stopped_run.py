"""A slow evaluation to be killed: ``stopped_run.py FOLDER SECONDS_A_BATCH``; and its parts."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import yaml
from scripted import ScriptedModel, generation, said, write_mvtec
from torch import Tensor

from minigpt4.common.config import Config
from minigpt4.models.generation import Generation
from minigpt4.tasks.evaluate import evaluate
from minigpt4.tasks.results import EvalResult

BOX = (10, 20, 40, 50)
PARTS = [
    (f"cap/{'cut' if i % 3 else 'good'}/{i:03d}.png", BOX if i % 3 else None) for i in range(22)
]


class PictureModel(ScriptedModel):
    """Answers by what is in the picture alone; some answers cannot be read until sampled."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__([])
        self.seconds = seconds
        self.asked = 0

    def generate_scored(
        self,
        images: Tensor | None = None,
        texts: Sequence[str] = (),
        *,
        image_features: Tensor | None = None,
        picture_of: Sequence[int] | None = None,
        **options: Any,
    ) -> list[Generation]:
        assert images is not None
        images = images if picture_of is None else images[list(picture_of)]
        time.sleep(self.seconds)
        self.batches.append(len(texts))
        self.asked += len(texts)
        return [self._answer(int(image.sum().abs() * 1000), **options) for image in images]

    def _answer(self, seed: int, *, do_sample: bool, **_: Any) -> Generation:
        draw = int(torch.randint(100, ())) if do_sample else seed % 100
        probability = 0.5 + draw / 250
        if draw % 3 == 0:
            return generation("không rõ", {"k": probability})
        label = "defect" if draw % 2 else "not-defect"
        box = (draw // 10, 20, 40 + draw // 5, 50)
        return generation(said("cap", label, box), {label: probability})


def write_config(folder: Path) -> Path:
    data = write_mvtec(folder / "MVTEC_det", PARTS)
    content = {
        "model": {"arch": "minigpt_v2", "image_size": 8},
        "evaluation_datasets": {
            "mvtec_ad": {"eval_file_path": str(data), "batch_size": 4, "max_new_tokens": 40}
        },
        "run": {"save_path": str(folder / "out"), "device": "cpu", "bootstrap": 20},
    }
    path = folder / "eval.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def run(folder: Path, model: Any, *options: str, **words: Any) -> EvalResult:
    config = Config(SimpleNamespace(cfg_path=str(folder / "eval.yaml"), options=list(options)))
    return evaluate(config, "mvtec_ad", model=model, resample=True, report=False, **words)


def plain(result: EvalResult) -> list[dict[str, Any]]:
    return [dataclasses.asdict(each) for each in result.predictions]


if __name__ == "__main__":
    run(Path(sys.argv[1]), PictureModel(float(sys.argv[2])))
