"""JSON files that hold a list of entries, and JSON lines."""

from __future__ import annotations

import itertools
import json
import mmap
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson

from minigpt4.common.errors import DataError
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

_PIECE = 2**20
"""Bytes of a list that are taken apart at once."""
_GUESSES = 20
_LINES = 32768
_OPENING = re.compile(rb'(?P<bracket>\s*\[)\s*(?P<key>\{\s*"[^"\\]*"\s*:)')


def load_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        DataError: It is not valid JSON; says the line.
    """
    return _loads(path.read_bytes(), path)


def read_json(path: Path, options: ReaderOptions) -> Table:
    """A list of mappings, at the top level or under the key ``options.records``."""
    if options.records is None:
        return Table.from_chunks(iter_json(path), source=str(path))
    content = load_json(path)
    if not isinstance(content, dict) or options.records not in content:
        raise DataError(f"{path} has no list under {options.records!r} (build_info.records).")
    rows = content[options.records]
    if not isinstance(rows, list):
        raise DataError(f"{path} has no list under {options.records!r} (build_info.records).")
    return Table.from_rows(_checked(rows, path, 0), source=str(path))


def read_jsonl(path: Path, options: ReaderOptions) -> Table:
    """One mapping a line."""
    return Table.from_chunks(_iter_lines(path), source=str(path))


def iter_json(path: Path) -> Iterator[list[dict[str, Any]]]:
    """The entries of a JSON list in parts, so that a large file never is one large object.

    A part ends where an entry seems to. A part with brackets left open is no valid JSON, so a wrong
    guess is always noticed, and the part then grows to the next place.

    Raises:
        DataError: It is not valid JSON, no list, or holds something else than mappings.
    """
    with path.open("rb") as file:
        if not path.stat().st_size:
            raise DataError(f"{path} is not valid JSON (it is empty).")
        with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            done = 0
            for rows in _pieces(data, path):
                yield _checked(rows, path, done)
                done += len(rows)


def _pieces(data: mmap.mmap, path: Path) -> Iterator[Any]:
    opening = _OPENING.match(data)
    if opening is None or len(data) <= _PIECE:
        yield _loads(data[:], path)
        return
    # Entries of one file begin alike, which what is nested in them seldom does.
    start, key = opening.end("bracket"), opening["key"]
    between = re.compile(rb"\}\s*,\s*(?=" + re.escape(key) + rb")")
    while found := _piece(data, start, between):
        rows, start = found
        yield rows
    try:
        yield orjson.loads(b"[" + data[start:])
    except orjson.JSONDecodeError:
        _loads(data[:], path)  # says the line of the mistake, if it is one
        yield json.loads(b"[" + data[start:])


def _piece(data: mmap.mmap, start: int, between: re.Pattern[bytes]) -> tuple[Any, int] | None:
    """Entries from ``start`` on and where the next one begins; None when it must be the rest."""
    for place in itertools.islice(between.finditer(data, start + _PIECE), _GUESSES):
        try:
            return orjson.loads(b"[" + data[start : place.start()] + b"}]"), place.end()
        except orjson.JSONDecodeError:
            continue
    return None


def _loads(data: bytes, path: Path) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        pass
    try:  # the standard library also reads NaN and lone surrogates, and says the line otherwise
        return json.loads(data)
    except json.JSONDecodeError as error:
        raise DataError(f"{path} is not valid JSON (line {error.lineno}: {error.msg}).") from error


def _iter_lines(path: Path) -> Iterator[list[dict[str, Any]]]:
    with path.open("rb") as file:
        lines = ((number, line) for number, line in enumerate(file, start=1) if line.strip())
        done = 0
        while part := list(itertools.islice(lines, _LINES)):
            rows = [_line(line, number, path) for number, line in part]
            yield _checked(rows, path, done)
            done += len(rows)


def _line(line: bytes, number: int, path: Path) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {number} is not valid JSON: {error.msg}.") from error


def _checked(content: Any, path: Path, first: int) -> list[dict[str, Any]]:
    if not isinstance(content, list):
        keys = ", ".join(list(content)[:5]) if isinstance(content, dict) else type(content).__name__
        raise DataError(
            f"{path} must hold a list of entries, but its top level is {keys}; name the key of the "
            "list in build_info.records."
        )
    if not set(map(type, content)) <= {dict}:
        number, row = next((n, r) for n, r in enumerate(content) if not isinstance(r, dict))
        raise DataError(f"{path}, row {first + number} is not a mapping but {type(row).__name__}.")
    return content
