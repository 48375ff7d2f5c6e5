"""Which pictures lie in a folder, for formats that name them loosely or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")


def list_pictures(root: Path) -> Iterator[str]:
    """Paths of all pictures below a folder, relative to it, in a fixed order."""
    for folder, folders, files in os.walk(root):
        folders.sort()
        below = Path(folder).relative_to(root)
        for name in sorted(files):
            if name.lower().endswith(PICTURES) and not name.startswith("."):
                yield (below / name).as_posix()


def find_pictures(root: Path) -> dict[str, str]:
    """Pictures below a folder by their path, their file name, and that without its ending."""
    found: dict[str, str] = {}
    for path in list_pictures(root):
        name = path.rpartition("/")[2]
        found[path] = path
        found.setdefault(name, path)
        found.setdefault(os.path.splitext(name)[0], path)  # noqa: PTH122 - of a plain name
    return found


def picture_folder(given: str | None, candidates: Sequence[Path], names: Sequence[str]) -> Path:
    """The folder of the pictures: the given one, else the first candidate that has one of them."""
    if given:
        return Path(given)
    some = names[:20]
    there = (each for each in candidates if any((each / name).is_file() for name in some))
    known = (each for each in candidates if each.is_dir())
    return next(there, next(known, candidates[0]))
