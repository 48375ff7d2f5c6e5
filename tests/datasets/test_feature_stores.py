"""Stores on a disk: shared by processes, kept below a size, listed and removed."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import pixels, write_picture

from minigpt4.common.errors import ConfigError, DataError, ResourceError
from minigpt4.datasets import feature_encoding
from minigpt4.datasets.feature_encoding import encode_pictures
from minigpt4.datasets.feature_folder import cache_root, list_stores, main, remove_store
from minigpt4.datasets.features import FeatureCache
from minigpt4.datasets.pictures import load_picture

ROW = 3 * 16 * 2
"""Bytes of a picture."""


def encode(images: torch.Tensor) -> torch.Tensor:
    return images.reshape(len(images), 3, 16)


def cache(root, mode="disk", *, encoder="e", **kwargs) -> FeatureCache:
    return FeatureCache(
        mode, root, encoder_fingerprint=encoder, processor_fingerprint="p", **kwargs
    )


@pytest.fixture
def pictures(tmp_path):
    return [str(write_picture(tmp_path / f"{i}.png", i)) for i in range(8)]


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    return cache_root()


class TestTwoProcesses:
    def start(self, root: Path, mine: str, other: str, pictures: list[str]) -> subprocess.Popen:
        script = Path(__file__).with_name("fill_store.py")
        path = os.pathsep.join([str(script.parent), str(script.parents[2])])
        return subprocess.Popen(
            [sys.executable, str(script), str(root), mine, other, *pictures],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )

    def test_they_fill_one_store_together(self, tmp_path, root, pictures):
        """Begun at the same time, asked for pictures that are partly the same."""
        a, b = str(tmp_path / "a"), str(tmp_path / "b")
        asked = [pictures[:6], pictures[2:]]
        processes = [self.start(root, a, b, asked[0]), self.start(root, b, a, asked[1])]
        said = [process.communicate(timeout=60)[0].split() for process in processes]
        assert [process.returncode for process in processes] == [0, 0]
        # Each picture was encoded by one of them alone.
        assert sum(int(encoded) for encoded, *_ in said) == len({*asked[0], *asked[1]})
        for (*_, total), paths in zip(said, asked, strict=True):
            expected = sum(pixels(load_picture(path)).half().float().sum() for path in paths)
            assert float(total) == pytest.approx(float(expected), abs=1e-3)


class TestLimit:
    def test_the_store_not_used_for_longest_goes(self, root, pictures, caplog):
        for number, name in enumerate(("old", "new")):
            store = cache(root, encoder=name)
            store.build(pictures[:4], encode, pixels)
            used = store._store.folder / "use"
            del store  # no longer in use
            os.utime(used, (number, number))
        size = sum(store.bytes for store in list_stores(root))
        third = cache(root, encoder="third", limit=size + ROW)
        third.build(pictures[:4], encode, pixels)
        left = {store.index["encoder"] for store in list_stores(root)}
        assert left == {"new", "third"}
        assert "not used since 1970-01-01" in caplog.text

    def test_a_store_in_use_stays(self, root, pictures):
        used = cache(root, encoder="used")
        used.build(pictures[:4], encode, pixels)
        limit = sum(store.bytes for store in list_stores(root)) + 4 * ROW
        with pytest.raises(ResourceError, match=r"raise run\.feature_cache_gb"):
            cache(root, limit=limit).build(pictures, encode, pixels)
        assert used[pictures[0]].shape == (3, 16)

    def test_what_never_fits_removes_nothing(self, root, pictures):
        cache(root, encoder="other").build(pictures[:2], encode, pixels)
        with pytest.raises(
            ResourceError, match=r"8 pictures need .* run\.feature_cache_dtype=int8"
        ):
            cache(root, limit=7 * ROW).build(pictures, encode, pixels)
        assert cache(root, encoder="other").build(pictures[:2], encode, pixels).encoded == 0

    def test_auto_does_without(self, root, pictures, caplog):
        caplog.set_level(logging.INFO)
        assert cache(root, "auto", limit=7 * ROW).build(pictures, encode, pixels).mode == "off"
        assert "left by run.feature_cache_gb" in caplog.text

    def test_memory_is_limited_too(self, pictures):
        with pytest.raises(ResourceError, match="feature_cache_gb"):
            cache(None, "memory", limit=7 * ROW).build(pictures, encode, pixels)
        assert cache(None, "memory", limit=8 * ROW).build(pictures, encode, pixels).encoded == 8

    def test_what_is_there_already_counts(self, root, pictures):
        cache(root).build(pictures[:4], encode, pixels)
        limit = list_stores(root)[0].bytes + 4 * ROW
        assert cache(root, limit=limit).build(pictures, encode, pixels).encoded == 4


class TestCommands:
    def test_list(self, root, pictures, capsys):
        cache(root).build(pictures, encode, pixels)
        cache(root, dtype="int8").build(pictures[:2], encode, pixels)
        main(["list"])
        said = capsys.readouterr().out
        assert "2 stores" in said
        assert "8 pictures" in said
        assert "int8 3 x 16, p" in said

    def test_nothing_there(self, root, capsys):
        main(["list"])
        assert "0 stores" in capsys.readouterr().out

    def test_clear_by_name(self, root, pictures, capsys):
        for name in ("a", "b"):
            cache(root, encoder=name).build(pictures, encode, pixels)
        key = next(s.folder.name for s in list_stores(root) if s.index["encoder"] == "a")
        main(["clear", key])
        assert [store.index["encoder"] for store in list_stores(root)] == ["b"]
        assert "removed 1 stores" in capsys.readouterr().out

    def test_clear_everything_but_what_is_used(self, root, pictures, capsys):
        used = cache(root, encoder="used")
        used.build(pictures, encode, pixels)
        cache(root, encoder="free").build(pictures, encode, pixels)
        main(["clear", "--all"])
        assert "removed 1 stores" in capsys.readouterr().out
        assert [store.index["encoder"] for store in list_stores(root)] == ["used"]
        with pytest.raises(DataError, match="while a run uses it"):
            main(["clear", list_stores(root)[0].folder.name])

    def test_mistakes(self, root):
        with pytest.raises(ConfigError, match="--all"):
            main(["clear"])
        with pytest.raises(DataError, match="holds no store abc"):
            main(["clear", "abc"])


def test_a_store_removed_meanwhile_is_made_anew(root, pictures):
    first = cache(root)
    first.build(pictures, encode, pixels)
    folder = first._store.folder
    del first
    second = cache(root)
    assert remove_store(folder)
    assert second.build(pictures[:3], encode, pixels).encoded == 3
    assert second[pictures[2]].shape == (3, 16)


def test_whole_numbers_in_a_store(root, pictures):
    store = cache(root, dtype="int8")
    report = store.build(pictures, encode, pixels)
    assert report.bytes == 8 * (3 * 16 + 3 * 4)
    expected = pixels(load_picture(pictures[5])).reshape(3, 16)
    torch.testing.assert_close(store[pictures[5]].float(), expected, atol=0.02, rtol=0.01)
    again = cache(root, dtype="int8")
    assert again.build(pictures, encode, pixels).encoded == 0
    assert torch.equal(again[pictures[5]], store[pictures[5]])


def test_it_says_what_the_pictures_take_before_most_are_encoded(
    root, pictures, caplog, monkeypatch
):
    monkeypatch.setattr(feature_encoding, "_NOTE_AFTER", 0.0)
    caplog.set_level(logging.INFO)
    seen = []

    def slow(images):
        seen.append("encoding 8 pictures once" in caplog.text)
        return encode(images)

    cache(root).build(pictures, slow, pixels, batch_size=1)
    assert "encoding 8 pictures once: 0.00 MiB each in fp16" in caplog.text
    assert not seen[0]
    assert seen[-1]


def test_what_is_known_without_looking_at_files(root, pictures):
    store = cache(root)
    store.build(pictures[:2], encode, pixels)
    assert pictures[1] in store
    assert pictures[2] not in store


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("threads", [1, 3])
def test_pictures_are_encoded_in_order_by_any_number_of_hands(
    pictures, tmp_path, threads, num_workers
):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    asked = [(str(i), path) for i, path in enumerate([*pictures[:3], str(broken), *pictures[3:]])]
    cores = torch.get_num_threads()
    found = list(
        encode_pictures(
            asked, encode, pixels, batch_size=6, num_workers=num_workers, threads=threads
        )
    )
    assert torch.get_num_threads() == cores
    assert [key for batch in found for key in batch.keys] == [str(i) for i in range(9) if i != 3]
    assert [key for batch in found for key in batch.broken] == ["3"]
    got = torch.cat([batch.features for batch in found if batch.features is not None])
    want = torch.stack([pixels(load_picture(path)).reshape(3, 16) for path in pictures])
    assert torch.equal(got, want)
    assert max(len(batch.keys) for batch in found) <= 6 // threads
