"""Draws the boxes of an answer into its picture, each phrase in its own colour."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont

from minigpt4.common.boxes import parse_boxes, percent_to_px

if TYPE_CHECKING:
    from minigpt4.common.boxes import Box

PALETTE = (
    "#e6194b", "#0b6bcb", "#1a8f3c", "#d9730d", "#7b2fbe", "#00838f", "#c2185b", "#5d6d1e",
)  # fmt: skip
"""Colours that white letters stand out on, given to phrases in the order of the answer."""
LEGIBLE = 240
"""Pixels that a picture has at least, each way, once boxes are drawn into it."""


def draw_boxes(image: Image.Image, answer: str) -> Image.Image | None:
    """Draw what an answer locates.

    Args:
        image: The picture as the user gave it; it is not changed.
        answer: Text with boxes ``{<x1><y1><x2><y2>}`` in hundredths of width and height, phrases
            before them as ``<p>phrase</p>``.
    Returns:
        A copy of the picture, in RGB, with the boxes and their phrases; small pictures are enlarged
        until the phrases can be read. None when the answer holds no box.
    """
    groups = [group for group in parse_boxes(answer) if group.boxes]
    if not groups:
        return None
    canvas = _enlarged(image.convert("RGB"))
    draw = ImageDraw.Draw(canvas)
    line = max(2, round(min(canvas.size) / 150))
    font = label_font(max(11, round(min(canvas.size) / 22)))
    colours: dict[str, str] = {}
    labels: list[tuple[tuple[int, int], str, str]] = []
    for group in groups:
        colour = colours.setdefault(group.phrase or "", PALETTE[len(colours) % len(PALETTE)])
        for box in group.boxes:
            pixels = to_pixels(box, canvas.size)
            draw.rectangle(pixels, outline=colour, width=line)
            if group.phrase:
                labels.append((pixels[:2], group.phrase, colour))
    # Labels come last, so that no later box crosses them.
    taken: list[tuple[int, int, int, int]] = []
    for corner, phrase, colour in labels:
        taken.append(_draw_label(draw, corner, phrase, colour, font, taken))
    return canvas


def to_pixels(box: Box, size: tuple[int, int]) -> tuple[int, int, int, int]:
    """The outermost pixels of a box in hundredths, its corners in order, in a picture of ``size``.

    An answer may name the corners in any order; what it means can be drawn all the same.
    """
    width, height = size
    x1, y1, x2, y2 = percent_to_px(box, width=width, height=height)
    left, right = sorted(min(x, width - 1) for x in (x1, x2))
    top, bottom = sorted(min(y, height - 1) for y in (y1, y2))
    return left, top, right, bottom


def _enlarged(image: Image.Image) -> Image.Image:
    """The picture in whole multiples of its size, as large as ``LEGIBLE`` in both directions."""
    factor = -(-LEGIBLE // max(1, min(image.size)))
    if factor == 1:
        return image
    size = (image.width * factor, image.height * factor)
    return image.resize(size, Image.Resampling.BICUBIC)


@lru_cache(maxsize=16)
def label_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which matplotlib ships: it has every Vietnamese letter."""
    import matplotlib

    path = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(path, size)


def _draw_label(
    draw: ImageDraw.ImageDraw,
    corner: tuple[int, int],
    phrase: str,
    colour: str,
    font: ImageFont.FreeTypeFont,
    taken: list[tuple[int, int, int, int]],
) -> tuple[int, int, int, int]:
    """Write one phrase above its box where there is room, else inside; return the plate."""
    image_width, image_height = draw.im.size
    pad = max(2, int(font.size) // 5)
    phrase = _fit(phrase, font, image_width - 2 * pad)
    ascent, descent = font.getmetrics()
    width, height = int(font.getlength(phrase)) + 2 * pad, ascent + descent + pad
    x = max(0, min(corner[0], image_width - width))
    tries = [corner[1] - height, corner[1], *range(corner[1] + height, image_height, height)]
    plates = [(x, y, x + width, y + height) for y in tries if 0 <= y <= image_height - height]
    free = [plate for plate in plates if not any(_overlap(plate, other) for other in taken)]
    plate = (free or plates or [(x, 0, x + width, height)])[0]
    draw.rectangle(plate, fill=colour)
    draw.text((plate[0] + pad, plate[1] + pad // 2), phrase, fill="white", font=font)
    return plate


def _fit(phrase: str, font: ImageFont.FreeTypeFont, width: int) -> str:
    """The phrase, shortened with an ellipsis when it is wider than the picture."""
    if font.getlength(phrase) <= width:
        return phrase
    while phrase and font.getlength(phrase + "…") > width:
        phrase = phrase[:-1]
    return phrase + "…"


def _overlap(a: tuple[int, int, int, int], b: tuple[int, int, int, int]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
