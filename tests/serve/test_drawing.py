import unicodedata

import numpy as np
import pytest
from PIL import Image, ImageColor

from minigpt4.serve.drawing import PALETTE, draw_boxes, label_font

RED, BLUE = (ImageColor.getrgb(colour) for colour in PALETTE[:2])


def _picture(width=400, height=250):
    return Image.new("RGB", (width, height), "white")


def test_a_box_in_hundredths_is_drawn_in_the_pixels_of_the_picture():
    picture = _picture()
    drawn = draw_boxes(picture, "{<25><20><75><80>}")

    assert drawn.size == picture.size
    assert np.array(picture).min() == 255, "the picture itself is not changed"
    coloured = (np.array(drawn) != 255).any(-1)
    rows, columns = np.flatnonzero(coloured.any(1)), np.flatnonzero(coloured.any(0))
    assert (columns[0], columns[-1]) == (100, 300)
    assert (rows[0], rows[-1]) == (50, 200)
    for corner in ((100, 50), (300, 50), (100, 200), (300, 200)):
        assert drawn.getpixel(corner) == RED
    assert drawn.getpixel((200, 125)) == (255, 255, 255), "a box is an outline"


def test_the_whole_picture_is_outlined_inside_its_edges():
    drawn = draw_boxes(_picture(), "{<0><0><100><100>}")
    for corner in ((0, 0), (399, 0), (0, 249), (399, 249)):
        assert drawn.getpixel(corner) == RED


def test_each_phrase_has_its_colour_and_all_boxes_of_a_phrase_share_it():
    answer = (
        "<p>mèo</p>{<0><50><20><90>}<delim>{<30><50><50><90>} <p>chó</p>{<60><50><80><90>}"
        "<p>mèo</p>{<85><50><99><90>}"
    )
    drawn = draw_boxes(_picture(), answer)
    bottoms = [drawn.getpixel((x, 225)) for x in (40, 160, 280, 370)]
    assert bottoms == [RED, RED, BLUE, RED]


def test_the_phrase_is_written_above_its_box_and_inside_it_at_the_upper_edge():
    above = np.array(draw_boxes(_picture(), "<p>vết nứt</p>{<50><50><90><90>}"))
    plate = above[108:124, 202:210]
    assert (plate == RED).all(-1).any(), "a plate in the box's colour stands above the box"
    written = above[104:124, 200:280]
    assert (written[5:] > 200).all(-1).sum() > 20, "white letters stand on the plate"

    inside = np.array(draw_boxes(_picture(), "<p>vết nứt</p>{<50><0><90><90>}"))
    assert (inside[3:12, 203:206] == RED).all(-1).any()


def test_labels_do_not_cover_each_other():
    answer = "<p>một vết</p>{<40><40><90><90>}<p>hai vết</p>{<40><40><80><80>}"
    drawn = np.array(draw_boxes(_picture(), answer))
    plates = [(drawn == colour).all(-1).sum() for colour in (RED, BLUE)]
    assert min(plates) > 300, "both plates can be seen"


def test_small_pictures_are_enlarged_so_that_labels_can_be_read():
    small = Image.new("RGB", (64, 40), "white")
    drawn = draw_boxes(small, "<p>vết nứt</p>{<25><20><75><80>}")
    assert drawn.size == (384, 240)
    coloured = (np.array(drawn) == RED).all(-1)
    assert coloured[192, 96] and coloured[192, 288]


def test_long_phrases_stay_inside():
    drawn = draw_boxes(_picture(), f"<p>{'rất dài ' * 40}</p>{{<90><90><100><100>}}")
    assert drawn.size == (400, 250)
    assert (np.array(drawn) == RED).all(-1).any()


def test_a_box_whose_corners_are_swapped_is_drawn_all_the_same():
    straight = draw_boxes(_picture(), "{<25><20><75><80>}")
    swapped = draw_boxes(_picture(), "{<75><80><25><20>}")
    assert np.array_equal(straight, swapped)


@pytest.mark.parametrize("answer", ["", "màu đỏ", "<p>mèo</p>", "{<1><2><3>}", "{<1><2><3><400>}"])
def test_without_a_box_there_is_no_picture(answer):
    assert draw_boxes(_picture(), answer) is None


def test_grey_and_transparent_pictures_can_be_drawn_on():
    for mode in ("L", "RGBA", "P"):
        drawn = draw_boxes(Image.new(mode, (300, 300)), "{<10><10><90><90>}")
        assert drawn.mode == "RGB"
        assert drawn.getpixel((30, 30)) == RED


def test_the_font_has_every_vietnamese_letter():
    font = label_font(30)

    def shape(letter):
        return bytes(font.getmask(letter)), font.getmask(letter).size

    missing = shape("\ue000")  # for private use, so no font of letters has it
    marks = ("", "\u0300", "\u0301", "\u0303", "\u0309", "\u0323")
    for base in "aăâbcdđeêghiklmnoôơpqrstuưvxyAĂÂĐEÊIOÔƠUƯY":
        for mark in marks if base.lower() in "aăâeêioôơuưy" else ("",):
            letter = unicodedata.normalize("NFC", base + mark)
            assert len(letter) == 1
            assert shape(letter) != missing, f"{letter} is missing"
