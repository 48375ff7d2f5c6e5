"""The tutorial's MVTEC_det: its archive to its JSON files and ``images``, checked."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from minigpt4.common.boxes import GRID
from minigpt4.common.errors import DataError
from minigpt4.datasets.formats.json_lists import load_json
from minigpt4.datasets.pictures import locate, picture_roots
from minigpt4.datasets.prepare.fetch import fetch

# Its third to fifth characters are printed differently in different places.
SOURCE = "gdrive:1e01JVGKLIyIPoGA5kQLS3LJtWmC8obK8|1eOlJVGKLIyIPoGA5kQLS3LJtWmC8obK8"
FILES = ("train_data.json", "val_data.json")
_COLUMNS = ("image_path", "class", "is_broken", "bbox")
_SCRATCH = ".download"


@dataclass(slots=True)
class Report:
    """What is there.

    Attributes:
        rows: Annotations of each file.
        broken: Those of defects.
        bad_boxes: Those whose box is none.
        missing: Pictures that are not there.
        classes: Different objects.
    """

    rows: dict[str, int] = field(default_factory=dict)
    broken: dict[str, int] = field(default_factory=dict)
    bad_boxes: int = 0
    missing: list[str] = field(default_factory=list)
    classes: set[str] = field(default_factory=set)

    def lines(self) -> list[str]:
        """The report for the console."""
        lines = [
            f"{name}: {count} pictures, {self.broken[name]} of them with a defect"
            for name, count in self.rows.items()
        ]
        lines.append(f"{len(self.classes)} objects: {', '.join(sorted(self.classes))}")
        if self.bad_boxes:
            lines.append(f"boxes that are not four numbers from 0 to {GRID}: {self.bad_boxes}")
        shown = ", ".join(self.missing[:5])
        lines.append(
            f"pictures missing: {len(self.missing)} ({shown})"
            if self.missing
            else "pictures: all there"
        )
        return lines


def fetch_mvtec_det(out: Path, *, source: str = SOURCE) -> Report:
    """Place MVTEC_det and check it; what is there already is kept.

    Args:
        out: Folder to fill.
        source: See ``fetch``.

    Raises:
        AccessError, DataError, ResourceError: See ``fetch``; or it is not MVTEC_det.
    """
    out.mkdir(parents=True, exist_ok=True)
    if not all((out / name).is_file() for name in FILES):
        _place(fetch(source, out / _SCRATCH), out)
    return _check(out)


def _place(folder: Path, out: Path) -> None:
    """Move what lies beside the annotations to ``out``; another's folder is linked instead."""
    found = sorted(folder.rglob(FILES[0]), key=lambda path: (len(path.parts), path))
    home = next((each.parent for each in found if (each.parent / FILES[1]).is_file()), None)
    if home is None:
        raise DataError(f"{folder} holds no {' and '.join(FILES)}: it is not MVTEC_det.")
    fetched = out.resolve() in home.resolve().parents
    # The annotations come last: with them there, a later run takes everything for done.
    for each in sorted(home.iterdir(), key=lambda path: path.name in FILES):
        target = out / each.name
        if target.exists() or each.name == _SCRATCH:
            continue
        if fetched:
            os.replace(each, target)  # noqa: PTH105 - of files and folders alike
        else:
            target.symlink_to(each.resolve())


def _check(out: Path) -> Report:
    report = Report()
    pictures = set()
    for name in FILES:
        rows = load_json(out / name)
        lacking = [
            c for c in _COLUMNS if not isinstance(rows, list) or any(c not in r for r in rows)
        ]
        if lacking:
            raise DataError(f"{out / name} is not MVTEC_det's: it lacks {', '.join(lacking)}.")
        report.rows[name] = len(rows)
        report.broken[name] = sum(bool(row["is_broken"]) for row in rows)
        report.bad_boxes += sum(not _is_box(row["bbox"]) for row in rows)
        report.classes |= {str(row["class"]) for row in rows}
        pictures |= {str(row["image_path"]) for row in rows}
    roots = picture_roots(str(out / "images"), str(out / FILES[0]))
    _, report.missing = locate(sorted(pictures), roots)
    return report


def _is_box(box: object) -> bool:
    boxes = box if isinstance(box, list) and box and isinstance(box[0], list) else [box]
    return all(
        isinstance(each, list)
        and len(each) == 4
        and all(isinstance(value, int | float) and 0 <= value <= GRID for value in each)
        for each in boxes
    )
