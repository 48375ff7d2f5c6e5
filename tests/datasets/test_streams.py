"""Tar shards as streams: their order, what is broken in them, and where they come from."""

from __future__ import annotations

import functools
import http.server
import itertools
import json
import os
import pickle
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from made_shards import caption_shards, ids, members, open_stream, picture, write_tar

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import build_eval_dataset, make_builder
from minigpt4.datasets.collate import collate
from minigpt4.datasets.loaders import train_loader
from minigpt4.datasets.streams import lanes, opening
from minigpt4.datasets.streams.counts import ShardCounts
from minigpt4.datasets.streams.lanes import StreamReader
from minigpt4.datasets.streams.shards import Pair, count_pairs, expand, labels, read_shard


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    return caption_shards(tmp_path / "shards", [7, 9, 5, 8, 6])


class TestOrder:
    def test_a_pass_gives_every_sample_once_and_the_next_another_order(self, tmp_path: Path):
        folder = caption_shards(tmp_path / "s", [6, 6, 6, 6])
        found = ids(open_stream(folder), 72)
        passes = [found[start : start + 24] for start in (0, 24, 48)]
        assert [len(set(each)) for each in passes] == [24, 24, 24]
        assert sorted(passes[0]) == sorted(passes[1]) and passes[0] != passes[1]
        assert passes[0] != sorted(passes[0])

    def test_it_is_a_function_of_seed_and_name(self, shards: Path):
        settings = DatasetSettings(kind="webpair", build_info={"shards": str(shards)})
        one, same, other = (
            ids(make_builder("pairs", settings, seed=seed).build_split("train"), 30)
            for seed in (1, 1, 2)
        )
        assert one == same != other
        assert ids(open_stream(shards, name="a"), 30) != ids(open_stream(shards, name="b"), 30)

    @pytest.mark.parametrize("known", [True, False])
    def test_any_position_can_be_the_first(self, shards: Path, tmp_path: Path, known: bool):
        whole = ids(open_stream(shards, shuffle=12), 150)
        for start in range(1, 140, 7):
            if not known:
                for file in (tmp_path / "cache" / "streams").iterdir():
                    file.unlink()
            assert ids(open_stream(shards, shuffle=12), 8, start=start) == whole[start : start + 8]

    def test_counts_spare_reading_of_shards_that_are_passed(self, shards: Path):
        ids(open_stream(shards), 100)
        stream = open_stream(shards)
        opened: list[str] = []
        stream.check = lambda id, members: (
            opened.append(id)
            or type(stream).check(  # type: ignore
                stream, id, members
            )
        )
        stream.pair(100 * len(stream.shards))
        stream.stop()
        # At most the shard in use and what is read ahead of it, in each of four lanes.
        assert len({name.split("/")[0] for name in opened}) <= 5
        assert len(opened) < 100

    def test_a_changed_shard_is_counted_anew(self, shards: Path):
        counts = ShardCounts("x")
        counts.remember(str(shards / "00000.tar"), 7)
        assert ShardCounts("x").get(str(shards / "00000.tar")) == 7
        assert ShardCounts("y").get(str(shards / "00000.tar")) is None
        write_tar(shards / "00000.tar", members({"1": {"caption": "x"}}))
        assert ShardCounts("x").get(str(shards / "00000.tar")) is None

    def test_without_shuffling_a_shard_keeps_its_order(self, shards: Path):
        found = ids(open_stream(shards / "00001.tar", shuffle=0), 9)
        assert found == sorted(found)

    def test_lanes_are_a_power_of_two_of_the_shards(self, shards: Path):
        assert [self._lanes(shards, most) for most in (1, 2, 3, 8)] == [1, 2, 2, 4]

    @staticmethod
    def _lanes(shards: Path, most: int) -> int:
        return len(open_stream(shards, lanes=most)._make_reader().lanes)

    def test_each_process_opens_its_own_lanes_only(self, tmp_path: Path):
        folder = caption_shards(tmp_path / "s", [3] * 8)
        opened: list[set[str]] = []
        for rank in range(2):
            stream = open_stream(folder)
            for position in range(rank, 12, 2):
                stream.pair(position, stride=2)
            assert stream._reader is not None
            opened.append({lane._number for lane in stream._reader.lanes if lane.started})
            stream.stop()
        assert opened == [{0, 2, 4, 6}, {1, 3, 5, 7}]


class TestMemory:
    def test_no_more_is_read_ahead_than_two_windows_of_each_lane(self):
        made: Counter[str] = Counter()

        def read(shard: str) -> Any:
            for number in range(1000):
                made[shard] += 1
                yield Pair(f"{shard}/{number}", b"x", {})

        reader = self._reader(["a", "b"], read, shuffle=20)
        for position in range(40):
            reader.take(position)
        time.sleep(0.3)
        # In each of two lanes: 20 taken, two windows of 10 ahead, and one sample that ends them.
        assert all(count <= 20 + 2 * 10 + 1 for count in made.values()), made
        reader.stop()

    def test_windows_of_large_pictures_are_shorter(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(lanes, "_WINDOW_BYTES", 1000)

        def read(shard: str) -> Any:
            for number in range(100):
                yield Pair(str(number), b"x" * 300, {})

        reader = self._reader(["a"], read, shuffle=50)
        found = [int(reader.take(position).id) for position in range(100)]
        reader.stop()
        assert found != sorted(found)
        assert [sorted(found[i : i + 4]) for i in range(0, 100, 4)] == [
            list(range(i, i + 4)) for i in range(0, 100, 4)
        ]

    def test_threads_end_with_their_stream(self, shards: Path):
        stream = open_stream(shards)
        stream.pair(0)
        threads = [t for t in threading.enumerate() if t.name == "shard reader"]
        assert threads
        del stream
        for thread in threads:
            thread.join(5)
            assert not thread.is_alive()

    @staticmethod
    def _reader(shards: list[str], read: Any, shuffle: int) -> StreamReader:
        return StreamReader(
            shards, lanes=8, seed=[1], shuffle=shuffle, read=read, counts=ShardCounts("t"),
            skip_broken=False,
        )  # fmt: skip


class TestBroken:
    def test_broken_members_are_left_out_and_told(self, tmp_path: Path):
        good = {f"{n}": {"caption": f"c{n}"} for n in range(3)}
        content = members(good) | {
            "3.jpg": picture(3)[:-60], "3.json": b'{"caption": "cut"}',
            "4.jpg": b"<html>", "4.json": b'{"caption": "none"}',
            "5.jpg": picture(5), "5.json": b"{caption",
            "6.jpg": picture(6), "6.json": b'{"caption": null}',
            "7.jpg": picture(7),
            "8.json": b'{"caption": "alone"}',
            "9.png": picture(9, "PNG")[:-30], "9.txt": "chữ".encode(),
        }  # fmt: skip
        shard = str(write_tar(tmp_path / "x.tar", content))
        stream = open_stream(shard)
        items = list(read_shard(shard, "x.tar", stream.check))
        assert [item.id for item in items if isinstance(item, Pair)] == [
            f"x.tar/{n}" for n in range(3)
        ]
        reasons = [item for item in items if isinstance(item, str)]
        words = ["truncated", "format", "JSON", "caption", "neither", "picture", "Truncated"]
        for key, word in zip("3456789", words, strict=True):
            assert any(r.startswith(f"x.tar/{key}") and word in r for r in reasons), (key, reasons)
        assert len(reasons) == 7
        told = [stream.pair(position).skipped for position in range(6)]
        assert sorted(itertools.chain(*told)) == sorted(reasons * 2)  # once in each pass

    def test_text_files_and_other_picture_formats_are_read(self, tmp_path: Path):
        content = {
            "a.webp": picture(1, "WEBP"),
            "a.txt": "con mèo".encode(),
            "b.png": picture(2, "PNG"),
            "b.txt": b"dog",
            "b.json": b'{"width": 5}',
        }
        stream = open_stream(write_tar(tmp_path / "x.tar", content), shuffle=0)
        samples = stream.samples([stream.pair(0), stream.pair(1)])
        assert [sample.turns[0].answer for sample in samples] == ["con mèo", "dog"]

    @pytest.mark.parametrize("where", ["data", "header", "cut header"])
    def test_a_damaged_shard_gives_what_is_before_the_damage(self, tmp_path: Path, where: str):
        folder = caption_shards(tmp_path / "s", [6, 6])
        path = folder / "00000.tar"
        data = bytearray(path.read_bytes())
        with tarfile.open(path) as archive:
            third = archive.getmembers()[6]  # the picture of the fourth pair
        if where == "data":
            data = data[: third.offset_data + 20]
        elif where == "header":
            data[third.offset : third.offset + 512] = b"x" * 512
        else:
            data = data[: third.offset + 100]
        path.write_bytes(data)
        stream = open_stream(folder)
        pairs = [stream.pair(position) for position in range(30)]
        stream.stop()
        names = Counter(pair.id for pair in pairs)
        assert len(names) == 3 + 6
        told = [reason for pair in pairs for reason in pair.skipped]
        assert told and all("00000.tar is damaged after 6 files" in reason for reason in told)

    def test_a_picture_broken_within_is_replaced_by_the_next_of_its_batch(self, tmp_path: Path):
        stream = open_stream(caption_shards(tmp_path / "s", [4]))
        pairs = [stream.pair(position) for position in range(4)]
        pairs[3].picture = b"no picture"
        samples = stream.samples(pairs)
        assert [sample.id for sample in samples] == [p.id for p in [*pairs[:3], pairs[0]]]
        assert "skipped" not in samples[0].meta
        (reason,) = samples[3].meta["skipped"]
        assert reason.startswith(pairs[3].id)
        with pytest.raises(DataError, match="all pictures of a batch"):
            stream.samples(pairs[3:])

    def test_they_are_counted_once_whoever_decodes(self, tmp_path: Path, caplog: Any):
        rows = {f"{n}": {"caption": f"c{n}"} for n in range(5)} | {"x": {}}
        stream = open_stream(write_tar(tmp_path / "x.tar", members(rows)))
        settings = {"batch_sizes": [5], "odds": [1], "seed": 0, "num_steps": 4, "num_workers": 1}
        skipped = sum(
            len(meta.get("skipped", ()))
            for batch in train_loader([stream], **settings)
            for meta in batch["meta"]
        )
        assert skipped == 4
        lines = [record.getMessage() for record in caplog.records]
        assert "pairs: others stood in for unusable samples 4 times" in lines
        assert sum("x.tar/x has no text" in line for line in lines) == 1

    def test_nothing_but_unusable_samples_is_a_mistake_found_on_opening(self, shards: Path):
        with pytest.raises(DataError, match=r"nothing usable.*'text'.*build_info\.fields"):
            open_stream(shards, answer="{text}")

    def test_a_stream_that_runs_dry_says_so(self, tmp_path: Path):
        stream = open_stream(caption_shards(tmp_path / "s", [2]))
        write_tar(tmp_path / "s/00000.tar", members({"1": {}}))
        with pytest.raises(DataError, match=r"pairs: no sample can be read.*00000\.tar/1"):
            stream.pair(0)
        with pytest.raises(DataError, match="no sample can be read"):
            stream.pair(0)  # and again, rather than to wait for ever


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


GRIT = {
    "caption": "A dog, and a big dog next to a red ball",
    "noun_chunks": [
        [0, 5, 0.1, 0.2, 0.5, 0.6, 0.9],
        [11, 20, 0.5, 0.5, 1.004, 0.9, 0.8],
        [29, 39, 0.0, 0.0, 0.25, 0.3, 0.7],
        [29, 39, 0.5, 0.0, 0.75, 0.3, 0.66],
        [21, 25, 0.1, 0.1, 0.2, 0.2, 0.3],
    ],
    "ref_exps": [[11, 39, 0.5, 0.5, 1.0, 0.9, 0.8]],
}
BOXES = {"a dog": "{<10><20><50><60>}", "a big dog": "{<50><50><100><90>}",
         "a red ball": "{<0><0><25><30>}<delim>{<50><0><75><30>}"}  # fmt: skip


class TestGrit:
    def open(self, folder: Path, *rows: dict[str, Any], **info: Any) -> Any:
        content = members({f"{n:03d}": row for n, row in enumerate(rows)})
        shard = write_tar(folder / "0.tar", content)
        return open_stream(shard, kind="grit", name="grit", **{"min_score": 0.65} | info)

    def turns(self, stream: Any, count: int = 30) -> set[tuple[str, str]]:
        pairs = [stream.pair(position) for position in range(count)]
        stream.stop()
        found = {(s.turns[0].instruction, s.turns[0].answer) for s in stream.samples(pairs)}
        assert all(i.startswith("<Img><ImageHere></Img> [") for i, _ in found)
        return {(i.removeprefix("<Img><ImageHere></Img> "), answer) for i, answer in found}

    def test_a_grounded_caption_has_its_boxes_in_place(self, tmp_path: Path):
        found = self.turns(self.open(tmp_path, GRIT, tasks=["grounding"]))
        assert {answer for _, answer in found} == {
            f"<p>a dog</p>{BOXES['a dog']} , and <p>a big dog</p>{BOXES['a big dog']} next to "
            f"<p>a red ball</p>{BOXES['a red ball']}"
        }
        assert all(instruction.startswith("[grounding] ") for instruction, _ in found)

    def test_expressions_are_referred_to_and_identified(self, tmp_path: Path):
        phrase, box = "a big dog next to a red ball", BOXES["a big dog"]
        found = self.turns(self.open(tmp_path / "r", GRIT, tasks=["refer"]))
        assert {answer for _, answer in found} == {box}
        assert all(i.startswith("[refer] ") and phrase in i for i, _ in found)
        found = self.turns(self.open(tmp_path / "i", GRIT, tasks=["identify"]))
        assert {answer for _, answer in found} == {phrase}
        assert all(i.startswith("[identify] ") and box in i for i, _ in found)

    def test_without_expressions_phrases_of_one_box_are_referred_to(self, tmp_path: Path):
        row = GRIT | {"ref_exps": []}
        found = self.turns(self.open(tmp_path, row, tasks={"refer": 1, "identify": 0}))
        assert {answer for _, answer in found} == {BOXES["a dog"], BOXES["a big dog"]}

    def test_all_boxes_of_a_phrase_are_detected(self, tmp_path: Path):
        found = self.turns(self.open(tmp_path, GRIT, tasks=["detection"]))
        assert found == {
            (f"[detection] {phrase} ", f"<p>{phrase}</p>{box}") for phrase, box in BOXES.items()
        }

    def test_all_four_are_drawn_the_same_every_time(self, tmp_path: Path):
        found = self.turns(self.open(tmp_path, GRIT), 60)
        assert {i.split("]")[0] for i, _ in found} == {
            "[grounding", "[refer", "[identify", "[detection"
        }  # fmt: skip
        assert self.turns(self.open(tmp_path, GRIT), 60) == found

    def test_weak_and_senseless_boxes_are_left_out_and_counted(self, tmp_path: Path, caplog: Any):
        wrong = [
            [0, 5, 0.5, 0.5, 0.5, 0.6, 0.9],  # no width
            [0, 99, 0, 0, 1, 1, 0.9],  # beyond the caption
            [0, 5, 7, 9, 40, 50, 0.9],  # pixels
            [3, 3, 0, 0, 1, 1, 0.9],  # no text
            "no",
            [0, 5, 0.5, 0.6, 0.4, 0.7, 0.9],  # inverted
        ]
        row = GRIT | {"noun_chunks": [*wrong, *GRIT["noun_chunks"]], "ref_exps": []}
        stream = self.open(tmp_path, row)
        (sample,) = stream.samples([stream.pair(0)])
        assert sample.meta["unusable_boxes"] == len(wrong)
        settings = {"batch_sizes": [1], "odds": [1], "seed": 0, "num_steps": 2}
        list(train_loader([stream], **settings))
        assert "grit: 12 boxes could not be used" in caplog.text
        row["noun_chunks"] = GRIT["noun_chunks"]
        only = self.open(tmp_path / "w", row, tasks="detection", min_score=0.85)
        assert self.turns(only) == {("[detection] a dog ", f"<p>a dog</p>{BOXES['a dog']}")}

    def test_samples_without_a_box_are_left_out(self, tmp_path: Path):
        stream = self.open(tmp_path, GRIT, {"caption": "nothing", "noun_chunks": []}, {"url": "x"})
        pairs = [stream.pair(position) for position in range(2)]
        stream.stop()
        assert {pair.id for pair in pairs} == {"0.tar/000"}
        assert len(pairs[0].skipped) == 2

    def test_columns_kept_as_text_are_read(self, tmp_path: Path):
        row = {key: json.dumps(value) if key != "caption" else value for key, value in GRIT.items()}
        assert self.turns(self.open(tmp_path / "a", row), 60) == self.turns(
            self.open(tmp_path / "b", GRIT), 60
        )

    @pytest.mark.parametrize("info", [{"tasks": ["caption"]}, {"tasks": {"refer": 0}},
                                      {"prompts": ["x"]}, {"prompts": {"vqa": ["x"]}}])  # fmt: skip
    def test_wrong_tasks_are_told(self, tmp_path: Path, info: dict[str, Any]):
        with pytest.raises(ConfigError, match="task"):
            self.open(tmp_path, GRIT, **info)


def test_captions_pass_the_text_processor_and_keep_their_marks(tmp_path: Path):
    rows = {"0": {"caption": "Con MÈO (đen) ngồi."}}
    stream = open_stream(write_tar(tmp_path / "0.tar", members(rows)), shuffle=0)
    (sample,) = stream.samples([stream.pair(0)])
    assert sample.turns[0].answer == "con mèo đen ngồi"
    assert sample.turns[0].instruction.startswith("<Img><ImageHere></Img> [caption] ")
    batch = collate([sample])
    assert batch["image"].shape == (1, 3, 16, 16) and torch.isfinite(batch["image"]).all()


def test_evaluation_data_sets_do_not_know_streams(tmp_path: Path):
    with pytest.raises(ConfigError, match="webpair"):
        from minigpt4.common.settings import EvalDatasetSettings

        build_eval_dataset(
            "x", EvalDatasetSettings(eval_file_path="x", kind="webpair"), vis_processor=len
        )
