"""Batches and figures that the training task makes of its data sets."""

from __future__ import annotations

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import DatasetSettings, RunSettings
from minigpt4.runners.features import cache_features, fit_statistics
from minigpt4.tasks import ImageTextPretrainTask, validation
from minigpt4.tasks.image_text_pretrain import Split

PICTURE = {"train": {"name": "blip2_image_train", "image_size": 16}}


class Encoder(torch.nn.Module):
    """Gives each picture's mean colour, and remembers how often it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(3))
        self.pictures = 0
        self.seen: list[torch.Tensor] = []

    def fingerprint(self) -> str:
        return "mean colour"

    def fit_feature_statistics(self, batches: Any) -> None:
        self.seen = list(batches)
        self.feature_mean.fill_(1.0)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual_encoder = Encoder()

    def encode_image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        self.visual_encoder.pictures += len(pixels)
        return pixels.mean((2, 3))[:, None]  # (B, 1, 3)


def settings(folder: Path, *, count: int = 7, **build_info: Any) -> DatasetSettings:
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(count):
        pixels = np.full((20, 20, 3), number * 9, np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:012d}.jpg")
        rows.append(f"{number},màu gì,màu {number},{number},2")
    (folder / "train.csv").write_text("\n".join([",question,answer,img_id,type", *rows]), "utf-8")
    return DatasetSettings(
        batch_size=2,
        vis_processor=PICTURE,
        build_info={
            "ann_path": str(folder / "train.csv"),
            "val_ann_path": str(folder / "train.csv"),
            "image_path": str(folder),
            **build_info,
        },
    )


def text_only(folder: Path) -> DatasetSettings:
    folder.mkdir(exist_ok=True)
    rows = [{"instruction": f"đếm {n}", "output": str(n)} for n in range(5)]
    (folder / "text.json").write_text(json.dumps(rows), "utf-8")
    info = {"ann_path": str(folder / "text.json"), "image": None, "prompts": ["{instruction}"],
            "answer": "{output}"}  # fmt: skip
    return DatasetSettings(kind="conversation", batch_size=3, build_info=info)


def config(**datasets: DatasetSettings) -> Any:
    return SimpleNamespace(
        dataset_names=list(datasets), dataset=datasets.__getitem__, run=lambda: RunSettings()
    )


def opened(split: str, **datasets: DatasetSettings) -> list[Split]:
    return ImageTextPretrainTask().build_datasets(config(**datasets), [split])


def test_an_epoch_is_one_pass_unless_said_otherwise(tmp_path: Path) -> None:
    splits = opened("train", vivqa=settings(tmp_path / "a"), texts=text_only(tmp_path / "b"))
    task = ImageTextPretrainTask()
    assert task.training_data(RunSettings(), splits, []).iters_per_epoch == 4 + 2
    assert task.training_data(RunSettings(iters_per_epoch=50), splits, []).iters_per_epoch == 50
    assert task.training_data(RunSettings(), splits, [], world_size=2).iters_per_epoch == 2 + 1


def test_any_position_gives_the_batches_of_the_whole_run(tmp_path: Path) -> None:
    splits = opened("train", vivqa=settings(tmp_path / "a"), texts=text_only(tmp_path / "b"))
    data = ImageTextPretrainTask().training_data(RunSettings(iters_per_epoch=5), splits, [])

    def ids(epoch: int, first: int) -> list[tuple[str, list[str], list[str]]]:
        batches = islice(data.train_batches(epoch, first), 5)
        return [(b["dataset"], b["sample_id"], b["instruction_input"]) for b in batches]

    second = ids(1, 0)
    assert len(second) == 5
    assert ids(1, 3) == second[3:]
    assert ids(0, 0) != second
    assert {name for name, _, _ in ids(0, 0) + second} == {"vivqa", "texts"}


def test_processes_share_a_global_batch(tmp_path: Path) -> None:
    splits = opened("train", vivqa=settings(tmp_path / "a", count=8))
    task = ImageTextPretrainTask()
    seen: Counter[str] = Counter()
    for rank in range(2):
        data = task.training_data(RunSettings(), splits, [], rank=rank, world_size=2)
        for batch in data.train_batches(0, 0):
            seen.update(batch["sample_id"])
    assert len(seen) == 8 and set(seen.values()) == {1}


@pytest.mark.parametrize("world_size", [1, 2, 3])
def test_validation_sees_every_sample_once_and_processes_keep_in_step(
    tmp_path: Path, world_size: int
) -> None:
    splits = opened("val", vivqa=settings(tmp_path / "a", count=7))
    task = ImageTextPretrainTask()
    seen: Counter[str] = Counter()
    for rank in range(world_size):
        data = task.evaluation_data(RunSettings(), splits, rank=rank, world_size=world_size)
        batches = list(data.batches())
        assert len(batches) == data.iters == {1: 4, 2: 2, 3: 2}[world_size]
        for batch in batches:
            seen.update(batch["sample_id"] if batch is not None else [])
    assert len(seen) == 7 and set(seen.values()) == {1}


def test_figures_come_from_the_answers_to_each_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = opened("val", vivqa=settings(tmp_path / "a"))
    assert [each.kind for each in splits] == ["vqa"]
    asked = []

    def evaluate_dataset(model: Any, dataset: Any, kind: str, *_: Any, **options: Any) -> Any:
        asked.append((kind, len(dataset), list(options["indices"])))
        return {"accuracy": 0.25, "count": 7.0}

    monkeypatch.setattr(validation, "evaluate_dataset", evaluate_dataset)
    task = ImageTextPretrainTask()
    data = task.evaluation_data(RunSettings(), splits)
    assert task.evaluation_figures(None, data) == {"vivqa_accuracy": 0.25}
    assert asked == [("vqa", 7, list(range(7)))]


def test_the_metrics_decide_which_epoch_is_best_and_then_the_loss() -> None:
    score = ImageTextPretrainTask().validation_score
    right = score({"loss": 2.0, "vivqa_accuracy": 0.6, "mvtec_ad_map": 0.2})
    wrong = score({"loss": 1.0, "vivqa_accuracy": 0.5, "mvtec_ad_map": 0.2})
    assert right > wrong
    assert score({"loss": 1.0}) > score({"loss": 2.0})


def test_no_data_set_is_refused() -> None:
    with pytest.raises(ConfigError, match="no section datasets"):
        ImageTextPretrainTask().build_datasets(config(), ["train"])


# The frozen encoder before training.


def test_each_picture_is_encoded_once_for_all_splits(tmp_path: Path) -> None:
    datasets = {"vivqa": settings(tmp_path / "a"), "texts": text_only(tmp_path / "b")}
    splits = opened("train", **datasets) + opened("val", vivqa=datasets["vivqa"])
    model = Model()
    cache_features(RunSettings(feature_cache="memory"), model, splits)
    assert model.visual_encoder.pictures == 7
    sample = splits[0].dataset[3]
    assert sample.image is None and sample.features is not None
    assert sample.features.shape == (1, 3)


def test_a_cache_on_disk_serves_the_next_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    splits = opened("train", vivqa=settings(tmp_path / "a"))
    for expected in (7, 0):
        model = Model()
        cache_features(RunSettings(feature_cache="disk"), model, splits)
        assert model.visual_encoder.pictures == expected


def test_a_broken_picture_stops_a_run_before_it_begins(tmp_path: Path) -> None:
    chosen = settings(tmp_path / "a")
    (tmp_path / "a" / f"{3:012d}.jpg").write_bytes(b"not a picture")
    run = RunSettings(feature_cache="memory")
    with pytest.raises(DataError, match=r"vivqa: 1 pictures cannot be read.*on_broken=skip"):
        cache_features(run, Model(), opened("train", vivqa=chosen))
    chosen.build_info["on_broken"] = "skip"
    splits = opened("train", vivqa=chosen)
    cache_features(run, Model(), splits)
    assert "skipped" in splits[0].dataset[3].meta


@pytest.mark.parametrize("cached", [False, True])
def test_feature_statistics_are_taken_over_all_pictures_once(tmp_path: Path, cached: bool) -> None:
    splits = opened("train", vivqa=settings(tmp_path / "a"), texts=text_only(tmp_path / "b"))
    model = Model()
    if cached:
        cache_features(RunSettings(feature_cache="memory"), model, splits)
    fit_statistics(model, splits)
    seen = torch.cat([batch.float() for batch in model.visual_encoder.seen])
    assert seen.shape == (7, 1, 3)
    assert len(seen.unique(dim=0)) == 7
    model.visual_encoder.seen = []
    fit_statistics(model, splits)  # they came with a checkpoint
    assert not model.visual_encoder.seen
