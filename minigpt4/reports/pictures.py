"""Pictures inside a page: small copies as data URIs, each different picture once."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from minigpt4.common.errors import DataError

if TYPE_CHECKING:
    from PIL import Image

SIDE = 320
"""Longest side of an embedded picture, in pixels."""
MIN_SIDE = 48
MAX_BYTES = 9_500_000
"""Of a page's pictures together, before base64 adds a third; they are made smaller until they fit,
so that a page of a thousand samples stays under 15 MB."""
_QUALITY = 75
_MARGIN = 0.97


@dataclass(frozen=True, slots=True)
class Embedded:
    """A picture as a page holds it.

    Attributes:
        source: A data URI; empty where the picture can no longer be read.
        ratio: Width by height.
        name: The same for cards that share the picture.
        first: The first card with this picture carries its data; the others refer to it.
    """

    source: str
    ratio: float
    name: str
    first: bool = True


def embed(
    pictures: Sequence[Path | Image.Image | None], *, most_bytes: int = MAX_BYTES
) -> list[Embedded | None]:
    """Small copies of pictures, in their order; None where there is no picture.

    Args:
        pictures: Files or pictures; one that is gone or cannot be read has an empty ``source``.
        most_bytes: What the JPEG files may have together.
    """
    keys: list[Hashable] = [
        None if each is None else str(each) if isinstance(each, Path) else id(each)
        for each in pictures
    ]
    files: dict[Hashable, _Jpeg | None] = {}
    for key, each in zip(keys, pictures, strict=True):
        if each is not None and key not in files:
            files[key] = _first_copy(each)
    _shrink(files, most_bytes)
    names = {key: f"picture-{number}" for number, key in enumerate(files)}
    seen: set[Hashable] = set()
    result: list[Embedded | None] = []
    for key in keys:
        if key is None:
            result.append(None)
            continue
        file = files[key]
        result.append(
            Embedded(
                source=file.uri() if file is not None else "",
                ratio=file.ratio if file is not None else 1.0,
                name=names[key],
                first=key not in seen,
            )
        )
        seen.add(key)
    return result


@dataclass(slots=True)
class _Jpeg:
    data: bytes
    ratio: float

    def uri(self) -> str:
        return f"data:image/jpeg;base64,{base64.b64encode(self.data).decode()}"


def _first_copy(picture: Path | Image.Image) -> _Jpeg | None:
    from minigpt4.datasets.pictures import load_picture

    try:
        image = load_picture(str(picture)) if isinstance(picture, Path) else picture.convert("RGB")
    except DataError:
        return None
    ratio = round(image.width / image.height, 4)
    image.thumbnail((SIDE, SIDE))
    return _Jpeg(_encode(image), ratio)


def _shrink(files: dict[Hashable, _Jpeg | None], most_bytes: int) -> None:
    """Make pictures smaller, in place, until they fit together or are as small as they may be."""
    from PIL import Image

    found = [each for each in files.values() if each is not None]
    originals = [each.data for each in found]
    side = float(SIDE)
    while (total := sum(len(each.data) for each in found)) > most_bytes and side > MIN_SIDE:
        # A file grows about as its area does.
        side = max(MIN_SIDE, side * min(0.9, _MARGIN * math.sqrt(most_bytes / total)))
        for each, data in zip(found, originals, strict=True):
            with Image.open(io.BytesIO(data)) as image:
                image.thumbnail((round(side), round(side)))
                each.data = _encode(image)


def _encode(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", quality=_QUALITY, optimize=True)
    return buffer.getvalue()
