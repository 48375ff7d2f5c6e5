"""Every word of the embedded data, in both languages.

The Vietnamese names follow the wording of the public ViVQA questions (``màu tía`` for purple,
classifiers kept with their nouns), so that the small data set reads like the large one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A thing that can be drawn.

    Attributes:
        vi: Vietnamese name with its classifier, ready to follow a number.
        en: English singular.
        en_plural: English plural.
        aspect: Width of its box divided by its height.
    """

    vi: str
    en: str
    en_plural: str
    aspect: float = 1.0


@dataclass(frozen=True)
class Colour:
    """A colour by name and by value.

    Attributes:
        vi: Vietnamese name, starting with ``màu``.
        en: English name.
        rgb: Its middle value, 0-255.
    """

    vi: str
    en: str
    rgb: tuple[int, int, int]


@dataclass(frozen=True)
class Place:
    """A place in a picture.

    Attributes:
        vi: The short name, an answer to "ở đâu".
        vi_at: The same as an adverbial.
        en_at: English adverbial.
        en: English noun phrase.
        centre: (x, y) as shares of width and height.
    """

    vi: str
    vi_at: str
    en_at: str
    en: str
    centre: tuple[float, float]


@dataclass(frozen=True)
class Named:
    """A bilingual noun: ``vi``/``en`` bare, ``en_article`` with the English article."""

    vi: str
    en: str
    en_article: str


KINDS: dict[str, Kind] = {
    "circle": Kind("hình tròn", "circle", "circles"),
    "rectangle": Kind("hình chữ nhật", "rectangle", "rectangles", 1.4),
    "triangle": Kind("hình tam giác", "triangle", "triangles"),
    "ball": Kind("quả bóng", "ball", "balls"),
    "house": Kind("ngôi nhà", "house", "houses"),
    "tree": Kind("cái cây", "tree", "trees", 0.75),
    "car": Kind("chiếc xe", "car", "cars", 1.6),
    "star": Kind("ngôi sao", "star", "stars"),
    "fish": Kind("con cá", "fish", "fish", 1.6),
    "flower": Kind("bông hoa", "flower", "flowers", 0.7),
    "cup": Kind("cái cốc", "cup", "cups", 1.1),
}
SHAPE_KINDS = ("circle", "rectangle", "triangle")
OBJECT_KINDS = ("ball", "house", "tree", "car", "star", "fish", "flower", "cup")

COLOURS: dict[str, Colour] = {
    "red": Colour("màu đỏ", "red", (220, 30, 30)),
    "green": Colour("màu xanh lá", "green", (35, 165, 50)),
    "blue": Colour("màu xanh dương", "blue", (30, 70, 225)),
    "yellow": Colour("màu vàng", "yellow", (250, 215, 25)),
    "orange": Colour("màu cam", "orange", (250, 135, 15)),
    "purple": Colour("màu tía", "purple", (150, 45, 175)),
    "brown": Colour("màu nâu", "brown", (125, 72, 35)),
    "black": Colour("màu đen", "black", (22, 22, 22)),
    "gray": Colour("màu xám", "gray", (128, 128, 128)),
    "teal": Colour("màu xanh ngọc", "teal", (0, 128, 128)),
}
SCENE_COLOURS = ("red", "green", "blue", "yellow", "orange", "purple", "brown", "black")

# What the easy-vqa package paints with: its own eight colours, pure.
EASY_COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "teal": (0, 128, 128),
    "brown": (165, 42, 42),
    "yellow": (255, 255, 0),
}

PLACES: dict[str, Place] = {
    "left": Place("bên trái", "ở bên trái", "on the left", "the left", (0.17, 0.5)),
    "right": Place("bên phải", "ở bên phải", "on the right", "the right", (0.83, 0.5)),
    "middle": Place("ở giữa", "ở giữa", "in the middle", "the middle", (0.5, 0.5)),
    "top": Place("phía trên", "ở phía trên", "at the top", "the top", (0.5, 0.17)),
    "bottom": Place("phía dưới", "ở phía dưới", "at the bottom", "the bottom", (0.5, 0.83)),
    "top_left": Place(
        "góc trên bên trái",
        "ở góc trên bên trái",
        "in the top left corner",
        "the top left corner",
        (0.17, 0.17),
    ),
    "top_right": Place(
        "góc trên bên phải",
        "ở góc trên bên phải",
        "in the top right corner",
        "the top right corner",
        (0.83, 0.17),
    ),
    "bottom_left": Place(
        "góc dưới bên trái",
        "ở góc dưới bên trái",
        "in the bottom left corner",
        "the bottom left corner",
        (0.17, 0.83),
    ),
    "bottom_right": Place(
        "góc dưới bên phải",
        "ở góc dưới bên phải",
        "in the bottom right corner",
        "the bottom right corner",
        (0.83, 0.83),
    ),
}
CROSS_PLACES = ("left", "right", "middle", "top", "bottom")

NUMBERS_VI = ("không", "một", "hai", "ba", "bốn", "năm", "sáu", "bảy", "tám", "chín", "mười")
NUMBERS_EN = (
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
)

# Classes of parts and the materials they stand for.
MATERIALS: dict[str, Named] = {
    "brick": Named("mặt gạch", "brick surface", "a brick surface"),
    "grass": Named("mặt cỏ", "grass surface", "a grass surface"),
    "gravel": Named("mặt sỏi", "gravel surface", "a gravel surface"),
    "wood": Named("mặt gỗ", "wooden surface", "a wooden surface"),
    "page": Named("trang giấy", "printed page", "a printed page"),
    "coin": Named("đồng xu", "coin", "a coin"),
}
BLEMISHES: dict[str, Named] = {
    "scratch": Named("vết xước", "scratch", "a scratch"),
    "hole": Named("lỗ thủng", "hole", "a hole"),
    "stain": Named("vết bẩn", "stain", "a stain"),
    "cut": Named("vết cắt", "cut", "a cut"),
    "missing": Named("chỗ bị mất", "missing piece", "a missing piece"),
}


def place_of(x: float, y: float) -> str:
    """Name the ninth of the picture in which a point lies.

    Args:
        x: Share of the width, 0-1.
        y: Share of the height, 0-1.

    Returns:
        A key of ``PLACES``.
    """
    row = "top" if y < 1 / 3 else "bottom" if y > 2 / 3 else ""
    column = "left" if x < 1 / 3 else "right" if x > 2 / 3 else ""
    return "_".join(part for part in (row, column) if part) or "middle"
