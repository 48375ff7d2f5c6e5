"""Large CSV files: the fast reader gives what Python's gives."""

from __future__ import annotations

import csv
import random
from pathlib import Path

import pytest

from minigpt4.common.errors import DataError
from minigpt4.datasets.formats import delimited
from minigpt4.datasets.readers import ReaderOptions
from minigpt4.datasets.table import Table

VALUES = (
    "", " ", "màu gì", "a,b", "a;b", 'nói "có"', "hai\ndòng", "hai\r\ndòng", "null", "NA", "0012",
    "1.0", "true", "'", "  trước và sau  ", "tiếng Việt", "😀",
)  # fmt: skip


def both(path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Table, Table]:
    """The table by Python's reader and by the fast one."""
    tables = []
    for large in (10**9, 0):
        monkeypatch.setattr(delimited, "_LARGE", large)
        tables.append(delimited.read_csv(path, ReaderOptions()))
    return tables[0], tables[1]


def rows_of(table: Table) -> list[dict[str, object]]:
    return [table.row(number) for number in range(len(table))]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("ending", ["\n", "\r\n"])
def test_the_same_values(tmp_path, monkeypatch, separator, encoding, ending):
    draw = random.Random(0)
    path = tmp_path / "a.csv"
    with path.open("w", encoding=encoding, newline="") as file:
        lines = csv.writer(file, delimiter=separator, lineterminator=ending)
        lines.writerow(["", "câu hỏi", "trả lời"])
        for number in range(300):
            lines.writerow([number, *draw.choices(VALUES, k=2)])
            if number % 50 == 0:
                file.write(ending)
    usual, fast = both(path, monkeypatch)
    assert usual.names == fast.names == ["index", "câu hỏi", "trả lời"]
    assert len(fast) == 300
    assert rows_of(fast) == rows_of(usual)
    assert fast.place(7) == usual.place(7)


def test_the_fast_reader_is_the_one_that_reads(tmp_path, monkeypatch):
    path = tmp_path / "a.csv"
    path.write_text("a,b\n1,2\n", encoding="utf-8")
    monkeypatch.setattr(delimited, "_LARGE", 0)
    monkeypatch.setattr(delimited, "_part", None)
    assert rows_of(delimited.read_csv(path, ReaderOptions())) == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("rest", ['1,2\n"3,4\n5,6\n', "1,2\n3\n", "1,2\n3,4,5\n", "a\0b,c\n"])
def test_python_judges_what_is_broken_or_strange(tmp_path, monkeypatch, rest):
    path = tmp_path / "a.csv"
    path.write_text(f"a,b\n{rest}", encoding="utf-8")
    outcomes = []
    for large in (10**9, 0):
        monkeypatch.setattr(delimited, "_LARGE", large)
        try:
            outcomes.append(rows_of(delimited.read_csv(path, ReaderOptions())))
        except DataError as error:
            outcomes.append(str(error))
    assert outcomes[0] == outcomes[1]


@pytest.mark.parametrize("value", ['a"b', 'a"b"c', '"a"b', '""', '" a"', '"a""b"', "'a'"])
def test_quotes_in_odd_places(tmp_path, monkeypatch, value):
    path = tmp_path / "a.csv"
    path.write_text(f"a,b\n{value},x\ny,{value}\n", encoding="utf-8")
    usual, fast = both(path, monkeypatch)
    assert rows_of(fast) == rows_of(usual)
