import json

import pytest
from conftest import write_csv, write_json

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.columns import PackedColumn
from minigpt4.datasets.patterns import Pattern
from minigpt4.datasets.readers import read_table
from minigpt4.datasets.table import Table

ROWS = [
    {"id": 3, "text": "màu xanh lá", "box": [1, 2, 3, 4], "broken": True, "more": {"a": [None]}},
    {"id": -1, "text": "", "box": [5, 6, 7, 8], "broken": False, "more": "x"},
    {"id": 2**40, "text": "é", "box": [0, 0, 0, 0], "broken": True},
]


def test_a_table_gives_the_rows_back_with_their_types():
    table = Table.from_rows(ROWS, source="f")
    expected = [*ROWS[:2], {**ROWS[2], "more": None}]
    assert [table.row(i) for i in range(3)] == expected
    assert list(table.rows(["id", "text", "box", "broken", "more"])) == expected
    assert json.dumps(table.row(0)) == json.dumps(ROWS[0])


@pytest.mark.parametrize("value", [2**70, 1.5, [1, 2.5], [[1], [2]], [], [True, False], None])
def test_values_of_any_json_type_survive(value):
    assert Table.from_rows([{"v": value}, {"v": value}], source="f").value(1, "v") == value


@pytest.mark.parametrize(
    "values",
    [
        [["có", "không"], [], ["x"]],
        [["a"], ["],["], ["b", "],["]],
        [[["a"], ["b"]], [["c"]]],
        [["a"]],
        [[2**70], [1]],
        [[2**63], [2]],
        [[True, False], [False, False]],
        [["a"], "b"],
        [["a"], None, {"b": []}],
    ],
)
def test_columns_of_lists_survive(values):
    table = Table.from_rows([{"v": value} for value in values], source="f")
    assert [row["v"] for row in table.rows(["v"])] == values
    assert [table.value(number, "v") for number in range(len(values))] == values


def test_concatenated_tables_keep_rows_and_places():
    table = Table.concat(
        [Table.from_rows(ROWS[:2], source="a"), Table.from_rows([{"id": 9}], source="b")]
    )
    assert len(table) == 3
    assert table.row(1)["text"] == ""
    assert table.row(2) == {"id": 9, "text": None, "box": None, "broken": None, "more": None}
    assert table.place(2) == "b, row 0"


@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.csv"])
def test_readers_agree(tmp_path, name):
    rows = [{"q": 'có "gì", không', "n": "12"}, {"q": "dòng\nhai", "n": "3"}]
    path = tmp_path / name
    if name.endswith("csv"):
        write_csv(path, rows)
    elif name.endswith("jsonl"):
        path.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n", encoding="utf-8")
    else:
        write_json(path, rows)
    assert list(read_table([str(path)]).rows(["q", "n"])) == rows


def test_a_list_below_a_key_is_found(tmp_path):
    path = write_json(tmp_path / "a.json", {"info": 1, "data": [{"x": 1}]})
    assert read_table([str(path)], records="data").row(0) == {"x": 1}
    with pytest.raises(DataError, match="records"):
        read_table([str(path)])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", b"[{]", "not valid JSON"),
        ("a.json", b"[]", "no rows"),
        ("a.json", b"[3]", "row 0 is not a mapping"),
        ("a.jsonl", b'{"a":1}\n{', "line 2"),
        ("a.csv", b"a,b\n1,2\n1,2,3\n", "row 1 has 3 values"),
        ("a.csv", b"a,b,a\n1,2,3\n", "2 columns 'a'"),
        ("a.csv", "a\nmàu".encode("utf-16"), "UTF-8"),
    ],
)
def test_a_broken_file_is_named(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=message) as error:
        read_table([str(path)])
    assert str(path) in str(error.value)


def test_a_missing_file_and_an_unknown_format_are_named(tmp_path):
    with pytest.raises(DataError, match=r"no annotation file .*gone\.csv"):
        read_table([str(tmp_path / "gone.csv")])
    with pytest.raises(DataError, match="is a folder"):
        read_table([str(tmp_path)], reader="csv")
    (tmp_path / "a.xlsx").touch()
    with pytest.raises(ConfigError, match="save it as CSV"):
        read_table([str(tmp_path / "a.xlsx")])
    (tmp_path / "a.xyz").touch()
    with pytest.raises(ConfigError, match="no reader 'xyz'"):
        read_table([str(tmp_path / "a.xyz")])


@pytest.mark.parametrize(
    ("pattern", "row", "text"),
    [
        ("{img_id:012d}.jpg", {"img_id": "68857"}, "000000068857.jpg"),
        ("{img_id:012d}.jpg", {"img_id": 68857.0}, "000000068857.jpg"),
        ("{n:d}", {"n": "12345678901234567890"}, "12345678901234567890"),
        ("{a[0][b]} {c}", {"a": [{"b": "x"}], "c": "{a}"}, "x {a}"),
        ("{{<{x}>}}", {"x": 3}, "{<3>}"),
    ],
)
def test_patterns_fill(pattern, row, text):
    assert Pattern(pattern).fill(row) == text


def test_a_pattern_refuses_half_a_number():
    with pytest.raises(ValueError, match="whole number"):
        Pattern("{n:03d}").fill({"n": "1.5"})
    assert Pattern("{a[0][b]} {c}").columns == ("a", "c")


@pytest.mark.parametrize(
    ("value", "seen"),
    [
        (["a"], True),
        (["có", None, 3, "[x{"], True),
        ([], False),
        ([""], False),
        ([" a"], False),
        (["\ta"], False),
        ([None, "a"], False),
        (["a", ["b"]], False),
        (["a", {"b": "c"}], False),
        ({"a": "b"}, False),
        (None, False),
    ],
)
@pytest.mark.parametrize("place", [0, 1, 2])
def test_lists_of_text_are_seen_only_where_they_are(value, seen, place):
    values = [["b", "c"], ["d e"]]
    values.insert(place, value)
    assert PackedColumn.pack(values).holds_lists_of_text() is seen


def test_spellings_are_told_apart_in_order_of_first_use():
    values = ["b", "", "a", "b", "á", "a", "á", "", "bb"]
    codes, spellings = PackedColumn.pack(values).distinct()
    assert [spellings[code] for code in codes] == values
    assert spellings == list(dict.fromkeys(values))
