"""One run over data sets of all kinds: shares, processes, workers, stopping and going on."""

from __future__ import annotations

import itertools
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from conftest import mvtec_rows, open_train, write_json, write_picture
from made_shards import caption_shards, open_stream

from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.config import Config
from minigpt4.common.errors import ConfigError
from minigpt4.common.settings import DatasetSettings, RunSettings
from minigpt4.datasets.loaders import train_loader
from minigpt4.datasets.sampling import MixedBatchSampler, describe_mixture, step_odds
from minigpt4.datasets.schema import CONNECT_SYM, Sample
from minigpt4.runners import runner_base
from minigpt4.runners.features import cache_features, fit_statistics
from minigpt4.runners.training import run_training
from minigpt4.tasks import ImageTextPretrainTask
from minigpt4.tasks.image_text_pretrain import Split

HERE = Path(__file__).parent
TINY_LLAMA = HERE.parent / "fixtures" / "parity" / "tiny_llama_vi1000"
SIZES = [2, 3, 1, 2, 2]
"""Samples a batch of each data set of the mixture."""


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runner_base, "plot_curves", lambda *_: None)


def talks(count: int = 7) -> list[dict]:
    """Conversations of one to three turns."""
    return [
        {
            "id": f"{n:012d}",
            "conversations": [
                {"from": who, "value": f"{who} {n}-{turn}"}
                for turn in range(n % 3 + 1)
                for who in ("human", "gpt")
            ],
        }
        for n in range(count)
    ]


@pytest.fixture
def folder(vivqa: Path, mvtec: Path, tmp_path: Path) -> Path:
    """Questions, defects, conversations, instructions without a picture, and shards."""
    write_json(tmp_path / "talks.json", talks())
    for row in talks():
        write_picture(tmp_path / "talks" / f"{row['id']}.jpg", int(row["id"]))
    write_json(
        tmp_path / "text.json", [{"instruction": f"đếm {n}", "output": str(n)} for n in range(9)]
    )
    caption_shards(tmp_path / "shards", [7, 9, 5, 8, 6])
    return tmp_path


def entries(folder: Path, *, image_size: int = 16) -> dict[str, DatasetSettings]:
    infos: dict[str, tuple[str | None, dict[str, Any]]] = {
        "vivqa": (None, {"ann_path": str(folder / "ViVQA/train.csv"),
                         "image_path": str(folder / "ViVQA/images")}),
        "mvtec_ad": (None, {"ann_path": str(folder / "MVTEC_det/train_data.json"),
                            "image_path": str(folder / "MVTEC_det/images")}),
        "talks": ("conversation", {"ann_path": str(folder / "talks.json"), "image": "{id}.jpg",
                                   "image_path": str(folder / "talks")}),
        "text": ("conversation", {"ann_path": str(folder / "text.json"), "image": None}),
        "pairs": ("webpair", {"shards": str(folder / "shards")}),
    }  # fmt: skip
    train = {"name": "blip2_image_train", "image_size": image_size}
    return {
        name: DatasetSettings(
            kind=kind, batch_size=size, vis_processor={"train": train}, build_info=info
        )
        for size, (name, (kind, info)) in zip(SIZES, infos.items(), strict=True)
    }


def opened(folder: Path, **kwargs: Any) -> list[Split]:
    chosen = entries(folder, **kwargs)
    cfg: Any = SimpleNamespace(
        dataset_names=list(chosen), dataset=chosen.__getitem__, run=lambda: RunSettings()
    )
    return ImageTextPretrainTask().build_datasets(cfg, ["train"])


def seen(batch: Any) -> list[tuple]:
    """All that a batch says about each of its samples."""
    texts = [batch[key] for key in ("instruction_input", "answer", "conv_q", "conv_a")
             if key in batch]  # fmt: skip
    pixels = batch["image"].flatten(1).tolist() if "image" in batch else batch["answer"]
    rows = zip(batch["sample_id"], *texts, map(str, pixels), strict=True)
    return [(batch["dataset"], *row) for row in rows]


def batches(folder: Path, *, steps: int = 30, **kwargs: Any) -> list[list[tuple]]:
    splits = opened(folder)
    settings = {"batch_sizes": SIZES, "odds": [1] * 5, "seed": 5, "num_steps": steps} | kwargs
    return [seen(batch) for batch in train_loader([s.dataset for s in splits], **settings)]


class TestProcesses:
    def test_two_processes_of_two_workers_draw_what_one_draws(self, folder: Path):
        doubled = [2 * size for size in SIZES]
        # Together, a conversation of several turns is told as one even beside a single question.
        alone = batches(folder, batch_sizes=doubled)
        assert {batch[0][0] for batch in alone} == set(entries(folder))
        ranks = [batches(folder, rank=r, world_size=2, num_workers=2) for r in range(2)]
        for whole, first, second in zip(alone, *ranks, strict=True):
            assert sorted(first + second) == sorted(whole)

    def test_three_processes_share_lanes_and_still_give_each_sample_once(self, folder: Path):
        alone = batches(folder, batch_sizes=[3 * size for size in SIZES])
        ranks = [batches(folder, rank=r, world_size=3) for r in range(3)]
        for whole, *parts in zip(alone, *ranks, strict=True):
            assert sorted(itertools.chain(*parts)) == sorted(whole)

    def test_a_stream_is_drawn_once_a_pass_whatever_reads_it(self, tmp_path: Path):
        folder = caption_shards(tmp_path / "even", [6] * 4)
        settings = {"batch_sizes": [3], "odds": [1], "seed": 0, "num_steps": 16}
        for workers in (0, 1, 2):
            loader = train_loader([open_stream(folder)], num_workers=workers, **settings)
            drawn = Counter(i for batch in loader for i in batch["sample_id"])
            assert len(drawn) == 24 and set(drawn.values()) == {2}


class TestResuming:
    @pytest.mark.parametrize("num_workers", [0, 1])
    def test_any_step_can_be_the_first(self, folder: Path, num_workers: int):
        whole = batches(folder, steps=24)
        for start in (1, 7, 8, 15, 23) if num_workers else range(24):
            left = batches(folder, start_step=start, steps=24 - start, num_workers=num_workers)
            assert left == whole[start:]

    def test_epochs_follow_each_other_without_reading_again(self, folder: Path):
        splits = opened(folder)
        stream = splits[-1].dataset
        run = RunSettings(iters_per_epoch=10, seed=5, num_workers=1)
        data = ImageTextPretrainTask().training_data(run, splits, [])
        found, readers = [], []
        for epoch in range(3):
            found += [seen(batch) for batch in data.train_batches(epoch, 0)]
            readers.append([lane._ahead for lane in stream._reader.lanes])
        assert found == batches(folder, odds=step_odds([1] * 5, SIZES))
        assert readers[0] == readers[1] == readers[2]
        assert [seen(batch) for batch in data.train_batches(1, 4)] == found[14:20]

    def test_a_run_that_is_stopped_goes_on_as_if_it_had_not_been(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ):
        whole = run_training(config(folder, "whole"))
        loss = ImageTextPretrainTask.training_loss
        calls: list[int] = []

        def interrupted(self: Any, model: Any, batch: Any) -> Any:
            calls.append(1)
            if len(calls) == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return loss(self, model, batch)

        monkeypatch.setattr(ImageTextPretrainTask, "training_loss", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_training(config(folder, "stopped"))
        monkeypatch.undo()
        monkeypatch.setenv("MINIGPT4_CACHE", str(folder / "other cache"))
        monkeypatch.setattr(runner_base, "plot_curves", lambda *_: None)
        (saved,) = (folder / "stopped").rglob("checkpoint_interrupted.pth")
        options = [f"run.resume_ckpt_path={saved}", "run.num_workers=1"]
        resumed = run_training(config(folder, "resumed", *options))
        assert whole.last_checkpoint is not None and resumed.last_checkpoint is not None
        expected = load_checkpoint_file(whole.last_checkpoint).model
        found = load_checkpoint_file(resumed.last_checkpoint).model
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            assert torch.equal(found[name], value), name


def config(folder: Path, output: str, *options: str) -> Config:
    """A run of a tiny model over all kinds."""
    model = {
        "arch": "minigpt_v2", "image_size": 56, "vit_weights": "random", "ckpt": "",
        "vit_config": {"embed_dim": 64, "depth": 1, "num_heads": 4},
        "llama_model": str(TINY_LLAMA), "lora_r": 4, "end_sym": "</s>", "max_txt_len": 200,
        "chat_template": True,
    }  # fmt: skip
    datasets = {
        name: {
            "batch_size": entry.batch_size,
            "vis_processor": {"train": {"name": "blip2_image_train", "image_size": 56}},
            "build_info": entry.build_info,
        }
        | ({"kind": entry.kind} if entry.kind else {})
        for name, entry in entries(folder).items()
    }
    run = {"device": "cpu", "max_epoch": 2, "iters_per_epoch": 6, "init_lr": 0.01, "log_freq": 1,
           "output_dir": str(folder / output), "seed": 3}  # fmt: skip
    path = folder / f"{output}.yaml"
    path.write_text(yaml.safe_dump({"model": model, "datasets": datasets, "run": run}), "utf-8")
    return Config(SimpleNamespace(cfg_path=str(path), options=list(options)))


class TestShares:
    @pytest.mark.parametrize("mixing", ["samples", "steps"])
    def test_ratios_are_shares_of_samples_or_of_steps(self, mixing: str):
        sizes, ratios = [2, 8, 4], [3.0, 1.0, 4.0]
        odds = step_odds(ratios, sizes, mixing)
        sampler = MixedBatchSampler(
            [100, None, 50], batch_sizes=sizes, odds=odds, seed=0, num_steps=20_000
        )
        steps = np.bincount(sampler.chosen(0, 20_000), minlength=3)
        counted = steps * np.array(sizes) if mixing == "samples" else steps
        assert counted / counted.sum() == pytest.approx(np.array([3, 1, 4]) / 8, abs=0.01)

    def test_they_are_told(self):
        words = describe_mixture(["a", "b"], step_odds([3, 1], [2, 6]), [2, 6])
        assert words == (
            "a 75.0 % of samples (90.0 % of steps), b 25.0 % of samples (10.0 % of steps)"
        )

    def test_a_run_announces_them(self, folder: Path, caplog: pytest.LogCaptureFixture):
        caplog.set_level(logging.INFO)
        splits = opened(folder)
        ImageTextPretrainTask().training_data(RunSettings(mixing="steps"), splits, [])
        assert "mixing: vivqa 20.0 % of samples (20.0 % of steps), mvtec_ad 30.0 %" in caplog.text

    def test_positions_of_a_stream_are_shared_by_their_remainder(self):
        draws = [
            [[d.row for d in batch] for batch in MixedBatchSampler(
                [None], batch_sizes=[2], odds=[1], seed=0, num_steps=2, start_step=1, rank=rank,
                world_size=3,
            )]
            for rank in range(3)
        ]  # fmt: skip
        assert draws == [[[6, 9], [12, 15]], [[7, 10], [13, 16]], [[8, 11], [14, 17]]]

    def test_one_pass_counts_streams(self, folder: Path):
        data = ImageTextPretrainTask().training_data(RunSettings(), opened(folder), [])
        assert data.iters_per_epoch == 4 + 2 + 7 + 5 + 18


class TwoPictures(torch.utils.data.Dataset[Sample]):
    """Stands for a data set of several pictures a sample."""

    name = "two"

    def __init__(self, base: Any) -> None:
        self.base = base

    def __len__(self) -> int:
        return len(self.base)

    def __getitem__(self, draw: Any) -> Sample:
        sample = self.base[draw]
        sample.image = torch.stack([sample.image] * (1 + draw.row % 2))
        sample.turns[0].instruction = sample.turns[0].instruction.replace(
            "<Img><ImageHere></Img>", "<Img><ImageHere></Img>" * len(sample.image)
        )
        return sample


class TestTraining:
    def test_batches_of_all_kinds_have_a_finite_loss_and_gradient(self, folder: Path):
        splits = opened(folder, image_size=56)
        datasets = [*(s.dataset for s in splits), TwoPictures(splits[0].dataset)]
        model = ImageTextPretrainTask().build_model(config(folder, "x")).train()
        loader = train_loader(datasets, batch_sizes=[*SIZES, 2], odds=[1] * 6, seed=1, num_steps=24)
        kinds = set()
        for batch in loader:
            model.zero_grad()
            loss = model(batch)["loss"]
            loss.backward()
            assert torch.isfinite(loss)
            missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
            assert not missing
            touched = model.llama_proj.weight.grad.abs().sum() > 0
            assert touched == (batch["dataset"] != "text")
            kinds.add(batch["dataset"])
        assert kinds == {*entries(folder), "two"}

    def test_all_turns_of_a_conversation_are_kept(self, folder: Path):
        (talk,) = (s.dataset for s in opened(folder) if s.name == "talks")
        loader = train_loader([talk], batch_sizes=[7], odds=[1], seed=1, num_steps=1)
        (batch,) = loader
        for answer, question, row in zip(
            batch["conv_a"], batch["conv_q"], batch["sample_id"], strict=True
        ):
            turns = int(row.split("-")[0]) % 3 + 1
            assert len(answer.split(CONNECT_SYM)) == len(question.split(CONNECT_SYM)) == turns

    def test_two_processes_train_text_beside_pictures_as_one_does(self, folder: Path):
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc-per-node", "2", str(HERE / "two_mixing.py"), str(folder)]  # fmt: skip
        paths = os.pathsep.join([str(HERE.parents[1]), str(HERE.parent), str(HERE)])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        config(folder, "two", "run.max_epoch=1")
        process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            _, errors = process.communicate(timeout=240)
        finally:
            process.terminate()
        assert process.returncode == 0, errors[-3000:]
        import two_mixing

        model, steps = two_mixing.train(config(folder, "one"), rank=None, world_size=2)
        assert "text" in steps and len(set(steps)) > 2
        found = torch.load(folder / "two.pt", weights_only=True)
        for name, value in model.items():
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-6)

    def test_a_worker_that_dies_ends_the_loop(self, tmp_path: Path):
        stream = open_stream(caption_shards(tmp_path / "s", [20, 20]))
        settings = {"batch_sizes": [2], "odds": [1], "seed": 0, "num_steps": 500}
        loader = iter(train_loader([stream], num_workers=1, **settings))
        next(loader)
        with pytest.raises(RuntimeError, match="worker"):
            for child in multiprocessing.active_children():
                child.kill()
            list(loader)
        loader.close()


class Encoder(torch.nn.Module):
    """Counts pictures; keeps statistics."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("feature_mean", torch.zeros(3))
        self.pictures = 0

    def fingerprint(self) -> str:
        return "mean colour"

    def fit_feature_statistics(self, batches: Any) -> None:
        self.pictures = sum(len(batch) for batch in batches)


class Model(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.visual_encoder = Encoder()

    def encode_image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        return pixels.mean((2, 3))[:, None]  # (B, 1, 3)


class TestStreamsAmongOthers:
    def test_others_are_cached_and_streams_are_not(self, folder: Path, caplog: Any):
        caplog.set_level(logging.INFO)
        splits = opened(folder)
        cache_features(RunSettings(feature_cache="memory"), Model(), splits)
        assert "streams are encoded as they come, without a cache: pairs" in caplog.text
        datasets = [s.dataset for s in splits]
        settings = {"batch_sizes": SIZES, "odds": [1] * 5, "seed": 5, "num_steps": 12}
        given = {b["dataset"]: "image_features" in b for b in train_loader(datasets, **settings)}
        assert given["pairs"] is False and given["vivqa"] is True

    def test_streams_alone_cannot_be_cached(self, folder: Path):
        splits = [split for split in opened(folder) if split.name == "pairs"]
        with pytest.raises(ConfigError, match=r"run\.feature_cache=off"):
            cache_features(RunSettings(feature_cache="memory"), Model(), splits)

    def test_feature_statistics_see_a_streams_beginning(self, folder: Path):
        splits = [split for split in opened(folder) if split.name == "pairs"]
        model = Model()
        fit_statistics(model, splits)
        assert model.visual_encoder.pictures == 35

    def test_validation_leaves_streams_out(self, folder: Path, caplog: Any):
        caplog.set_level(logging.INFO)
        chosen = entries(folder)
        chosen["vivqa"].build_info["val_ann_path"] = chosen["vivqa"].build_info["ann_path"]
        for names, expected in ((["vivqa", "pairs"], ["vivqa"]), (["pairs"], None)):
            cfg: Any = SimpleNamespace(
                dataset_names=names, dataset=chosen.__getitem__, run=lambda: RunSettings()
            )
            if expected is None:
                with pytest.raises(ConfigError, match="only streams of shards"):
                    ImageTextPretrainTask().build_datasets(cfg, ["val"])
            else:
                found = ImageTextPretrainTask().build_datasets(cfg, ["val"])
                assert [split.name for split in found] == expected
                assert "pairs is a stream of shards: it has no split val" in caplog.text

    def test_evaluating_on_a_stream_is_refused(self, folder: Path):
        splits = [split for split in opened(folder) if split.name == "pairs"]
        with pytest.raises(ConfigError, match="can only be trained on"):
            ImageTextPretrainTask().evaluation_data(RunSettings(), splits)


def test_boxes_and_pictures_of_the_mixture_are_what_the_files_say(folder: Path):
    splits = {split.name: split.dataset for split in opened(folder)}
    answers = {splits["mvtec_ad"][n].turns[0].answer for n in range(6)}
    assert f"<p>bottle-defect</p>{{<10><20><30><{mvtec_rows()[1]['bbox'][3]}>}}" in answers
    assert open_train("text", folder / "text.json", None, kind="conversation", image=None)[0]
