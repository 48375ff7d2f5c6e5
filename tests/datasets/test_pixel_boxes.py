import pytest

from minigpt4.datasets.pixel_boxes import pixel_box_mistake, pixel_boxes, to_grid

SIZE = {"width": 200, "height": 100}


def test_both_forms_of_a_box_are_the_same_corners():
    assert pixel_boxes({"bbox": [20, 10, 60, 30]}, "pixels_xywh") == [[20, 10, 80, 40]]
    assert pixel_boxes({"bbox": [20, 10, 80, 40]}, "pixels_xyxy") == [[20, 10, 80, 40]]
    several = {"boxes": [[0, 0, 2, 2], [4, 4, 1, 1]]}
    assert pixel_boxes(several, "pixels_xywh") == [[0, 0, 2, 2], [4, 4, 5, 5]]
    assert pixel_boxes({}, "pixels_xywh") == []


def test_hundredths_are_shares_of_each_side():
    assert to_grid(SIZE, [[20, 10, 80, 40]]) == [[10, 10, 40, 40]]
    assert to_grid(SIZE, [[-5, 0, 400, 100]]) == [[0, 0, 100, 100]]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"bbox": [0, 0, 5, 5]}, "must be numbers"),
        ({"bbox": [0, 0, 5], **SIZE}, "four a box"),
        ({"bbox": ["a", 0, 5, 5], **SIZE}, "must be numbers"),
        ({"bbox": [], **SIZE}, "no box"),
        ({"bbox": [5, 5, 0, 5], **SIZE}, "no area"),
        ({"bbox": [0, 100, 5, 5], **SIZE}, "outside"),
        ({"bbox": [0, 0, 5, 5], "width": 0, "height": 5}, "no size"),
    ],
)
def test_mistakes_are_named(row, words):
    assert words in pixel_box_mistake(row, "pixels_xywh")


def test_a_good_box_has_no_mistake():
    assert pixel_box_mistake({"bbox": [190, 90, 50, 50], **SIZE}, "pixels_xywh") is None
