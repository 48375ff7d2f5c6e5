"""Where shards come from: files, URLs and commands; what is told when they do not come."""

from __future__ import annotations

import functools
import http.server
import os
import pickle
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
from made_shards import caption_shards, ids, open_stream, write_tar

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import build_eval_dataset, make_builder
from minigpt4.datasets.loaders import train_loader
from minigpt4.datasets.streams import opening
from minigpt4.datasets.streams.shards import count_pairs, expand, labels


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return caption_shards(tmp_path / "shards", [7, 9, 5, 8, 6])


class TestOpening:
    def test_missing_local_shards_are_told_before_anything_is_read(self, shards: Path, caplog: Any):
        pattern = str(shards / "{00003..00006}.tar")
        with pytest.raises(DataError, match=r"2 of 4 shards are missing.*00005\.tar.*on_broken"):
            open_stream(pattern)
        assert len(open_stream(pattern, on_broken="skip").shards) == 2
        assert "2 of 4 shards are missing" in caplog.text
        with pytest.raises(DataError, match="2 of 2 shards"):
            open_stream(str(shards / "{5..6}.tar"), on_broken="skip")

    def test_patterns_folders_and_old_keys(self, shards: Path, tmp_path: Path):
        every = [str(shards / f"{n:05d}.tar") for n in range(5)]
        for pattern in (str(shards / "{00000..00004}.tar"), str(shards), str(shards / "*.tar")):
            assert expand([pattern]) == every
        assert expand(["http://h/{0..1}.tar", every[0]]) == [
            "http://h/0.tar", "http://h/1.tar", every[0]
        ]  # fmt: skip
        with pytest.raises(ConfigError, match="no tar file"):
            expand([str(tmp_path / "*.tar")])
        for info in ({"storage": every[0]}, {"annotations": {"train": {"storage": every[0]}}}):
            settings = DatasetSettings(kind="webpair", build_info=info)
            assert make_builder("cc_sbu", settings).build_split("train").shards == every[:1]

    def test_ids_tell_shards_of_one_name_apart(self):
        assert labels(["/a/0.tar", "/b/0.tar", "http://h/1.tar?x=/y"]) == {
            "/a/0.tar": "/a/0.tar", "/b/0.tar": "/b/0.tar", "http://h/1.tar?x=/y": "1.tar"
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("info", "message"),
        [
            ({"shard": "x"}, "did you mean 'shards'"),
            ({"lanes": 0}, "lanes is 0"),
            ({"shuffle": 1.5}, "shuffle is 1.5"),
            ({"length": 0}, "length is 0"),
            ({"on_broken": "no"}, "on_broken is 'no'"),
            ({"prompts": []}, "no prompts"),
            ({"answer": "{"}, "cannot be read"),
            ({"shards": []}, "no shards"),
        ],
    )
    def test_wrong_settings_are_told_at_once(self, info: dict[str, Any], message: str):
        settings = DatasetSettings(kind="webpair", build_info={"shards": "x.tar", **info})
        with pytest.raises(ConfigError, match=message):
            make_builder("pairs", settings).build_split("train")

    def test_one_pass_is_counted_where_it_can_be(self, shards: Path):
        assert open_stream(shards).one_pass() == 7 + 9 + 5 + 8 + 6
        assert open_stream(shards).one_pass() == 35  # now from the cache
        assert open_stream(shards, length=12).one_pass() == 12
        with pytest.raises(ConfigError, match=r"build_info\.length"):
            open_stream("pipe:cat nothing.tar").one_pass()

    def test_headers_alone_count_pairs(self, tmp_path: Path):
        names = ("a.b/0.jpg", "a.b/0.json", "a.b/0.txt", "1.jpg", "2.txt", "3.PNG", "3.txt")
        shard = write_tar(tmp_path / "x.tar", dict.fromkeys(names, b""))
        assert count_pairs(str(shard)) == 2

    def test_a_stream_cannot_be_validated_on(self, shards: Path, tmp_path: Path):
        settings = DatasetSettings(kind="webpair", build_info={"shards": str(shards)})
        with pytest.raises(ConfigError, match="can only be trained on"):
            make_builder("pairs", settings).build_split("val")

    def test_workers_get_no_threads(self, shards: Path):
        stream = open_stream(shards)
        pair = stream.pair(0)
        copy = pickle.loads(pickle.dumps(stream.__getstate__() | {"_text_processor": None}))
        assert copy["_reader"] is None
        stream.stop()
        assert stream.samples([pair])[0].image.shape == (3, 16, 16)


class Server(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; drops the connection at times, and knows ranges when told to."""

    drop_every = 0
    ranges = True
    asked: ClassVar[Counter[str]] = Counter()

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        self.asked[path.name] += 1
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        start = 0
        if self.ranges and "Range" in self.headers:
            start = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        first = self.asked[path.name] == 1 and self.drop_every
        self.wfile.write(data[start : start + self.drop_every] if first else data[start:])
        if first:
            self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(shards: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The shards behind a URL."""
    monkeypatch.setattr(opening, "_PAUSE", 0.0)
    Server.asked, Server.drop_every, Server.ranges = Counter(), 0, True
    handler = functools.partial(Server, directory=str(shards))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class TestElsewhere:
    def test_urls_and_commands_give_what_files_give(self, shards: Path, served: str):
        local = ids(open_stream(shards), 60)
        assert ids(open_stream(f"{served}/{{00000..00004}}.tar"), 60) == local
        assert ids(open_stream(f"pipe:cat {shards}/{{00000..00004}}.tar"), 60) == local

    @pytest.mark.parametrize("ranges", [True, False])
    def test_a_lost_connection_is_taken_up_again(self, served: str, shards: Path, ranges: bool):
        Server.drop_every, Server.ranges = 3000, ranges
        found = ids(open_stream(f"{served}/00001.tar"), 9)
        assert len(set(found)) == 9
        assert Server.asked["00001.tar"] == 2

    def test_a_url_that_is_gone_is_told_when_it_is_met(self, served: str, caplog: Any):
        pattern = f"{served}/{{00000..00005}}.tar"
        stream = open_stream(pattern)
        with pytest.raises(DataError, match=r"00005\.tar cannot be read: HTTP Error 404.*skip"):
            ids(stream, 200)
        assert Server.asked["00005.tar"] == 1  # another attempt would not help
        stream = open_stream(pattern, on_broken="skip")
        pairs = [stream.pair(position) for position in range(100)]
        stream.stop()
        assert any("00005.tar cannot be read" in r for pair in pairs for r in pair.skipped)

    def test_a_server_that_is_away_is_told(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(opening, "_PAUSE", 0.0)
        with pytest.raises(DataError, match="cannot be read"):
            open_stream("http://127.0.0.1:9/0.tar").pair(0)

    @pytest.mark.parametrize("command", ["false", "head -c 3000 {}; false", "no-such-command-here"])
    def test_a_command_that_fails_is_told(self, shards: Path, command: str, capfd: Any):
        command = command.format(shards / "00000.tar")
        stream = open_stream(f"pipe:{command}", shuffle=0)
        with pytest.raises(DataError, match="ended with status"):
            ids(stream, 30)

    def test_a_command_is_out_of_reach_of_ctrl_c_and_ends_with_its_shard(self, shards: Path):
        file = opening.open_shard(f"pipe:cat {shards}/00000.tar; sleep 60")
        process = file._process  # type: ignore[attr-defined]
        assert os.getsid(process.pid) != os.getsid(0)
        begun = time.monotonic()
        file.read(512)
        file.close()
        assert process.poll() is not None
        stream = open_stream(f"pipe:cat {shards}/00000.tar; sleep 60")
        assert len(set(ids(stream, 21))) == 7
        assert time.monotonic() - begun < 30

    def test_errors_come_in_their_turn_from_workers(self, shards: Path, served: str):
        stream = open_stream(f"{served}/00009.tar")
        settings = {"batch_sizes": [2], "odds": [1], "seed": 0, "num_steps": 4, "num_workers": 1}
        with pytest.raises(DataError, match="404") as error:
            list(train_loader([stream], **settings))
        assert "Traceback" not in str(error.value)


def test_evaluation_data_sets_do_not_know_streams(tmp_path: Path):
    with pytest.raises(ConfigError, match="webpair"):
        from minigpt4.common.settings import EvalDatasetSettings

        build_eval_dataset(
            "x", EvalDatasetSettings(eval_file_path="x", kind="webpair"), vis_processor=len
        )
