"""Pictures and an engine for the tests of the demo."""

from pathlib import Path

import pytest
from PIL import Image
from toy_model import ToyModel

from minigpt4.processors import Blip2ImageEvalProcessor
from minigpt4.serve.engine import Engine


@pytest.fixture
def model() -> ToyModel:
    return ToyModel()


@pytest.fixture
def engine(model: ToyModel) -> Engine:
    return Engine(model, Blip2ImageEvalProcessor(8))


@pytest.fixture
def pictures(tmp_path: Path) -> dict[str, Path]:
    """A bright and a dark picture, and files that are none."""
    paths = {name: tmp_path / f"{name}.png" for name in ("bright", "dark")}
    Image.new("RGB", (200, 100), "white").save(paths["bright"])
    Image.new("RGB", (200, 100), "black").save(paths["dark"])
    paths["text"] = tmp_path / "text.jpg"
    paths["text"].write_text("not a picture", encoding="utf-8")
    paths["cut"] = tmp_path / "cut.png"
    noise = Image.effect_noise((300, 300), 90)
    noise.save(paths["cut"])
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:2000])
    return paths
