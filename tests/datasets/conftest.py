"""Small data sets in the true file forms."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import make_builder

PROCESSORS = {"train": {"name": "blip2_image_train", "image_size": 16}}


def write_picture(path: Path, seed: int, size: tuple[int, int] = (20, 12)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_csv(path: Path, rows: list[dict]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["", *rows[0]])
        writer.writeheader()
        writer.writerows({"": i, **row} for i, row in enumerate(rows))
    return path


def write_json(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
    return path


def vivqa_rows(count: int = 8) -> list[dict]:
    return [
        {"question": f"Màu của vật {i}?", "answer": f" màu đỏ {i} ", "img_id": i, "type": i % 4}
        for i in range(count)
    ]


def mvtec_rows(count: int = 6) -> list[dict]:
    return [
        {
            "image_path": f"bottle/test/{'cut' if i % 2 else 'good'}/{i:03d}.png",
            "class": "bottle",
            "is_broken": bool(i % 2),
            "bbox": [10, 20, 30, 40 + i] if i % 2 else [0, 0, 100, 100],
            "defect": "cut" if i % 2 else "good",
        }
        for i in range(count)
    ]


@pytest.fixture
def vivqa(tmp_path: Path) -> Path:
    """``train.csv``, ``test.csv`` and ``images``."""
    folder = tmp_path / "ViVQA"
    for row in vivqa_rows():
        write_picture(folder / f"images/{row['img_id']:012d}.jpg", row["img_id"])
    write_csv(folder / "train.csv", vivqa_rows())
    write_csv(folder / "test.csv", vivqa_rows(5))
    return folder


@pytest.fixture
def mvtec(tmp_path: Path) -> Path:
    """``train_data.json``, ``val_data.json`` and ``images``."""
    folder = tmp_path / "MVTEC_det"
    for i, row in enumerate(mvtec_rows()):
        write_picture(folder / "images" / row["image_path"], i)
    write_json(folder / "train_data.json", mvtec_rows())
    write_json(folder / "val_data.json", mvtec_rows(4))
    return folder


def open_train(name: str, ann: Path, images: Path | None, *, kind: str | None = None, **info):
    """The training split of one data set."""
    build_info = {"ann_path": str(ann), **info}
    if images is not None:
        build_info["image_path"] = str(images)
    settings = DatasetSettings(kind=kind, vis_processor=PROCESSORS, build_info=build_info)
    return make_builder(name, settings).build_split("train")


def pixels(image: Image.Image) -> torch.Tensor:
    """A stand-in for an image processor: the mean colour in every pixel of 4x4."""
    mean = np.asarray(image, dtype=np.float32).mean(axis=(0, 1)) / 255
    return torch.from_numpy(mean).view(3, 1, 1).expand(3, 4, 4).clone()
