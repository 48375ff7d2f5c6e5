"""Annotations from one format to another and back."""

import json

import pytest
from conftest import mvtec_rows, open_train, write_json, write_picture
from made_objects import ANSWERS, NAMES, PICTURES, write_coco, write_voc, write_yolo

from minigpt4.common.errors import DataError
from minigpt4.datasets.prepare.annotated import read_annotations
from minigpt4.datasets.prepare.cli import main

WRITE = {"coco": write_coco, "voc": write_voc, "yolo": write_yolo}


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def objects_of(data):
    return {
        each.name: (
            (each.width, each.height),
            sorted((o.name, *(round(v, 2) for v in o.box)) for o in each.objects),
        )
        for each in data.pictures
    }


EXPECTED = {name: (size, sorted(objects)) for name, (size, objects) in PICTURES.items()}


@pytest.mark.parametrize("source", WRITE)
def test_to_the_projects_own_list_and_to_every_format(tmp_path, source, capsys):
    (tmp_path / "in").mkdir()
    images = {"coco": "images", "voc": "JPEGImages", "yolo": "images/train"}[source]
    images = ["--images", str(tmp_path / "in" / images)]
    main(
        [source, str(WRITE[source](tmp_path / "in")), "--out", str(tmp_path / "own.json"), *images]
    )
    assert "3 pictures (1 without objects), 4 objects of 3 classes" in capsys.readouterr().out
    rows = read(tmp_path / "own.json")
    assert rows[1] == {
        "image": "b.jpg", "width": 100, "height": 100, "box_form": "pixels_xyxy",
        "boxes": [[0, 0, 100, 100]], "classes": ["chó con"],
    }  # fmt: skip
    for target, reader in (("coco", "coco"), ("voc", "voc"), ("yolo", "yolo")):
        out = tmp_path / target
        main([target, str(tmp_path / "own.json"), "--back", "--out", str(out), *images])
        place = out / "labels" if target == "yolo" else out
        folder = tmp_path / "in" / images[1]
        found = read_annotations(place, reader=reader, images=folder)
        assert objects_of(found) == EXPECTED
        again = tmp_path / f"{target}.again.json"
        main([target, str(place), "--out", str(again), *images])
        assert sorted(read(again), key=str) == sorted(rows, key=str)


def test_the_own_list_trains_without_more_being_said(tmp_path):
    source = write_coco(tmp_path)
    for boxes in ("pixels", "grid"):
        out = tmp_path / f"{boxes}.json"
        main(["coco", str(source), "--out", str(out), "--boxes", boxes])
        dataset = open_train("mine", out, None, kind="detection", classes=NAMES)
        found = {s.picture: s.turns[0].answer for s in dataset.described()}
        assert found == ANSWERS
    assert read(tmp_path / "grid.json")[0]["boxes"][1] == [50, 20, 75, 60]


def test_mvtec_det_becomes_coco(tmp_path):
    for i, row in enumerate(mvtec_rows()):
        write_picture(tmp_path / "images" / row["image_path"], i, (200, 100))
    write_json(tmp_path / "train_data.json", mvtec_rows())
    main(["coco", str(tmp_path / "train_data.json"), "--back", "--out", str(tmp_path / "c.json")])
    content = read(tmp_path / "c.json")
    assert len(content["images"]) == 6 and len(content["annotations"]) == 3
    assert content["categories"] == [{"id": 1, "name": "bottle-defect"}]
    assert content["annotations"][0]["bbox"] == [20, 20, 40, 21]  # of 10, 20, 30, 41 in hundredths


def test_yolo_without_its_pictures_says_what_is_missing(tmp_path):
    write_yolo(tmp_path)
    main(["yolo", str(tmp_path / "data.yaml"), "--out", str(tmp_path / "own.json")])
    (tmp_path / "images/train/a.jpg").unlink()
    rows = [{key: row[key] for key in ("image", "boxes", "classes")}
            for row in read(tmp_path / "own.json")]  # fmt: skip
    path = write_json(tmp_path / "bare.json", [dict(row, boxes=[], classes=[]) for row in rows])
    with pytest.raises(DataError, match=r"1 pictures are missing.*--images"):
        main(["coco", str(path), "--back", "--out", str(tmp_path / "c.json"),
              "--images", str(tmp_path / "images/train")])  # fmt: skip


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": [[5, 5, 5, 9]], "classes": ["x"]}, "no area"),
        ({"boxes": [[5, 5, 9]], "classes": ["x"]}, "not four numbers"),
        ({"boxes": [[1, 1, 2, 2]], "classes": []}, "as many boxes"),
    ],
)
def test_bad_rows_are_named(tmp_path, change, said):
    row = {"image": "a.png", "width": 10, "height": 10, "box_form": "pixels_xyxy", **change}
    path = write_json(tmp_path / "own.json", [row])
    with pytest.raises(DataError, match=f"row 0.*{said}"):
        main(["coco", str(path), "--back", "--out", str(tmp_path / "c.json")])


@pytest.mark.parametrize("name", ["../a.png", "/etc/a.png"])
def test_names_that_leave_the_folder_are_refused(tmp_path, name):
    row = {"image": name, "width": 10, "height": 10, "boxes": [], "classes": []}
    path = write_json(tmp_path / "own.json", [row])
    with pytest.raises(DataError, match="leaves its folder"):
        main(["yolo", str(path), "--back", "--out", str(tmp_path / "out")])


class TestLlava:
    CHATS = (
        {
            "id": "1", "image": "000000000001.jpg",
            "conversations": [
                {"from": "human", "value": "<image>\nmàu gì?"}, {"from": "gpt", "value": "đỏ"},
                {"from": "human", "value": "mấy cái?"}, {"from": "gpt", "value": "hai"},
            ],
        },
        {
            "id": "2",
            "conversations": [{"from": "human", "value": "chào"}, {"from": "gpt", "value": "hi"}],
        },
    )  # fmt: skip

    def test_there_and_back(self, tmp_path):
        source = write_json(tmp_path / "chats.json", list(self.CHATS))
        main(["llava", str(source), "--out", str(tmp_path / "rows.json")])
        rows = read(tmp_path / "rows.json")
        assert rows[1] == {
            "image": "000000000001.jpg", "conversation": "1", "turn": 1, "question": "mấy cái?",
            "answer": "hai",
        }  # fmt: skip
        assert len(rows) == 3
        main(["llava", str(tmp_path / "rows.json"), "--back", "--out", str(tmp_path / "b.json")])
        assert read(tmp_path / "b.json") == list(self.CHATS)

    def test_a_csv_of_questions_becomes_conversations(self, tmp_path):
        (tmp_path / "q.csv").write_text("image,question,answer\na.jpg,gì,mèo\na.jpg,đâu,ghế\n")
        main(["llava", str(tmp_path / "q.csv"), "--back", "--out", str(tmp_path / "b.json")])
        chats = read(tmp_path / "b.json")
        assert [chat["id"] for chat in chats] == [0, 1]
        write_picture(tmp_path / "a.jpg", 0)
        dataset = open_train("mine", tmp_path / "b.json", tmp_path, kind="conversation")
        assert dataset[1].turns[0].answer == "ghế"

    def test_messages_with_a_system(self, tmp_path):
        chat = [{"role": "system", "content": "be kind"}, {"role": "user", "content": "a"},
                {"role": "assistant", "content": "b"}]  # fmt: skip
        source = write_json(tmp_path / "c.json", [{"messages": chat}])
        main(["llava", str(source), "--out", str(tmp_path / "r.json")])
        assert read(tmp_path / "r.json") == [
            {"conversation": 0, "turn": 0, "question": "a", "answer": "b"}
        ]

    @pytest.mark.parametrize(
        ("turns", "said"),
        [
            (["human"], "no answer"),
            (["human", "human"], "take turns"),
            ([], "no conversations|no a"),
        ],
    )
    def test_what_is_no_conversation(self, tmp_path, turns, said):
        chat = {"conversations": [{"from": who, "value": "x"} for who in turns]}
        source = write_json(tmp_path / "c.json", [chat])
        with pytest.raises(DataError, match=f"row 0.*({said})"):
            main(["llava", str(source), "--out", str(tmp_path / "r.json")])
