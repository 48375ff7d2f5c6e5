"""Annotation files read in parts, columns joined, rows chosen."""

import json

import numpy as np
import pytest
from conftest import open_train, vivqa_rows, write_csv, write_json

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.datasets.filters import rows_where
from minigpt4.datasets.formats import delimited, json_lists
from minigpt4.datasets.readers import read_table
from minigpt4.datasets.table import Table

ROWS = [
    {"id": i, "text": 'a}, {"id": 3}]' * (i % 3), "turns": [{"id": j} for j in range(i % 5)]}
    for i in range(200)
]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(json_lists, "_PIECE", 100)
    monkeypatch.setattr(json_lists, "_LINES", 3)
    monkeypatch.setattr(delimited, "_CHUNK", 3)


class TestJson:
    @pytest.mark.parametrize("layout", [{}, {"indent": 1}, {"separators": (",", ":")}])
    def test_parts_give_the_whole(self, tmp_path, layout):
        path = tmp_path / "a.json"
        path.write_text(json.dumps(ROWS, **layout))
        parts = list(json_lists.iter_json(path))
        assert len(parts) > 10
        assert [row for part in parts for row in part] == ROWS

    def test_entries_that_do_not_begin_alike(self, tmp_path):
        rows = [dict(sorted(row.items(), reverse=bool(i % 2))) for i, row in enumerate(ROWS)]
        path = write_json(tmp_path / "a.json", rows)
        assert [row for part in json_lists.iter_json(path) for row in part] == rows

    def test_what_only_the_standard_library_reads(self, tmp_path):
        rows = [*ROWS, {"id": 1, "text": "\ud83d", "turns": float("inf")}]
        path = tmp_path / "a.json"
        path.write_text(json.dumps(rows))
        assert [row for part in json_lists.iter_json(path) for row in part] == rows
        assert read_table([str(path)]).value(200, "text") == "\ud83d"

    @pytest.mark.parametrize("place", [3, 100, 199])
    def test_a_broken_entry_is_said_with_its_line(self, tmp_path, place):
        lines = [json.dumps(row) for row in ROWS]
        lines[place] = lines[place][:-1]
        path = tmp_path / "a.json"
        path.write_text("[\n" + ",\n".join(lines) + "\n]")
        with pytest.raises(DataError, match=rf"not valid JSON \(line {place + 3}:"):
            read_table([str(path)])

    def test_an_entry_that_is_no_mapping_is_named_by_its_number(self, tmp_path):
        path = write_json(tmp_path / "a.json", [*ROWS, "x"])
        with pytest.raises(DataError, match="row 200 is not a mapping but str"):
            read_table([str(path)])

    def test_rows_of_a_part_may_lack_a_column(self, tmp_path):
        rows = [{"id": i, **({"late": i} if i > 150 else {})} for i in range(200)]
        table = read_table([str(write_json(tmp_path / "a.json", rows))])
        assert [table.value(i, "late") for i in (0, 150, 151)] == [None, None, 151]

    def test_lines(self, tmp_path):
        path = tmp_path / "a.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in ROWS[:10]))
        assert list(read_table([str(path)]).rows(["id", "text", "turns"])) == ROWS[:10]


def test_csv_in_parts(tmp_path):
    path = write_csv(tmp_path / "a.csv", vivqa_rows(8))
    table = read_table([str(path)])
    assert [table.row(i)["question"] for i in range(8)] == [r["question"] for r in vivqa_rows(8)]
    path.write_text("a,b\n" + "1,2\n" * 5 + "1,2,3\n")
    with pytest.raises(DataError, match="row 5 has 3 values for 2 columns"):
        read_table([str(path)])


class TestTable:
    def test_columns_of_different_kinds_are_joined(self):
        parts = [[{"v": 1}], [{"v": "x"}], [{"v": [1, 2]}], [{"v": 2**70}], [{}], [{"v": 1.5}]]
        table = Table.from_chunks(parts, source="f")
        assert [table.value(i, "v") for i in range(6)] == [1, "x", [1, 2], 2**70, None, 1.5]
        assert table.place(5) == "f, row 5"

    @pytest.mark.parametrize(
        "values", [["é", "", "ba"], [1, 0, 3], [[1.5, 2.0]] * 3, [None, [], 3]]
    )
    def test_some_rows(self, values):
        table = Table.from_rows([{"v": v, "w": str(v)} for v in values], source="f")
        some = table.only(np.array([False, True, True]))
        assert [some.row(i) for i in range(2)] == [{"v": v, "w": str(v)} for v in values[1:]]
        assert some.place(0) == "f, row 1"
        last = some.only(np.array([False, True]))
        assert (last.value(0, "v"), last.place(0)) == (values[2], "f, row 2")

    def test_what_is_empty(self):
        nothing = ["", " ", "\n\t ", None, [], {}]
        values = [*nothing, "x", " x", "\\", '"', "é", 0, False, 1, [0], [""], 0.5, True]
        table = Table.from_rows([{"v": v} for v in values], source="f")
        assert table.empty("v").tolist() == [v in nothing for v in values]
        for kind in (["", " ", "é", " é"], [0, 2], [False, True], [0.0, 1.5], [[0, 0], [1, 1]]):
            empty = Table.from_rows([{"v": v} for v in kind], source="f").empty("v")
            assert empty.tolist() == [v in nothing for v in kind]

    def test_distinct_combinations(self):
        rows = [{"a": a, "b": b} for a, b in ((1, "x"), (2, "x"), (1, "x"), (1, "y"))]
        codes, found = Table.from_rows(rows, source="f").distinct(["a", "b"])
        assert codes.tolist() == [0, 1, 0, 2]
        assert found == [rows[0], rows[1], rows[3]]


class TestWhere:
    ROWS = (
        {"split": "train", "size": "12", "image": "train2014/a.jpg", "ok": True},
        {"split": "val", "size": "3", "image": "val2014/b.jpg", "ok": False},
        {"split": "train", "size": "30.5", "image": "val2014/c.jpg", "ok": True},
    )

    @pytest.mark.parametrize(
        ("where", "kept"),
        [
            ({"split": "train"}, [0, 2]),
            ({"split": ["val", "test"]}, [1]),
            ({"size": 3}, [1]),
            ({"ok": "true"}, [0, 2]),
            ({"image": {"contains": "train"}}, [0]),
            ({"size": {"less_than": 30}}, [0, 1]),
            ({"size": {"at_least": 4, "less_than": 30}}, [0]),
            ({"split": {"is_not": "val"}, "size": {"at_least": 20}}, [2]),
        ],
    )
    def test_conditions(self, where, kept):
        table = Table.from_rows(self.ROWS, source="f")
        assert np.flatnonzero(rows_where(table, where)).tolist() == kept

    def test_a_data_set_of_some_rows(self, vivqa, caplog):
        caplog.set_level("INFO")
        dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images", where={"type": 1})
        assert [sample.meta["type"] for sample in dataset.described()] == ["1", "1"]
        assert "2 of 8 rows are meant by build_info.where" in caplog.text
        assert dataset[1].picture == "000000000005.jpg"

    def test_mistakes(self, vivqa):
        where = {"type": {"below": 3}, "img_id": {"less_than": "x"}}
        with pytest.raises(ConfigError, match=r"no test 'below'.*must be a number"):
            open_train("vivqa", vivqa / "train.csv", None, where=where)
        with pytest.raises(DataError, match=r"no column 'kind'.*where\.kind"):
            open_train("vivqa", vivqa / "train.csv", None, where={"kind": 3})
        with pytest.raises(DataError, match=r"row 0: question is 'Màu .* cannot compare"):
            open_train("vivqa", vivqa / "train.csv", None, where={"question": {"less_than": 3}})


def test_rows_without_an_answer_can_be_left_out(vivqa, caplog):
    rows = vivqa_rows()
    rows[2]["answer"] = ""
    write_csv(vivqa / "train.csv", rows)
    with pytest.raises(DataError, match=r"row 2: answer is empty.*on_bad_row=skip"):
        open_train("vivqa", vivqa / "train.csv", vivqa / "images")
    dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images", on_bad_row="skip")
    assert len(dataset) == 7
    assert "1 of 8 annotations cannot be used and are left out" in caplog.text
    assert dataset[2].id == "3-3"


def test_no_picture_name_can_be_made_of_nothing(vivqa):
    path = write_json(vivqa / "a.json", [{"image": None, "question": "q", "answer": "a"}])
    with pytest.raises(DataError, match="no picture name can be made of image=None"):
        open_train("mine", path, vivqa / "images", kind="vqa", image="{image}.jpg")
