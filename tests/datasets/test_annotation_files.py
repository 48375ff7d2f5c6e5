"""``annotations.<split>.url``: fetched when the file is not there, as older files have it."""

import hashlib
import json
import threading

import pytest
from conftest import write_json, write_picture
from made_server import Served, serve

from minigpt4.common.errors import AccessError, ConfigError, DataError
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import make_builder
from minigpt4.datasets.builders.annotation_files import fetch_annotations

ROWS = [[{"question": f"q{n}", "answer": f"a{n}", "image": "x.jpg"}] for n in range(2)]
FILES = [json.dumps(rows).encode() for rows in ROWS]


@pytest.fixture
def server():
    with serve() as server:
        server.files = {f"/{n}.json": Served(content) for n, content in enumerate(FILES)}
        yield server


def entry(folder, server, **annotations):
    train = {
        "url": [f"{server.url}/{n}.json" for n in range(2)],
        "storage": [str(folder / f"new/{n}.json") for n in range(2)],
        **annotations,
    }
    return {"annotations": {"train": train}, "images": {"storage": str(folder / "images")}}


def opened(build_info):
    return make_builder("coco_vqa", DatasetSettings(build_info=build_info)).build_datasets()[
        "train"
    ]


def test_what_is_missing_is_fetched_and_the_rest_left_alone(tmp_path, server):
    write_picture(tmp_path / "images/x.jpg", 0)
    (tmp_path / "new").mkdir()
    write_json(tmp_path / "new/0.json", ROWS[0])
    info = entry(tmp_path, server, md5=["not looked at", hashlib.md5(FILES[1]).hexdigest()])
    assert [turn.turns[0].answer for turn in opened(info).described()] == ["a0", "a1"]
    assert server.asked == [("/1.json", None)]
    server.asked.clear()
    opened(info)
    assert server.asked == []


def test_several_processes_fetch_a_file_once(tmp_path, server):
    info = entry(tmp_path, server)
    threads = [
        threading.Thread(target=fetch_annotations, args=(info, "train"), kwargs={"name": "x"})
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(server.asked) == [("/0.json", None), ("/1.json", None)]
    assert [(tmp_path / f"new/{n}.json").read_bytes() for n in range(2)] == FILES


def test_a_path_of_the_entrys_own_needs_no_address(tmp_path, server):
    with pytest.raises(DataError, match="there is no annotation file"):
        opened({**entry(tmp_path, server), "ann_path": str(tmp_path / "mine.json")})
    assert server.asked == []


def test_what_cannot_be_had_is_one_sentence(tmp_path, server):
    gone = entry(tmp_path, server, url=f"{server.url}/none.json", storage=str(tmp_path / "n.json"))
    with pytest.raises(AccessError, match=r"is not there any more .*save it as .*n\.json"):
        opened(gone)
    other = entry(tmp_path, server, md5=["0" * 32, "0" * 32])
    with pytest.raises(DataError, match="sent a file with the MD5"):
        opened(other)
    assert not (tmp_path / "new/0.json").exists()
    with pytest.raises(ConfigError, match=r"2 files \(storage\), 1 addresses"):
        opened(entry(tmp_path, server, url=f"{server.url}/0.json"))
