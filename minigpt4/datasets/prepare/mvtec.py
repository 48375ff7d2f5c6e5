"""Folders of pictures with masks to ``train_data.json`` and ``val_data.json``."""

from __future__ import annotations

import json
import logging
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple

from minigpt4.common.boxes import WHOLE, Box
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.logger import progress
from minigpt4.datasets.prepare.masks import mask_boxes, read_mask
from minigpt4.datasets.prepare.splitting import group_pictures, split_groups
from minigpt4.datasets.prepare.trees import GOOD, Entry, read_tree

logger = logging.getLogger(__name__)

TRAIN, VAL, IMAGES, REPORT = "train_data.json", "val_data.json", "images", "report.json"
Boxes = Literal["one", "many"]
Place = Literal["link", "copy", "none"]

# Names under which a folder holds good pictures although it has no masks that would show it.
_GOOD_NAMES = frozenset({GOOD, "free", "ok", "normal"})
_FLAT_NUMBER_GAP = 150
_FLAT_SIMILARITY = 0.8


@dataclass(slots=True)
class Report:
    """What was found and what became of it.

    Attributes:
        layout: See ``Tree``.
        counts: Pictures by ``class/defect`` and split: ``{"tile/crack": {"train": 20, "val": 5}}``.
        skipped: Pictures left out, by reason.
        stray_masks: Masks without a picture.
        boxes: Boxes in all.
        groups: Groups of pictures that were kept on one side; as many as pictures for none.
    """

    layout: str
    counts: dict[str, dict[str, int]] = field(default_factory=dict)
    skipped: dict[str, list[str]] = field(default_factory=dict)
    stray_masks: list[str] = field(default_factory=list)
    boxes: int = 0
    groups: int = 0

    def lines(self) -> list[str]:
        """The report for the console."""
        width = max(len(name) for name in self.counts)
        lines = [f"{'class/defect':<{width}}  train  val"]
        for name, split in self.counts.items():
            lines.append(f"{name:<{width}}  {split['train']:5d}  {split['val']:3d}")
        total = {s: sum(count[s] for count in self.counts.values()) for s in ("train", "val")}
        lines.append(f"{'all':<{width}}  {total['train']:5d}  {total['val']:3d}")
        pictures = sum(total.values())
        if self.groups < pictures:
            lines.append(
                f"{pictures} pictures in {self.groups} groups that look like the same object; no "
                "group is on both sides"
            )
        return lines + self.left_out()

    def left_out(self) -> list[str]:
        """What could not be used."""
        lines = [
            f"left out, {reason}: {len(paths)} ({_some(paths)})"
            for reason, paths in self.skipped.items()
        ]
        if self.stray_masks:
            count = len(self.stray_masks)
            lines.append(f"masks without a picture: {count} ({_some(self.stray_masks)})")
        return lines

    def warn(self) -> None:
        """Log what could not be used."""
        for line in self.left_out():
            logger.warning("%s", line)


class FoundRows(NamedTuple):
    """The pictures of a tree: an annotation and an entry for each, and what was left out."""

    rows: list[dict[str, Any]]
    entries: list[Entry]
    report: Report


def find_rows(root: Path, *, boxes: Boxes = "one", class_name: str | None = None) -> FoundRows:
    """The annotations of a tree of pictures with masks, without a split; see ``prepare_mvtec``.

    Raises:
        DataError: The tree cannot be used.
    """
    tree = read_tree(root, class_name=class_name)
    report = Report(tree.layout, stray_masks=[_relative(p, root) for p in tree.stray_masks])
    found = _read_masks(tree.entries, root, report, many=boxes == "many")
    if not found:
        raise DataError(f"none of the {len(tree.entries)} pictures of {root} can be used.")
    report.boxes = sum(len(found_boxes) for _, found_boxes in found)
    rows = [_row(entry, found_boxes, root, boxes) for entry, found_boxes in found]
    return FoundRows(rows, [entry for entry, _ in found], report)


def prepare_mvtec(
    root: Path,
    out: Path,
    *,
    val_share: float = 0.2,
    seed: int = 42,
    boxes: Boxes = "one",
    class_name: str | None = None,
    place: Place = "link",
    number_gap: int | None = None,
    similarity: float | None = None,
) -> Report:
    """Write the annotations of a tree of pictures with masks.

    Each picture is one entry: ``image_path`` (relative to ``root``), ``class``, ``is_broken``,
    ``bbox`` (around all of its defect, 0-100; the whole picture when good), ``defect``, and
    ``boxes`` when several are asked for.

    Args:
        root: See ``read_tree``.
        out: Folder to write to.
        val_share: Share of validation.
        seed: Decides the split.
        boxes: ``many`` adds one box for each connected part of a mask.
        class_name: What the pictures of a flat layout show.
        place: How the pictures come to ``out/images``: one ``link`` to ``root``, a ``copy`` of
            each, or ``none``.
        number_gap: See ``group_pictures``; None: 150 for a flat layout, else 0.
        similarity: See ``group_pictures``; None: 0.8 for a flat layout, else 0.

    Raises:
        ConfigError: ``val_share`` is not a share.
        DataError: The tree cannot be used, or ``out`` holds other pictures already.
    """
    if not 0 <= val_share <= 1:
        raise ConfigError(f"--val-share is {val_share}; it must be from 0 to 1.")
    rows, entries, report = find_rows(root, boxes=boxes, class_name=class_name)
    flat = report.layout == "flat"
    groups = group_pictures(
        [entry.path for entry in entries],
        number_gap=_FLAT_NUMBER_GAP * flat if number_gap is None else number_gap,
        similarity=_FLAT_SIMILARITY * flat if similarity is None else similarity,
    )
    strata = [(entry.object_class, entry.defect) for entry in entries]
    in_val = split_groups(strata, groups, share=val_share, seed=seed)
    out.mkdir(parents=True, exist_ok=True)
    _place(root, out / IMAGES, [row["image_path"] for row in rows], place)
    _write(out / TRAIN, [row for row, val in zip(rows, in_val, strict=True) if not val])
    _write(out / VAL, [row for row, val in zip(rows, in_val, strict=True) if val])
    for stratum in sorted(set(strata)):
        sides = Counter(v for s, v in zip(strata, in_val, strict=True) if s == stratum)
        report.counts["/".join(stratum)] = {"train": sides[False], "val": sides[True]}
    report.groups = len(set(groups))
    _write(out / REPORT, {name: getattr(report, name) for name in Report.__slots__})
    return report


def _read_masks(
    entries: Sequence[Entry], root: Path, report: Report, *, many: bool
) -> list[tuple[Entry, list[Box]]]:
    """Boxes of every usable picture; a good one has none."""
    read: list[tuple[Entry, list[Box]]] = []
    for entry in progress(entries, desc="Reading masks", unit="picture"):
        try:
            mask = None if entry.mask is None else read_mask(entry.mask, entry.path)
        except DataError as error:
            logger.warning("left out: %s", error)
            report.skipped.setdefault("mask cannot be used", []).append(_relative(entry.path, root))
            continue
        read.append((entry, [] if mask is None else mask_boxes(mask, many=many)))
    # A folder in which no mask shows anything holds good pictures, whatever it is called.
    kinds = {(e.object_class, e.defect) for e, _ in read}
    marked = {(e.object_class, e.defect) for e, found in read if found}
    masked = {(e.object_class, e.defect) for e, _ in read if e.mask is not None}
    good = {k for k in kinds if k[1] in _GOOD_NAMES or (k in masked and k not in marked)}
    usable: list[tuple[Entry, list[Box]]] = []
    for entry, found in read:
        if (entry.object_class, entry.defect) in good - marked:
            usable.append((Entry(entry.path, entry.object_class, GOOD, None), []))
        elif found:
            usable.append((entry, found))
        else:
            reason = "defect without a mask" if entry.mask is None else "defect with an empty mask"
            report.skipped.setdefault(reason, []).append(_relative(entry.path, root))
    return usable


def _row(entry: Entry, found: list[Box], root: Path, boxes: Boxes) -> dict[str, Any]:
    whole = list(WHOLE)
    row: dict[str, Any] = {
        "image_path": _relative(entry.path, root),
        "class": entry.object_class,
        "is_broken": bool(found),
        "bbox": _around(found) if found else whole,
        "defect": entry.defect,
    }
    if boxes == "many":
        row["boxes"] = [list(box) for box in found] or [whole]
    return row


def _around(boxes: Sequence[Box]) -> list[int]:
    lefts, tops, rights, bottoms = zip(*boxes, strict=True)
    return [min(lefts), min(tops), max(rights), max(bottoms)]


def _place(root: Path, images: Path, names: Sequence[str], place: Place) -> None:
    if place == "none":
        return
    if images.is_symlink() and images.resolve() == root.resolve():
        return
    if images.exists() or images.is_symlink():
        if place == "link" or images.is_symlink():
            raise DataError(
                f"{images} is there already; remove it, choose another --out, or use --images none."
            )
    elif place == "link":
        images.symlink_to(root.resolve(), target_is_directory=True)
        return
    for name in progress(names, desc="Copying pictures", unit="picture"):
        target = images / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, target)


def _write(path: Path, content: Any) -> None:
    fresh = path.with_name(path.name + ".tmp")
    fresh.write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
    fresh.replace(path)


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _some(paths: Sequence[str]) -> str:
    return ", ".join(paths[:3]) + (", ..." if len(paths) > 3 else "")
