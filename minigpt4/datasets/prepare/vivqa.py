"""ViVQA's CSVs and pictures to ``data/ViVQA``, checked."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import unicodedata
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from minigpt4.common.errors import DataError
from minigpt4.common.logger import progress
from minigpt4.datasets.prepare.fetch import fetch
from minigpt4.datasets.readers import read_table

CSV_SOURCE = "https://github.com/kh4nh12/ViVQA.git"
IMAGE_SOURCE = "gdrive:1jvFik5rNEk--in1Ismk-aiA6NqDfJyXI"
SPLITS = ("train", "test")
IMAGES = "images"
_NAME = "{:012d}.jpg"
_COLUMNS = ("question", "answer", "img_id", "type")
_LAST_NUMBER = re.compile(r"(\d+)$")
_SCRATCH = ".download"
_TYPES = {"0": "object", "1": "number", "2": "colour", "3": "place"}


@dataclass(slots=True)
class SplitReport:
    """What a CSV holds.

    Attributes:
        rows: Questions.
        pictures: Different pictures asked about.
        types: Questions by type.
        empty: Rows without a question, an answer or a picture's number.
        extra_rows: Rows whose picture and question came before.
        repeated: Pairs of picture and question that occur more than once.
        conflicting: Those of them with different answers.
        spaced: Answers with spaces at their ends.
        missing: Pictures that are not in ``images``; None when there are no pictures to check.
    """

    rows: int = 0
    pictures: int = 0
    types: dict[str, int] = field(default_factory=dict)
    empty: int = 0
    extra_rows: int = 0
    repeated: int = 0
    conflicting: int = 0
    spaced: int = 0
    missing: list[str] | None = None


@dataclass(slots=True)
class Report:
    """What ``prepare_vivqa`` placed and found.

    Attributes:
        splits: By split.
        shared_pairs: Rows of the test split whose picture and question are in training.
        new_answers: Rows of the test split with an answer that training does not have.
        placed: Pictures placed now.
        unused: Pictures of the source that no question is about.
    """

    splits: dict[str, SplitReport] = field(default_factory=dict)
    shared_pairs: int = 0
    new_answers: int = 0
    placed: int = 0
    unused: int = 0

    def lines(self) -> list[str]:
        """The report for the console."""
        lines = []
        for name, split in self.splits.items():
            types = ", ".join(f"{kind} {count}" for kind, count in split.types.items())
            lines.append(f"{name}: {split.rows} questions on {split.pictures} pictures ({types})")
            lines.append(
                f"  {split.repeated} pairs of picture and question occur more than once "
                f"({split.extra_rows} extra rows), {split.conflicting} with different answers; "
                f"{split.spaced} answers with stray spaces; {split.empty} rows with an empty field"
            )
            if split.missing is None:
                lines.append("  pictures: not there, so not checked")
            elif split.missing:
                shown = ", ".join(split.missing[:5])
                lines.append(f"  pictures missing: {len(split.missing)} ({shown}, ...)")
            else:
                lines.append("  pictures: all there")
        lines.append(
            f"test rows whose picture and question are also in training: {self.shared_pairs}; with "
            f"an answer that training does not have: {self.new_answers}"
        )
        if self.placed or self.unused:
            lines.append(f"pictures placed: {self.placed}; in the source but unused: {self.unused}")
        return lines


def prepare_vivqa(out: Path, *, csv: str | None, images: str | None) -> Report:
    """Place ``train.csv``, ``test.csv`` and ``images/{img_id:012d}.jpg``, and check them.

    What is there already is kept; pictures are linked where the disk allows it, else copied.

    Args:
        out: Folder to fill.
        csv: Source of the CSVs, see ``fetch``; None to leave those in ``out`` as they are.
        images: Source of the pictures, under ViVQA's or COCO's names, at any depth; None likewise.

    Raises:
        AccessError, DataError, ResourceError: See ``fetch``; or a CSV is not ViVQA's.
    """
    out.mkdir(parents=True, exist_ok=True)
    report = Report()
    if csv is not None:
        _place_csvs(fetch(csv, out / _SCRATCH / "csv"), out)
    rows = {split: _read(out / f"{split}.csv") for split in SPLITS}
    wanted = {int(row["img_id"]) for split in SPLITS for row in rows[split] if row["img_id"]}
    if images is not None:
        source = fetch(images, out / _SCRATCH / "images")
        report.placed, report.unused = _place_pictures(source, out / IMAGES, wanted)
    there = {entry.name for entry in os.scandir(out / IMAGES)} if (out / IMAGES).is_dir() else None
    for split in SPLITS:
        report.splits[split] = _check(rows[split], there)
    known = {_pair(row) for row in rows["train"]}
    answers = {_same(row["answer"]) for row in rows["train"]}
    report.shared_pairs = sum(_pair(row) in known for row in rows["test"])
    report.new_answers = sum(_same(row["answer"]) not in answers for row in rows["test"])
    return report


def _place_csvs(source: Path, out: Path) -> None:
    for split in SPLITS:
        found = sorted(source.rglob(f"{split}.csv"), key=lambda path: (len(path.parts), path))
        if not found:
            raise DataError(f"{source} holds no {split}.csv; name the folder of ViVQA's CSVs.")
        target = out / f"{split}.csv"
        if not (target.exists() and target.samefile(found[0])):
            with tempfile.NamedTemporaryFile(dir=out, delete=False) as fresh:
                fresh.write(found[0].read_bytes())
            Path(fresh.name).replace(target)
            target.chmod(0o644)


def _read(path: Path) -> list[dict[str, str]]:
    table = read_table([str(path)], reader="csv")
    lacking = [column for column in _COLUMNS if column not in table.names]
    if lacking:
        raise DataError(f"{path} is not ViVQA's: it has no column {', '.join(lacking)}.")
    rows = list(table.rows(_COLUMNS))
    for number, row in enumerate(rows):
        if row["img_id"] and not row["img_id"].isdigit():
            raise DataError(f"{path}, row {number}: img_id {row['img_id']!r} is not a number.")
    return rows


def _place_pictures(source: Path, images: Path, wanted: set[int]) -> tuple[int, int]:
    """Link or copy the wanted pictures; how many were placed, and how many are not wanted."""
    images.mkdir(exist_ok=True)
    placed = unused = 0
    for folder, _, files in os.walk(source):
        for file in progress(sorted(files), desc="Placing pictures", unit="picture"):
            stem, _, ending = file.rpartition(".")
            number = _LAST_NUMBER.search(stem)
            if ending.lower() not in ("jpg", "jpeg") or number is None:
                continue
            if int(number[1]) not in wanted:
                unused += 1
                continue
            target = images / _NAME.format(int(number[1]))
            if not target.exists():
                _link_or_copy(Path(folder) / file, target)
                placed += 1
    return placed, unused


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source.resolve())
    except OSError:
        partial = target.with_suffix(".tmp")
        shutil.copyfile(source, partial)
        partial.replace(target)


def _check(rows: list[dict[str, str]], there: set[str] | None) -> SplitReport:
    answers = defaultdict(set)
    pairs = Counter(_pair(row) for row in rows)
    for row in rows:
        answers[_pair(row)].add(_same(row["answer"]))
    names = [_NAME.format(int(number)) for number in {r["img_id"] for r in rows if r["img_id"]}]
    types = Counter(_TYPES.get(row["type"], row["type"]) for row in rows)
    return SplitReport(
        rows=len(rows),
        pictures=len(names),
        types=dict(sorted(types.items())),
        empty=sum(not (row["question"] and row["answer"] and row["img_id"]) for row in rows),
        extra_rows=sum(count - 1 for count in pairs.values()),
        repeated=sum(count > 1 for count in pairs.values()),
        conflicting=sum(len(found) > 1 for found in answers.values()),
        spaced=sum(row["answer"] != row["answer"].strip() for row in rows),
        missing=None if there is None else sorted(name for name in names if name not in there),
    )


def _pair(row: dict[str, str]) -> tuple[str, str]:
    return row["img_id"], _same(row["question"])


def _same(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()
