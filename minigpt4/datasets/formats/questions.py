"""Questions as the public benchmarks keep them: several references, choices, labels, two files.

Every row gets ``question`` as it stands, ``answer`` (one text), and where the file has them
``answers`` (all references as texts) and ``choices``. Columns that hold anything else than plain
values or lists of texts are left out, since nothing reads them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.formats.json_lists import load_json, read_jsonl
from minigpt4.datasets.patterns import fill, pattern_columns
from minigpt4.datasets.pictures import locate, picture_roots
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

_SHOWN = 3
Row = dict[str, Any]


def read_questions(path: Path, options: ReaderOptions) -> Table:
    """Read a JSON list, a JSON mapping of id to row, or JSON lines.

    ``build_info.reader_options`` may hold:
        join: ``{file, records, key}``: a second file beside the first, the key of its list, and
            the column in which rows of both agree; its columns are added.
        labels: ``{column: {value: answer}}``: the answer is what the column's value stands for.
        images: Patterns of the pictures' names, of which the one that finds most pictures becomes
            the column ``image``; those whose columns are not there are not tried.
        type: Pattern of the question's type, for figures by type; left out where a row lacks it.

    Raises:
        DataError: A file is missing or broken, or a row has no match, reference or choice.
        ConfigError: ``join`` or ``labels`` is incomplete.
    """
    rows = _rows(path, options.records)
    if options.extra.get("join"):
        rows = _joined(rows, path, options.extra["join"])
    labels, kind = options.extra.get("labels"), options.extra.get("type")
    for number, row in enumerate(rows):
        if labels:
            row["answer"] = _labelled(row, labels, place=f"{path}, row {number}")
        _plain_answers(row, place=f"{path}, row {number}")
        if kind and (name := _filled(kind, row)):
            row["type"] = name
    if options.extra.get("images"):
        _name_pictures(rows, options.extra["images"], path=path, image_path=options.image_path)
    return Table.from_rows([_plain(row) for row in rows], source=str(path))


def _rows(path: Path, records: str | None) -> list[Row]:
    if path.suffix.lower() == ".jsonl":
        table = read_jsonl(path, ReaderOptions())
        return [_without_none(row) for row in table.rows(table.names)]
    content = load_json(path)
    if isinstance(content, Mapping) and records is not None and records in content:
        content = content[records]
    if isinstance(content, Mapping) and all(isinstance(each, Mapping) for each in content.values()):
        return [{"question_id": key, **row} for key, row in content.items()]
    if not isinstance(content, list) or not all(isinstance(row, Mapping) for row in content):
        raise DataError(
            f"{path} must hold a list of questions, or a mapping of id to question; where they "
            "stand below a key, name it in build_info.records."
        )
    return [_without_none(row) for row in content]


def _without_none(row: Mapping[str, Any]) -> Row:
    return {str(name): value for name, value in row.items() if value is not None}


def _joined(rows: Sequence[Row], path: Path, join: Mapping[str, Any]) -> list[Row]:
    missing = [name for name in ("file", "key") if not join.get(name)]
    if missing:
        raise ConfigError(f"build_info.reader_options.join needs {' and '.join(missing)}.")
    other, key = path.parent / join["file"], join["key"]
    if not other.is_file():
        raise DataError(
            f"{path.name} has its answers in a second file, {other}, which is not there: put it "
            "beside the first (data/README.md says where it comes from)."
        )
    found = {row.get(key): row for row in _rows(other, join.get("records"))}
    alone = [row.get(key) for row in rows if row.get(key) not in found]
    if alone:
        shown = ", ".join(map(str, alone[:_SHOWN])) + (" ..." if len(alone) > _SHOWN else "")
        raise DataError(
            f"{len(alone)} of {len(rows)} questions of {path} have no entry in {other} with their "
            f"{key} ({shown}): the two files must be of one release."
        )
    return [{**found[row[key]], **row} for row in rows]


def _labelled(row: Row, labels: Mapping[str, Mapping[Any, str]], *, place: str) -> str:
    for column, by_value in labels.items():
        for known, answer in by_value.items():
            if str(row.get(column)).lower() == str(known).lower():
                return str(answer)
        if column in row:
            choices = ", ".join(map(str, by_value))
            raise DataError(f"{place}: {column} is {row[column]!r}, but must be one of {choices}.")
    raise DataError(
        f"{place} has no {' or '.join(labels)}: files without answers cannot be evaluated on."
    )


def _plain_answers(row: Row, *, place: str) -> None:
    """Make texts of references, and a choice of its number."""
    if isinstance(row.get("choices"), list):
        row["choices"] = [str(choice) for choice in row["choices"]]
        if isinstance(row.get("answer"), int):
            if not 0 <= row["answer"] < len(row["choices"]):
                raise DataError(
                    f"{place}: answer {row['answer']} is none of its {len(row['choices'])} choices "
                    "(they count from 0)."
                )
            row["answer"] = row["choices"][row["answer"]]
    if isinstance(row.get("answers"), list) and row["answers"]:
        row["answers"] = [_text(each, place=place) for each in row["answers"]]
        counts: Counter[str] = Counter(row["answers"])
        row.setdefault("answer", counts.most_common(1)[0][0])
    if "answer" not in row:
        raise DataError(f"{place} has no answer: files without answers cannot be evaluated on.")
    row["answer"] = str(row["answer"])


def _text(reference: Any, *, place: str) -> str:
    """One reference: a text, or a mapping that holds it (with an annotator's confidence)."""
    text = reference.get("answer") if isinstance(reference, Mapping) else reference
    if not isinstance(text, str):
        raise DataError(f"{place}: the reference {reference!r} holds no text.")
    return text


def _name_pictures(
    rows: Sequence[Row], patterns: Sequence[str], *, path: Path, image_path: str | None
) -> None:
    """Fill the column ``image`` by the pattern that finds most pictures."""
    named = {
        pattern: names
        for pattern in patterns
        if all(names := [_filled(pattern, row) or "" for row in rows])
    }
    if not named:
        raise DataError(
            f"no picture's name can be made of the columns of {path} by {' or '.join(patterns)}; "
            "set build_info.reader_options.images."
        )
    best = next(iter(named))
    if len(named) > 1:
        roots = picture_roots(image_path, str(path))
        missing = {p: len(locate(list(dict.fromkeys(n)), roots)[1]) for p, n in named.items()}
        best = min(missing, key=lambda pattern: missing[pattern])
    for row, name in zip(rows, named[best], strict=True):
        row["image"] = name


def _filled(pattern: str, row: Row) -> str | None:
    if any(column not in row for column in pattern_columns(pattern)):
        return None
    try:
        return fill(pattern, row)
    except (KeyError, IndexError, TypeError, ValueError):
        return None


def _plain(row: Row) -> Row:
    return {
        name: value
        for name, value in row.items()
        if not isinstance(value, Mapping)
        and (not isinstance(value, list) or all(isinstance(item, str) for item in value))
    }
