"""Where a data set's pictures are, and whether all of them are there."""

from __future__ import annotations

import logging
import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

from PIL import Image

from minigpt4.common.errors import DataError
from minigpt4.processors.image import load_image

logger = logging.getLogger(__name__)

BLANK = "<blank>"
"""Stands for a plain grey picture wherever a picture's path is expected."""
_BLANK_SIZE = 64
_FORMS: tuple[Literal["NFC", "NFD"] | None, ...] = (None, "NFC", "NFD")


class BrokenPictureError(DataError):
    """A picture that was there on opening cannot be read."""


@dataclass(frozen=True)
class PictureFolder:
    """A folder, and how the files in it are called by what annotations call them.

    Attributes:
        root: The folder.
        strip: How many leading parts of an annotation's path to leave out.
        form: Unicode form of the files' names where it is not that of the annotations: an archive
            made on a Mac holds decomposed letters.
    """

    root: str
    strip: int = 0
    form: Literal["NFC", "NFD"] | None = None

    def path(self, name: str) -> str:
        """Full path of a picture that annotations call ``name``."""
        return os.path.join(self.root, self.inside(name))  # noqa: PTH118 - called for every sample

    def inside(self, name: str) -> str:
        """Its path within the folder."""
        if self.strip:
            name = "/".join(PurePosixPath(name).parts[self.strip :])
        if self.form:
            name = unicodedata.normalize(self.form, name)
        return name


def load_picture(path: str) -> Image.Image:
    """Read a picture as RGB; ``BLANK`` gives a plain grey one.

    Raises:
        DataError: The file is missing or not a readable picture.
    """
    if path == BLANK:
        return Image.new("RGB", (_BLANK_SIZE, _BLANK_SIZE), (128, 128, 128))
    return load_image(path)


def picture_size(path: str) -> tuple[int, int]:
    """Width and height of a picture in pixels, from its header alone.

    Raises:
        DataError: The file is missing or not a readable picture.
    """
    try:
        with Image.open(path) as image:
            return image.size
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"the picture {path} cannot be read ({error}): fetch it again.") from error


def locate(names: Sequence[str], roots: Sequence[str]) -> tuple[PictureFolder, list[str]]:
    """Decide once for a whole data set where its pictures are.

    Each root is tried with the paths as annotated, then without their first part (annotations that
    were written one folder higher), each in the Unicode form of the annotations, then composed and
    decomposed. The first way that finds every picture wins, else the one that finds most.

    Args:
        names: Paths as the annotations write them, without repetition.
        roots: Folders to look in, best first.

    Returns:
        The folder and the names that are missing from it.
    """
    forms = (None,) if all(map(str.isascii, names)) else _FORMS
    best: tuple[PictureFolder, list[str]] | None = None
    for folder in (PictureFolder(r, s, f) for s in (0, 1) for f in forms for r in roots):
        missing = _missing(names, folder)
        if best is None or len(missing) < len(best[1]):
            best = (folder, missing)
        if not missing:
            break
    if best is None:
        raise ValueError("no folder to look for pictures in")
    if best[0] != PictureFolder(roots[0]) and len(best[1]) < len(names):
        without = ", leaving out the first part of each annotated path" if best[0].strip else ""
        logger.info("pictures are read from %s%s", best[0].root, without)
    return best


def _missing(names: Sequence[str], folder: PictureFolder) -> list[str]:
    listings: dict[str, set[str]] = {}
    missing = []
    for name in names:
        inside = folder.inside(name)
        end = inside.rfind("/") + 1
        parent = inside[:end]
        if parent not in listings:
            listings[parent] = _files(Path(folder.root, parent))
        if inside[end:] not in listings[parent]:
            missing.append(name)
    return missing


def _files(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries}
    except (FileNotFoundError, NotADirectoryError):
        return set()


def picture_roots(image_path: str | None, ann_path: str) -> list[str]:
    """Folders to look in, best first: the given one, the annotations', ``images`` in each."""
    beside = Path(ann_path).parent
    roots = [beside / "images", beside]
    if image_path:
        roots = [Path(image_path), Path(image_path) / "images", *roots]
    return list(dict.fromkeys(str(root) for root in roots))
