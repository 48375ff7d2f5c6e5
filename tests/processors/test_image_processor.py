"""Pictures become the original's tensors, and broken ones one clear sentence."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from minigpt4.common.errors import DataError
from minigpt4.common.registry import registry
from minigpt4.common.settings import ProcessorSettings
from minigpt4.processors import Blip2ImageEvalProcessor, Blip2ImageTrainProcessor, load_image
from minigpt4.processors.image import to_rgb

FIXTURES = Path(__file__).parents[1] / "fixtures"
EXPECTED = json.loads((FIXTURES / "processors" / "image_tensors.json").read_text())


def plain(colour: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    return Image.new(mode, (8, 6), colour)


@pytest.mark.parametrize("name", EXPECTED)
@pytest.mark.parametrize("processor", [Blip2ImageEvalProcessor(448), Blip2ImageTrainProcessor(448)])
def test_tensor_is_the_originals(name, processor):
    pixels = processor(load_image(FIXTURES / "images" / name))
    expected = EXPECTED[name]
    assert pixels.shape == (3, 448, 448)
    assert pixels.dtype == torch.float32
    assert pixels.is_contiguous()
    sample = torch.tensor(expected["every_37th"]).view(3, 13, 13)
    torch.testing.assert_close(pixels[:, ::37, ::37], sample, rtol=0, atol=1e-6)
    assert pixels.double().sum().item() == pytest.approx(expected["sum"], abs=0.5)


def test_tensors_are_bitwise_the_originals():
    # IEEE arithmetic in the same order: holds wherever Pillow resizes with its C code.
    for name, expected in EXPECTED.items():
        pixels = Blip2ImageEvalProcessor(448)(load_image(FIXTURES / "images" / name))
        assert hashlib.sha256(pixels.numpy().tobytes()).hexdigest() == expected["sha256"], name


def test_white_and_black_are_normalized_as_clip():
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    std = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    processor = Blip2ImageEvalProcessor(4)
    torch.testing.assert_close(processor(plain((255,) * 3)), ((1 - mean) / std).expand(3, 4, 4))
    torch.testing.assert_close(processor(plain((0,) * 3)), (-mean / std).expand(3, 4, 4))


@pytest.mark.parametrize(
    ("mode", "colour", "rgb"),
    [
        ("L", 77, (77, 77, 77)),
        ("RGBA", (10, 20, 30, 0), (10, 20, 30)),
        ("LA", (77, 5), (77, 77, 77)),
        ("1", 1, (255, 255, 255)),
        ("CMYK", (0, 255, 255, 0), (255, 0, 0)),
        ("I;16", 65535, (255, 255, 255)),
        ("I;16", 25700, (100, 100, 100)),
        ("I", 200, (200, 200, 200)),
        ("I", 65535, (255, 255, 255)),
        ("F", 0.5, (128, 128, 128)),
        ("F", 120.0, (120, 120, 120)),
    ],
)
def test_every_mode_becomes_rgb(mode, colour, rgb):
    image = to_rgb(plain(colour, mode))
    assert image.mode == "RGB"
    assert image.getpixel((3, 3)) == pytest.approx(rgb, abs=1)
    assert Blip2ImageEvalProcessor(4)(plain(colour, mode)).shape == (3, 4, 4)


def test_palette_keeps_its_colours(tmp_path):
    image = plain((200, 30, 60)).quantize(4)
    image.save(tmp_path / "palette.png")
    assert load_image(tmp_path / "palette.png").getpixel((0, 0)) == (200, 30, 60)


def test_16_bit_file_keeps_its_contrast(tmp_path):
    ramp = np.linspace(0, 65535, 64).astype(np.uint16).reshape(8, 8)
    Image.fromarray(ramp).save(tmp_path / "ramp.png")
    values = np.asarray(load_image(tmp_path / "ramp.png"))[..., 0]
    assert len(np.unique(values)) == 64


def test_exif_rotation_is_not_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    plain((1, 2, 3)).save(tmp_path / "turned.jpg", exif=exif)
    assert load_image(tmp_path / "turned.jpg").size == (8, 6)


def test_picture_stays_readable_after_its_file_is_gone(tmp_path):
    path = tmp_path / "a.png"
    plain((9, 8, 7)).save(path)
    image = load_image(path)
    path.unlink()
    assert image.getpixel((0, 0)) == (9, 8, 7)


def test_extreme_shapes_have_a_tensor():
    for size in ((1, 1), (1, 900), (900, 1)):
        pixels = Blip2ImageEvalProcessor(32)(Image.new("RGB", size, (50, 60, 70)))
        assert pixels.shape == (3, 32, 32)
        assert torch.isfinite(pixels).all()


def test_processing_leaves_the_picture_alone():
    image = plain((5, 6, 7))
    Blip2ImageEvalProcessor(4)(image)
    assert image.size == (8, 6)
    assert image.getpixel((0, 0)) == (5, 6, 7)


def broken_files(folder: Path) -> dict[str, Path]:
    whole = (FIXTURES / "images" / "china.jpg").read_bytes()
    png = (FIXTURES / "images" / "noise_131x97.png").read_bytes()
    contents = {
        "truncated.jpg": whole[: len(whole) // 2],
        "truncated.png": png[: len(png) // 2],
        "header.png": png[:20],
        "empty.jpg": b"",
        "text.jpg": b"this is a page that says 404",
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    (folder / "folder.jpg").mkdir()
    return {name: folder / name for name in [*contents, "folder.jpg", "missing.jpg"]}


def test_broken_picture_is_one_sentence_with_its_path(tmp_path):
    for path in broken_files(tmp_path).values():
        with pytest.raises(DataError) as error:
            load_image(path)
        message = str(error.value)
        assert str(path) in message
        assert "\n" not in message
        assert ":" in message.split(str(path))[1], "says what to do"


def test_from_config_takes_settings_mapping_and_nothing():
    cls = registry.get_processor_class("blip2_image_eval")
    settings = ProcessorSettings(name="blip2_image_eval", image_size=96)
    assert cls.from_config(settings).image_size == 96
    assert cls.from_config({"image_size": 64}).image_size == 64
    assert cls.from_config({"name": "blip2_image_eval"}).image_size == 224
    assert cls.from_config().image_size == 224
    assert isinstance(cls.from_config(settings), Blip2ImageEvalProcessor)


def test_fingerprint_tells_sizes_apart_and_train_is_eval():
    assert Blip2ImageTrainProcessor(64).fingerprint() == Blip2ImageEvalProcessor(64).fingerprint()
    assert Blip2ImageEvalProcessor(64).fingerprint() != Blip2ImageEvalProcessor(65).fingerprint()
