"""Finds pictures and their masks in the two folder layouts that defect data sets come in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from minigpt4.common.errors import DataError

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")
GOOD = "good"
_FLAT_FOLDER = "Imgs"
_MASK_SUFFIX = "_mask"


@dataclass(frozen=True, slots=True)
class Entry:
    """One picture.

    Attributes:
        path: The picture.
        object_class: What it shows, such as ``bottle``.
        defect: Kind of defect, or ``good``; empty where only the mask can tell.
        mask: Its mask; None where there is none.
    """

    path: Path
    object_class: str
    defect: str
    mask: Path | None


@dataclass(slots=True)
class Tree:
    """What a folder holds.

    Attributes:
        layout: ``mvtec`` (``class/test/defect/000.png``) or ``flat`` (``defect/Imgs/x.jpg``).
        entries: Pictures in a fixed order.
        stray_masks: Masks without a picture.
    """

    layout: str
    entries: list[Entry]
    stray_masks: list[Path] = field(default_factory=list)


def read_tree(root: Path, *, class_name: str | None = None) -> Tree:
    """Find the pictures below a folder.

    Args:
        root: MVTec AD's folder, one class of it, or a folder of ``<defect>/Imgs`` folders.
        class_name: What the pictures of a flat layout show; None: the folder's name.

    Raises:
        DataError: The folder is missing or of neither layout, or holds no pictures.
    """
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}; name the one that holds the pictures (--root)."
        )
    if (root / "test").is_dir():
        tree = _read_mvtec([root])
    elif classes := [child for child in _folders(root) if (child / "test").is_dir()]:
        tree = _read_mvtec(classes)
    elif kinds := [child for child in _folders(root) if (child / _FLAT_FOLDER).is_dir()]:
        tree = _read_flat(kinds, class_name or root.resolve().name)
    else:
        raise DataError(
            f"{root} is not a folder of pictures with masks: expected MVTec AD's "
            "<class>/test/<defect>/000.png with <class>/ground_truth/<defect>/000_mask.png, or "
            "<defect>/Imgs/*.jpg with a .png mask of the same name."
        )
    if not tree.entries:
        raise DataError(f"{root} holds no pictures ({', '.join(PICTURES)}).")
    return tree


def _read_mvtec(classes: list[Path]) -> Tree:
    entries: list[Entry] = []
    stray: list[Path] = []
    for folder in classes:
        masks = {
            (kind.name, mask.stem.removesuffix(_MASK_SUFFIX)): mask
            for kind in _folders(folder / "ground_truth")
            for mask in _pictures(kind)
        }
        for split in ("train", "test"):
            for kind in _folders(folder / split):
                for path in _pictures(kind):
                    mask = masks.pop((kind.name, path.stem), None) if split == "test" else None
                    entries.append(Entry(path, folder.resolve().name, kind.name, mask))
        stray += masks.values()
    return Tree("mvtec", entries, stray)


def _read_flat(kinds: list[Path], class_name: str) -> Tree:
    # "MT_Blowhole", "MT_Free": what all folders share says nothing about the defect.
    firsts = {kind.name.split("_")[0] for kind in kinds}
    shared = f"{firsts.pop()}_" if len(firsts) == 1 and len(kinds) > 1 else ""
    entries: list[Entry] = []
    stray: list[Path] = []
    for folder in kinds:
        files = list(_pictures(folder / _FLAT_FOLDER))
        photographs = [file for file in files if file.suffix.lower() != ".png"]
        masks = {file.stem: file for file in files if file.suffix.lower() == ".png"}
        defect = folder.name.removeprefix(shared).lower() or folder.name
        entries += [Entry(p, class_name, defect, masks.pop(p.stem, None)) for p in photographs]
        stray += masks.values()
    return Tree("flat", entries, stray)


def _folders(folder: Path) -> list[Path]:
    return sorted(c for c in folder.iterdir() if c.is_dir()) if folder.is_dir() else []


def _pictures(folder: Path) -> Iterator[Path]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return (f for f in files if f.suffix.lower() in PICTURES and not f.name.startswith("."))
