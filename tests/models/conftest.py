"""The model of the reference values, and small ones to change at will."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from minigpt4.common.settings import ModelSettings
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.processors import Blip2ImageEvalProcessor

FIXTURES = Path(__file__).parents[1] / "fixtures"
PARITY = FIXTURES / "parity"
TINY_LLAMA = PARITY / "tiny_llama_vi1000"
PICTURES = ("noise_131x97.png", "gradient_640x480.png", "blocks_300x700.png", "china.jpg")
"""In the order of the reference values."""
CPU = torch.device("cpu")


def reference(name: str) -> Any:
    """Reference values of the original implementation."""
    path = PARITY / name
    if path.suffix == ".json":
        return json.loads(path.read_text("utf-8"))
    return torch.load(path, weights_only=True)


def parity_settings(**changes: Any) -> ModelSettings:
    values: dict[str, Any] = {
        "vit_config": {"embed_dim": 64, "depth": 2, "num_heads": 4},
        "vit_weights": "random",
        "llama_model": str(TINY_LLAMA),
        "lora_r": 8,
        "lora_alpha": 16,
        "chat_template": True,
        "max_txt_len": 1024,
        "end_sym": "</s>",
        "ckpt": str(PARITY / "state_dict.pt"),
    }
    return ModelSettings(**(values | changes))


def small_settings(**changes: Any) -> ModelSettings:
    """Sixteen patch tokens a picture and no checkpoint: quick to build and to run."""
    return parity_settings(**({"image_size": 56, "ckpt": ""} | changes))


def build(settings: ModelSettings) -> MiniGPTv2:
    torch.manual_seed(0)
    return MiniGPTv2.from_config(settings, CPU).eval()


@pytest.fixture(scope="session")
def pixels() -> torch.Tensor:
    """The four pictures as the original saw them, (4, 3, 448, 448)."""
    processor = Blip2ImageEvalProcessor(448)
    return torch.stack(
        [processor(Image.open(FIXTURES / "images" / name).convert("RGB")) for name in PICTURES]
    )


@pytest.fixture(scope="session")
def parity_model() -> MiniGPTv2:
    """The model of the reference values; a test that changes its settings puts them back."""
    return build(parity_settings())


@pytest.fixture(scope="session")
def features(parity_model: MiniGPTv2, pixels: torch.Tensor) -> torch.Tensor:
    return parity_model.encode_image_features(pixels)


@pytest.fixture
def bare_llama(tmp_path: Path) -> Path:
    """The small language model's folder without weights."""
    folder = tmp_path / "llama"
    shutil.copytree(TINY_LLAMA, folder, ignore=shutil.ignore_patterns("*.bin"))
    return folder


def pictures(count: int, size: int = 56, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(seed))


def batch(count: int = 2, **extra: Any) -> dict[str, Any]:
    """A batch of samples whose lengths differ."""
    instructions = [
        "<Img><ImageHere></Img> [vqa] màu gì ",
        "<Img><ImageHere></Img> [vqa] có bao nhiêu con mèo trên chiếc ghế ",
        "<Img><ImageHere></Img> [detection] tìm ",
    ]
    answers = ["màu xanh lá", "hai", "<p>ghế</p>{<1><2><30><100>}"]
    samples = {
        "image": pictures(count),
        "instruction_input": instructions[:count],
        "answer": answers[:count],
    }
    return samples | extra
