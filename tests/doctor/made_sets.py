"""Small data sets with known faults, and a configuration that names them."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from PIL import Image

from minigpt4.common.config import Config
from minigpt4.doctor.examination import Examination, examine
from minigpt4.doctor.findings import Finding

TINY_LLM = Path(__file__).parents[2] / "ckpt" / "tiny" / "llm"

TRAIN = [
    # question, answer, picture
    ("màu gì", "đỏ", 1),
    ("Màu  GÌ", "đỏ", 1),  # an exact duplicate, but for case and white space
    ("có mấy con mèo", "hai", 1),
    ("có mấy con mèo", "ba", 1),  # another answer
    ("có mấy con mèo", "hai", 1),  # the first one again
    ("con gì", "mèo ", 2),  # a stray space
    ("con gì", "chó", 3),
    ("ở đâu", "trên  bàn", 3),  # two spaces inside
]
TEST = [
    ("Màu gì", "Đỏ", 1),  # the pair is in training
    ("con gì", "mèo", 3),  # so is this, with another answer
    ("ở đâu", "mèo", 2),  # only the picture is
    ("con gì", "bò", 4),  # an answer that training lacks
]


def write_csv(path: Path, rows: Sequence[tuple[str, str, int]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "question", "answer", "img_id", "type"])
        writer.writerows([i, *row, 0] for i, row in enumerate(rows))
    return path


def write_json(path: Path, rows: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    return path


def draw(path: Path, seed: int, size: tuple[int, int] = (24, 16)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def vivqa_pictures(folder: Path, numbers: Sequence[int] = (1, 2, 3, 4)) -> None:
    for number in numbers:
        draw(folder / "images" / f"{number:012d}.jpg", number)


def entry(**build_info: Any) -> dict[str, Any]:
    return {
        "batch_size": 2,
        "vis_processor": {"train": {"name": "blip2_image_train", "image_size": 28}},
        "text_processor": {"train": {"name": "blip_caption"}},
        "build_info": build_info,
    }


def write_config(
    folder: Path,
    datasets: Mapping[str, Any] | None = None,
    evaluations: Mapping[str, Any] | None = None,
    **model: Any,
) -> Path:
    content = {
        "model": {
            "arch": "minigpt_v2",
            "image_size": 28,
            "llama_model": str(TINY_LLM),
            "end_sym": "</s>",
            "max_txt_len": 64,
            "chat_template": True,
            **model,
        },
        "datasets": dict(datasets or {}),
        "evaluation_datasets": dict(evaluations or {}),
        "run": {"task": "image_text_pretrain"},
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return path


def examined(path: Path, *options: str, read_pictures: bool = True) -> Examination:
    cfg = Config(argparse.Namespace(cfg_path=str(path), options=list(options)))
    return examine(cfg, read_pictures=read_pictures)


def finding(examination: Examination, code: str, dataset: str = "") -> Finding:
    found = [f for f in examination.findings if f.code == code and dataset in f.dataset]
    assert len(found) == 1, [(f.code, f.dataset) for f in examination.findings]
    return found[0]


def codes(examination: Examination) -> set[str]:
    return {each.code for each in examination.findings}
