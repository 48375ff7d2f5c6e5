"""A model that says what it is told to, and small data sets to ask it about."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from minigpt4.common.settings import ModelSettings
from minigpt4.models.generation import Generation
from minigpt4.models.merging import LoraMerger
from minigpt4.scoring.prediction import Prediction


def generation(text: str, probabilities: dict[str, float] | None = None) -> Generation:
    """One token a character, of probability 1, or as given for the pieces of text named."""
    logprobs = [0.0] * len(text)
    for piece, probability in (probabilities or {}).items():
        logprobs[text.index(piece)] = math.log(probability)
    return Generation(
        text=text,
        token_ids=list(range(len(text))),
        logprobs=logprobs,
        pieces=list(text),
        spans=[(i, i + 1) for i in range(len(text))],
        finished=True,
    )


class ScriptedModel:
    """Gives answers in turn: ``greedy`` ones, or ``sampled`` ones when asked to sample."""

    lora = LoraMerger(torch.nn.Identity())

    def __init__(
        self, greedy: Sequence[str], sampled: Sequence[str] = (), *, style: str = "training"
    ) -> None:
        self.greedy = list(greedy)
        self.sampled = list(sampled)
        self.settings = ModelSettings(chat_template=True)
        self.prompt_style = style
        self.training = True
        self.prompts: list[str] = []
        self.batches: list[int] = []
        self.at_once: list[int | None] = []
        self.encoded = 0

    def train(self, mode: bool = True) -> ScriptedModel:
        self.training = mode
        return self

    def eval(self) -> ScriptedModel:
        return self.train(False)

    def trainable_state_dict(self) -> dict[str, Tensor]:
        return {}

    def encode_image_features(self, pixel_values: Tensor) -> Tensor:
        self.encoded += len(pixel_values)
        return pixel_values.flatten(2).transpose(1, 2)[:, :2]  # (B, 2, 3)

    def generate_scored(
        self,
        images: Tensor | None = None,
        texts: Sequence[str] = (),
        *,
        image_features: Tensor | None = None,
        picture_of: Sequence[int] | None = None,
        **options: Any,
    ) -> list[Generation]:
        pictures = images if image_features is None else image_features
        assert pictures is not None
        assert len(pictures) == len(texts if picture_of is None else set(picture_of))
        assert not self.training
        assert not torch.is_grad_enabled()
        self.prompts += texts
        self.batches.append(len(texts))
        self.at_once.append(options.get("at_once"))
        source = self.sampled if options["do_sample"] else self.greedy
        return [generation(source.pop(0)) for _ in texts]


def vqa_prediction(answer: str, reference: str, **meta: Any) -> Prediction:
    return Prediction(
        id="q",
        answer=answer,
        finished=True,
        probability=1.0,
        meta={"answer": reference, "type": "2", **meta},
    )


def part(
    path: str, answer: str, *, bbox: Sequence[Any] | None = None, label: float = 1.0, **meta: Any
) -> Prediction:
    """A picture of a part, defective where it has a box."""
    return Prediction(
        id=path,
        answer=answer,
        finished=True,
        probability=1.0,
        probabilities={"label": label},
        meta={
            "class": path.split("/")[0],
            "is_broken": bbox is not None,
            "bbox": list(bbox or (0, 0, 100, 100)),
            "image_path": path,
            **meta,
        },
    )


def said(name: str, label: str, box: Sequence[int] = (0, 0, 100, 100)) -> str:
    return f"<p>{name}-{label}</p>{{{''.join(f'<{edge}>' for edge in box)}}}"


def write_vivqa(folder: Path, rows: Sequence[tuple[str, str, int, int]]) -> Path:
    """A ViVQA folder: (question, answer, img_id, type) a row."""
    (folder / "images").mkdir(parents=True)
    for _, _, image, _ in rows:
        picture(image).save(folder / "images" / f"{image:012d}.jpg")
    path = folder / "test.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "question", "answer", "img_id", "type"])
        writer.writerows([i, *row] for i, row in enumerate(rows))
    return path


def write_mvtec(folder: Path, rows: Sequence[tuple[str, Sequence[int] | None]]) -> Path:
    """An MVTEC_det folder: (path, box or None when good) a row."""
    items = []
    for number, (name, box) in enumerate(rows):
        path = folder / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(number).save(path)
        items.append(
            {
                "image_path": name,
                "class": name.split("/")[0],
                "is_broken": box is not None,
                "bbox": list(box or (0, 0, 100, 100)),
            }
        )
    file = folder / "val_data.json"
    file.write_text(json.dumps(items, ensure_ascii=False), encoding="utf-8")
    return file


def picture(seed: int) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    return Image.fromarray(noise)
