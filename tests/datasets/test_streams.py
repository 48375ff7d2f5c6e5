"""Tar shards as streams: their order, what is read ahead, and what is broken in them."""

from __future__ import annotations

import itertools
import tarfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from made_shards import caption_shards, ids, members, open_stream, picture, write_tar

from minigpt4.common.errors import DataError
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders import make_builder
from minigpt4.datasets.collate import collate
from minigpt4.datasets.loaders import train_loader
from minigpt4.datasets.streams import lanes
from minigpt4.datasets.streams.counts import ShardCounts
from minigpt4.datasets.streams.lanes import StreamReader
from minigpt4.datasets.streams.shards import Pair, read_shard


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
        before = set(threading.enumerate())
        stream = open_stream(shards)
        stream.pair(0)
        threads = [t for t in threading.enumerate() if t not in before]
        assert len(threads) == 4
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


def test_captions_pass_the_text_processor_and_keep_their_marks(tmp_path: Path):
    rows = {"0": {"caption": "Con MÈO (đen) ngồi."}}
    stream = open_stream(write_tar(tmp_path / "0.tar", members(rows)), shuffle=0)
    (sample,) = stream.samples([stream.pair(0)])
    assert sample.turns[0].answer == "con mèo đen ngồi"
    assert sample.turns[0].instruction.startswith("<Img><ImageHere></Img> [caption] ")
    batch = collate([sample])
    assert batch["image"].shape == (1, 3, 16, 16) and torch.isfinite(batch["image"]).all()
