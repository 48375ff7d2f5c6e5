"""The grammar of boxes in answers, and their geometry."""

import json
from pathlib import Path

import numpy as np
import pytest

from minigpt4.common import boxes
from minigpt4.common.boxes import (
    LabelledBox,
    compute_iou,
    format_box,
    format_boxes,
    iou,
    labelled,
    mask_to_box,
    parse_boxes,
    percent_to_px,
    px_to_percent,
    sketch_to_box,
)

ORIGINAL = json.loads(
    (Path(__file__).parents[1] / "fixtures" / "boxes" / "original.json").read_text()
)


def rectangle(size: tuple[int, int], box: tuple[int, int, int, int] | None) -> np.ndarray:
    mask = np.zeros((size[1], size[0]), dtype=np.uint8)
    if box is not None:
        mask[box[1] : box[3], box[0] : box[2]] = 255
    return mask


def test_formats():
    assert format_box((10, 20, 40, 50)) == "{<10><20><40><50>}"
    assert format_boxes([(0, 0, 1, 1), (2, 3, 4, 100)]) == "{<0><0><1><1>}<delim>{<2><3><4><100>}"
    assert labelled("bottle-defect", [(1, 2, 3, 4)]) == "<p>bottle-defect</p>{<1><2><3><4>}"


@pytest.mark.parametrize("box", [(0, 0, 101, 5), (-1, 0, 5, 5), (0.5, 0, 5, 5), (1, 2, 3)])
def test_what_is_no_box_is_not_written(box):
    with pytest.raises(ValueError, match="0 to 100"):
        format_box(box)


def test_written_boxes_are_read_back():
    rng = np.random.default_rng(0)
    for _ in range(50):
        several = [tuple(map(int, rng.integers(0, 101, 4))) for _ in range(rng.integers(1, 4))]
        assert parse_boxes(labelled("vết xước", several)) == [
            LabelledBox("vết xước", tuple(several))
        ]


@pytest.mark.parametrize(
    "text",
    [
        "<p>a b</p>{<1><2><3><4>}",
        " <p> a b </p> { <1> < 2 ><3>\n<4> } ",
        "<p>a b</p><1><2><3><4>",
        "<p>a b</p>{<1><2><3><4>",
        "I see <p>a b</p> at {<1><2><3><4>}.</s>",
    ],
)
def test_form_does_not_matter(text):
    assert parse_boxes(text) == [LabelledBox("a b", ((1, 2, 3, 4),))]


def test_several_phrases_keep_their_own_boxes():
    text = "<p>hộp</p>{<1><2><3><4>}<delim>{<5><6><7><8>} và <p>chai</p> {<9><9><10><10>}"
    assert parse_boxes(text) == [
        LabelledBox("hộp", ((1, 2, 3, 4), (5, 6, 7, 8))),
        LabelledBox("chai", ((9, 9, 10, 10),)),
    ]


def test_box_without_phrase_and_phrase_without_box():
    assert parse_boxes("{<1><2><3><4>}") == [LabelledBox(None, ((1, 2, 3, 4),))]
    assert parse_boxes("<p>bottle-not-defect</p>") == [LabelledBox("bottle-not-defect", ())]
    assert parse_boxes("không biết") == []
    assert parse_boxes("") == []


@pytest.mark.parametrize(
    "numbers",
    ["<1><2><3><101>", "<1><2><3>", "<1><2><3><4><5>", "<-1><2><3><4>", "<0.1><0.2><0.3><0.4>"],
)
def test_what_is_no_box_is_counted(numbers):
    assert parse_boxes("<p>a</p>{" + numbers + "}") == [LabelledBox("a", (), rejected=1)]
    mixed = parse_boxes("<p>a</p>{" + numbers + "}<delim>{<1><2><3><4>}")
    assert mixed == [LabelledBox("a", ((1, 2, 3, 4),), rejected=1)]


def test_inverted_boxes_are_kept_and_flagged():
    (found,) = parse_boxes("{<9><9><1><1>}<delim>{<1><1><9><9>}<delim>{<5><5><5><5>}")
    assert found.boxes == ((9, 9, 1, 1), (1, 1, 9, 9), (5, 5, 5, 5))
    assert found.inverted == ((9, 9, 1, 1),)


@pytest.mark.parametrize("case", ORIGINAL["computeIoU"], ids=str)
def test_compute_iou_is_the_originals(case):
    assert compute_iou(case["a"], case["b"]) == pytest.approx(case["iou"], rel=1e-12)
    assert boxes.computeIoU(case["b"], case["a"]) == pytest.approx(case["iou"], rel=1e-12)


def test_iou():
    assert iou((0, 0, 10, 10), (0, 0, 10, 10)) == 1
    assert iou((0, 0, 10, 10), (5, 0, 15, 10)) == pytest.approx(1 / 3)
    assert iou((0, 0, 10, 10), (10, 0, 20, 10)) == 0
    assert iou((0, 0, 10, 10), (2, 2, 4, 4)) == pytest.approx(0.04)
    assert iou((5, 5, 5, 5), (5, 5, 5, 5)) == 0
    assert iou((9, 9, 1, 1), (0, 0, 10, 10)) == 0


@pytest.mark.parametrize("case", ORIGINAL["demo_mask2bbox"], ids=str)
def test_sketched_box_is_the_originals(case):
    box = sketch_to_box(rectangle(case["size"], case["box"]))
    assert ("" if box is None else format_box(box)) == case["bbox"]


def test_box_of_a_mask():
    assert mask_to_box(rectangle((200, 100), (0, 0, 200, 100))) == (0, 0, 100, 100)
    assert mask_to_box(rectangle((200, 100), (20, 30, 60, 40))) == (10, 30, 30, 40)
    assert mask_to_box(rectangle((200, 100), None)) is None
    two = rectangle((100, 100), (10, 10, 20, 20)) + rectangle((100, 100), (70, 50, 90, 60))
    assert mask_to_box(two) == (10, 10, 90, 60)
    with pytest.raises(ValueError, match="two dimensions"):
        mask_to_box(np.zeros((4, 4, 3)))


def test_every_dot_has_a_box_with_area_that_holds_it():
    size = 1024
    for x in (0, 5, 511, 512, 1018, 1023):
        x1, y1, x2, y2 = mask_to_box(rectangle((size, size), (x, 7, x + 1, 8)))
        assert 0 <= x1 < x2 <= 100
        assert 0 <= y1 < y2 <= 100
        assert x1 * size / 100 <= x + 1
        assert x2 * size / 100 >= x


def test_pixels_and_hundredths():
    assert px_to_percent((64, 48, 320, 480), width=640, height=480) == (10, 10, 50, 100)
    assert px_to_percent((-5, 0, 700, 480), width=640, height=480) == (0, 0, 100, 100)
    assert percent_to_px((10, 10, 50, 100), width=640, height=480) == (64, 48, 320, 480)
    for wrong in ({"width": 0, "height": 5}, {"width": 5, "height": -1}):
        with pytest.raises(ValueError, match="pixels"):
            px_to_percent((0, 0, 1, 1), **wrong)
    with pytest.raises(ValueError, match="before it begins"):
        px_to_percent((5, 0, 1, 1), width=10, height=10)


def test_converting_there_and_back_loses_nothing_on_pictures_of_100_pixels_and_more():
    rng = np.random.default_rng(1)
    for _ in range(100):
        width, height = (int(side) for side in rng.integers(200, 2000, 2))
        x1, y1 = (int(value) for value in rng.integers(0, 99, 2))
        box = (x1, y1, int(rng.integers(x1 + 1, 101)), int(rng.integers(y1 + 1, 101)))
        pixels = percent_to_px(box, width=width, height=height)
        assert px_to_percent(pixels, width=width, height=height) == box
