import json
import pickle

import pytest
import torch
from conftest import open_train, pixels, write_picture

from minigpt4.common.errors import DataError, ResourceError
from minigpt4.datasets import feature_store
from minigpt4.datasets.collate import collate
from minigpt4.datasets.features import FeatureCache
from minigpt4.datasets.pictures import BLANK, load_picture


class Encoder:
    """Three rows of 16 values a picture; counts what it sees, from several threads."""

    def __init__(self) -> None:
        self._batches: list[int] = []

    @property
    def seen(self) -> int:
        return sum(self._batches)

    def __call__(self, images):
        self._batches.append(len(images))
        return images.reshape(len(images), 3, 16)


def cache(mode, root, *, encoder="e", processor="p", **kwargs):
    return FeatureCache(
        mode, root, encoder_fingerprint=encoder, processor_fingerprint=processor, **kwargs
    )


@pytest.fixture
def pictures(tmp_path):
    return [str(write_picture(tmp_path / f"{i}.png", i)) for i in range(5)]


@pytest.mark.parametrize("mode", ["memory", "disk", "auto"])
def test_each_picture_is_encoded_once(mode, tmp_path, pictures):
    encode, store = Encoder(), cache(mode, tmp_path / "store")
    report = store.build([*pictures, *pictures], encode, pixels, batch_size=2)
    assert encode.seen == report.encoded == report.pictures == len(store) == 5
    assert report.bytes == 5 * 3 * 16 * 2
    assert report.mode == ("memory" if mode == "memory" else "disk")
    for path in pictures:
        expected = pixels(load_picture(path)).reshape(3, 16).half()
        assert torch.equal(store[path], expected)
    again = store.build(pictures, encode, pixels)
    assert (encode.seen, again.encoded, again.reused) == (5, 0, 5)


@pytest.mark.parametrize("mode", ["memory", "disk"])
def test_later_pictures_are_added(mode, tmp_path, pictures):
    encode, store = Encoder(), cache(mode, tmp_path / "store")
    store.build(pictures[:2], encode, pixels)
    first = store[pictures[0]].clone()
    store.build(pictures, encode, pixels)
    assert encode.seen == 5
    assert torch.equal(store[pictures[0]], first)
    assert not torch.equal(store[pictures[4]], first)


def test_copies_of_a_picture_share_a_row(tmp_path, pictures):
    copy = tmp_path / "copy.png"
    copy.write_bytes((tmp_path / "0.png").read_bytes())
    encode, store = Encoder(), cache("memory", None)
    report = store.build([*pictures, str(copy)], encode, pixels)
    assert (encode.seen, report.reused) == (5, 1)
    assert torch.equal(store[str(copy)], store[pictures[0]])


class TestDisk:
    def test_a_second_run_reuses_it(self, tmp_path, pictures):
        cache("disk", tmp_path / "store").build(pictures, Encoder(), pixels)
        encode, second = Encoder(), cache("disk", tmp_path / "store")
        second.build(pictures, encode, pixels)
        assert encode.seen == 0
        assert second[pictures[3]].shape == (3, 16)

    @pytest.mark.parametrize("other", [{"encoder": "e2"}, {"processor": "p2"},
                                       {"dtype": "fp32"}])  # fmt: skip
    def test_other_weights_processors_or_formats_do_not_share(self, tmp_path, pictures, other):
        cache("disk", tmp_path / "store").build(pictures, Encoder(), pixels)
        encode = Encoder()
        cache("disk", tmp_path / "store", **other).build(pictures, encode, pixels)
        assert encode.seen == 5

    def test_a_changed_picture_is_encoded_again(self, tmp_path, pictures):
        cache("disk", tmp_path / "store").build(pictures, Encoder(), pixels)
        write_picture(tmp_path / "2.png", 99, size=(30, 30))
        encode, store = Encoder(), cache("disk", tmp_path / "store")
        store.build(pictures, encode, pixels)
        assert encode.seen == 1
        expected = pixels(load_picture(pictures[2])).reshape(3, 16).half()
        assert torch.equal(store[pictures[2]], expected)

    def test_an_interrupted_run_goes_on(self, tmp_path, pictures):
        last = pixels(load_picture(pictures[4]))

        class Stops(Encoder):
            def __call__(self, images):
                if any(torch.equal(image, last) for image in images):
                    raise KeyboardInterrupt
                return super().__call__(images)

        with pytest.raises(KeyboardInterrupt):
            cache("disk", tmp_path / "store").build(pictures, Stops(), pixels, batch_size=2)
        encode, store = Encoder(), cache("disk", tmp_path / "store")
        store.build(pictures, encode, pixels)
        assert encode.seen == 1
        for path in pictures:
            expected = pixels(load_picture(path)).reshape(3, 16).half()
            assert torch.equal(store[path], expected)

    def test_rows_written_after_the_last_index_are_overwritten(self, tmp_path, pictures):
        cache("disk", tmp_path / "store").build(pictures[:2], Encoder(), pixels)
        data = next((tmp_path / "store").glob("*/data"))
        with data.open("ab") as file:
            file.write(b"garbage")
        store = cache("disk", tmp_path / "store")
        store.build(pictures, Encoder(), pixels)
        expected = pixels(load_picture(pictures[4])).reshape(3, 16).half()
        assert torch.equal(store[pictures[4]], expected)

    def test_a_store_cut_short_is_made_anew(self, tmp_path, pictures, caplog):
        cache("disk", tmp_path / "store").build(pictures, Encoder(), pixels)
        data = next((tmp_path / "store").glob("*/data"))
        data.write_bytes(data.read_bytes()[:-5])
        encode = Encoder()
        cache("disk", tmp_path / "store").build(pictures, encode, pixels)
        assert encode.seen == 5
        assert "cut short" in caplog.text

    def test_the_index_says_what_it_is_about(self, tmp_path, pictures):
        cache("disk", tmp_path / "store").build(pictures, Encoder(), pixels)
        index = json.loads(next((tmp_path / "store").glob("*/index.json")).read_text())
        assert (index["encoder"], index["processor"], index["shape"]) == ("e", "p", [3, 16])

    def test_it_can_be_sent_to_other_processes(self, tmp_path, pictures):
        store = cache("disk", tmp_path / "store")
        store.build(pictures, Encoder(), pixels)
        row = store[pictures[1]]
        sent = pickle.dumps(store)
        assert torch.equal(pickle.loads(sent)[pictures[1]], row)

    def test_too_little_disk_is_said_before_writing(self, tmp_path, pictures, monkeypatch):
        usage = feature_store.shutil.disk_usage(tmp_path)._replace(free=100)
        monkeypatch.setattr(feature_store.shutil, "disk_usage", lambda _: usage)
        with pytest.raises(ResourceError, match="feature_cache"):
            cache("disk", tmp_path / "store").build(pictures, Encoder(), pixels)
        report = cache("auto", tmp_path / "auto").build(pictures, Encoder(), pixels)
        assert report.mode == "off"


def test_too_little_memory_is_said(pictures, monkeypatch):
    import psutil

    memory = psutil.virtual_memory()._replace(available=100)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(ResourceError, match="memory"):
        cache("memory", None).build(pictures, Encoder(), pixels)


def test_values_that_do_not_fit_are_refused(pictures):
    with pytest.raises(ResourceError, match="float16"):
        cache("memory", None).build(pictures, lambda x: x.reshape(len(x), 3, 16) * 1e6, pixels)


def test_broken_and_missing_pictures_are_reported_and_named_on_access(tmp_path, pictures):
    (tmp_path / "1.png").write_bytes(b"no picture")
    gone = str(tmp_path / "gone.png")
    store = cache("memory", None)
    report = store.build([*pictures, gone], Encoder(), pixels, batch_size=2)
    assert set(report.broken) == {pictures[1], gone}
    assert report.encoded == 4
    for path in (pictures[1], gone):
        with pytest.raises(DataError, match=path):
            store[path]


def test_a_data_set_gives_features_instead_of_pictures(vivqa):
    dataset = open_train("vivqa", vivqa / "train.csv", vivqa / "images")
    store = cache("memory", None)
    store.build(dataset.image_paths(), Encoder(), pixels)
    dataset.use_features(store)
    assert dataset[2].image is None
    assert torch.equal(dataset[2].features, store[dataset.image_paths()[2]])
    assert collate([dataset[0], dataset[1]])["image_features"].shape == (2, 3, 16)
    dataset.use_features(None)
    assert dataset[2].image is not None


def test_the_blank_picture_has_features():
    store = cache("memory", None)
    assert store.build([BLANK], Encoder(), pixels).encoded == 1
    assert store[BLANK].shape == (3, 16)
