"""Tables of the user's own: parquet files and data sets of the hub's library."""

import csv
import datetime
import io
import re
from unicodedata import normalize

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import open_train, pixels, write_picture
from PIL import Image

from minigpt4.common.errors import AccessError, ConfigError, DataError
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.datasets.builders import build_eval_dataset
from minigpt4.datasets.formats.arrow_rows import pictures_folder
from minigpt4.datasets.formats.hub import explain


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf" / "datasets")


def png(seed):
    buffer = io.BytesIO()
    noise = np.random.default_rng(seed).integers(0, 256, (8, 10, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, format="PNG")
    return buffer.getvalue()


QUESTIONS = [("màu gì", "đỏ"), ("mấy con", "hai"), ("cái gì", "xe")]


@pytest.mark.parametrize("files", ["NFC", "NFD"])
def test_a_spreadsheets_csv_with_decomposed_letters(tmp_path, files):
    rows = [["tệp", "câu hỏi", "trả lời"], ["ảnh 1.png", '"gì;"\nở đâu', "đỏ"]]
    with (tmp_path / "x.csv").open("w", encoding="utf-8-sig", newline="") as file:
        for row in rows:
            csv.writer(file, delimiter=";").writerow([normalize("NFD", cell) for cell in row])
    write_picture(tmp_path / "images" / normalize(files, "ảnh 1.png"), 1)
    dataset = open_train(
        "mine", tmp_path / "x.csv", tmp_path / "images", kind="vqa", image="{tệp}",
        fields={"question": "câu hỏi", "answer": "trả lời"}, prompts=["[vqa] {câu hỏi}"],
        process=[],
    )  # fmt: skip
    (turn,) = dataset[0].turns
    assert turn.instruction.endswith('[vqa] "gì;"\nở đâu ')
    assert turn.answer == "đỏ"


class TestParquet:
    @pytest.mark.parametrize("wrap", [lambda b: b, lambda b: {"bytes": b, "path": "x.png"}])
    def test_pictures_as_bytes(self, tmp_path, wrap):
        rows = [
            {"image": wrap(png(i)), "question": q, "answer": a}
            for i, (q, a) in enumerate([*QUESTIONS, QUESTIONS[0]])
        ]
        rows[3]["image"] = rows[0]["image"]
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
        dataset = open_train("mine", tmp_path / "train.parquet", None, kind="vqa")
        samples = [dataset[i] for i in range(4)]
        assert [s.turns[0].answer for s in samples] == ["đỏ", "hai", "xe", "đỏ"]
        assert all(s.image.shape == (3, 16, 16) for s in samples)
        assert samples[0].picture == samples[3].picture != samples[1].picture
        assert not samples[0].picture.startswith("/"), "names are the same on every machine"
        files = [path for path in pictures_folder().rglob("*") if path.is_file()]
        assert len(files) == 3 and {path.suffix for path in files} == {".png"}
        assert dataset.image_paths() == [s.image_path for s in samples[:3]]

    def test_names_of_pictures_several_files_and_other_values(self, tmp_path):
        for part in range(2):
            write_picture(tmp_path / f"images/{part}.png", part)
            table = pa.table(
                {
                    "file_name": [f"{part}.png"],
                    "boxes": [[[0.0, 0.0, 50.0, 50.0]]],
                    "classes": [["mèo"]],
                    "taken": [datetime.date(2024, 5, 1)],
                }
            )
            pq.write_table(table, tmp_path / f"part-{part}.parquet")
        dataset = open_train("mine", tmp_path, tmp_path / "images", kind="detection",
                             reader="parquet")  # fmt: skip
        assert [dataset[i].turns[0].answer for i in range(2)] == ["<p>mèo</p>{<0><0><50><50>}"] * 2
        assert dataset[1].meta["taken"].startswith("2024-05-01")

    def test_a_file_that_is_none(self, tmp_path):
        (tmp_path / "x.parquet").write_bytes(b"PAR1 no")
        with pytest.raises(DataError, match=r"x\.parquet is not a parquet file"):
            open_train("mine", tmp_path / "x.parquet", None, kind="vqa")
        with pytest.raises(DataError, match=r"no \.parquet files"):
            (tmp_path / "empty").mkdir()
            open_train("mine", tmp_path / "empty", None, kind="vqa", reader="parquet")


@pytest.fixture
def saved(tmp_path):
    """A detection set as the hub has them, written by ``save_to_disk``."""
    import datasets

    names = datasets.ClassLabel(names=["mèo", "chó"])
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": datasets.Sequence(
                {"bbox": datasets.Sequence(datasets.Value("float32")), "category": names}
            ),
        }
    )

    def rows(count):
        return [
            {
                "image": {"bytes": png(i), "path": None},
                "objects": {
                    "bbox": [[1.0, 2.0, 3.0, 4.0]] * (i % 3),
                    "category": [i % 2] * (i % 3),
                },
            }
            for i in range(count)
        ]

    splits = {
        split: datasets.Dataset.from_list(rows(count), features=features)
        for split, count in (("train", 4), ("validation", 2))
    }
    datasets.DatasetDict(splits).save_to_disk(str(tmp_path / "saved"))
    return tmp_path / "saved"


HUB = {
    "reader": "hf",
    "box_form": "pixels_xywh",
    "fields": {"boxes": "objects.bbox", "classes": "objects.category"},
}


class TestHub:
    def test_a_saved_set(self, saved):
        dataset = open_train("mine", saved, None, kind="detection", **HUB)
        assert [dataset[i].turns[0].answer for i in range(4)] == [
            "none",
            "<p>chó</p>{<10><25><40><75>}",
            "<p>mèo</p>{<10><25><40><75>}",
            "none",
        ]
        assert "[detection] mèo, chó" in dataset[0].turns[0].instruction

    def test_evaluation_takes_the_test_data_or_else_the_validation(self, saved, caplog):
        caplog.set_level("INFO")
        settings = EvalDatasetSettings(kind="detection", eval_file_path=str(saved), build_info=HUB)
        assert len(build_eval_dataset("mine", settings, vis_processor=pixels)) == 2
        assert "has no split test: validation is taken" in caplog.text

    def test_a_split_by_name(self, saved):
        dataset = open_train("mine", saved, None, kind="detection",
                             reader_options={"split": "validation"}, **HUB)  # fmt: skip
        assert len(dataset) == 2
        with pytest.raises(ConfigError, match="no split 'dev', only train, validation"):
            open_train("mine", saved, None, kind="detection",
                       reader_options={"split": "dev"}, **HUB)  # fmt: skip

    def test_a_folder_of_files(self, tmp_path):
        write_picture(tmp_path / "data/a.png", 0)
        (tmp_path / "data/metadata.csv").write_text("file_name,text\na.png,một cái cây\n")
        dataset = open_train("mine", tmp_path / "data", None, kind="caption", reader="hf",
                             fields={"caption": "text"})  # fmt: skip
        assert dataset[0].turns[0].answer == "một cái cây"

    def test_what_cannot_be_had_is_answered_with_what_to_do(self):
        from datasets.exceptions import DatasetNotFoundError

        for error, said in [
            (DatasetNotFoundError("Dataset 'a/b' is a gated dataset on the Hub."), "accept its"),
            (DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub"), "no data set a/b"),
            (ConnectionError("Couldn't reach the Hub"), "hub cannot be reached.*download it"),
        ]:
            found = explain("a/b", error)
            assert isinstance(found, AccessError)
            assert re.search(said, str(found))
        config = ValueError("Config name is missing.\nPlease pick one: ['x', 'y']")
        assert "reader_options.config" in str(explain("a/b", config))
        scripts = RuntimeError("Dataset scripts are no longer supported, but found b.py")
        assert isinstance(explain("a/b", scripts), DataError)
