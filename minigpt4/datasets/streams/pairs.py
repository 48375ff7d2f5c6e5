"""Groups of members to pairs: which ones are usable, judged without decoding pictures."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any

from PIL import Image, UnidentifiedImageError

from minigpt4.common.errors import DataError
from minigpt4.datasets.streams.shards import PICTURES, Pair
from minigpt4.processors.image import to_rgb

_JPEG_END = b"\xff\xd9"
_TAIL = 1024
"""Bytes at the end of a JPEG file in which its end marker is looked for."""


def make_pair(id: str, members: Mapping[str, Any]) -> Pair | str:
    """The picture and annotations among the members of one key, or what is wrong with them.

    Annotations are the mapping in ``.json``; a ``.txt`` gives the caption where that has none.
    """
    picture = next((members[ending] for ending in PICTURES if ending in members), None)
    if picture is None:
        endings = ", ".join(f".{name}" for name in members if not name.startswith("__"))
        return f"{id} has no picture (its members end in {endings})."
    if "json" not in members and "txt" not in members:
        return f"{id} has neither .json nor .txt."
    row: dict[str, Any] = {}
    if "json" in members:
        try:
            row = json.loads(members["json"])
        except ValueError as error:
            return f"{id}.json is not valid JSON ({error})."
        if not isinstance(row, dict):
            return f"{id}.json holds no mapping."
    if "txt" in members and not row.get("caption"):
        try:
            row["caption"] = members["txt"].decode("utf-8-sig")
        except UnicodeDecodeError:
            return f"{id}.txt is not UTF-8 text."
    mistake = picture_mistake(picture)
    return f"{id}: {mistake}" if mistake else Pair(id, picture, row)


def picture_mistake(data: bytes) -> str | None:
    """What is wrong with an encoded picture, if anything; whole JPEG and PNG are not decoded."""
    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.format == "PNG":
                image.verify()  # its checksums
            elif image.format != "JPEG" or _JPEG_END not in data[-_TAIL:]:
                image.load()
    except _UNREADABLE as error:
        return f"the picture cannot be read ({_reason(error)})."
    return None


def decode(data: bytes) -> Image.Image:
    """Decode a picture, as RGB.

    Raises:
        DataError: It is broken.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            return to_rgb(image)
    except _UNREADABLE as error:
        raise DataError(f"the picture cannot be read ({_reason(error)}).") from error


_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def _reason(error: Exception) -> str:
    # Pillow's own sentence names an object in memory.
    return "no known format" if isinstance(error, UnidentifiedImageError) else str(error)
