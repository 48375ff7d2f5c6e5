"""Training on data sets of all kinds: losses, two processes, stopping, what streams leave out."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from conftest import mvtec_rows, open_train
from made_mixture import HERE, SIZES, config, entries, opened, write_mixture
from made_shards import caption_shards

from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.errors import ConfigError, ResourceError
from minigpt4.common.settings import RunSettings
from minigpt4.datasets.loaders import train_loader
from minigpt4.datasets.schema import CONNECT_SYM, Sample
from minigpt4.runners import runner_base
from minigpt4.runners.features import cache_features, fit_statistics
from minigpt4.runners.training import run_training
from minigpt4.tasks import ImageTextPretrainTask


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINIGPT4_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(runner_base, "plot_curves", lambda *_: None)


@pytest.fixture
def folder(vivqa: Path, mvtec: Path, tmp_path: Path) -> Path:
    return write_mixture(tmp_path)


def environment() -> dict[str, str]:
    """For programs that a test starts."""
    paths = os.pathsep.join([str(HERE), str(HERE.parents[1]), str(HERE.parent)])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}


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
        config(folder, "two", "run.max_epoch=1")
        process = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
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
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=2e-6)

    def test_a_worker_that_dies_ends_the_program(self, tmp_path: Path):
        caption_shards(tmp_path / "s", [20, 20])
        # Apart, for PyTorch tells of dead workers from a signal handler, at any time.
        script = f"""
import multiprocessing, sys
from made_shards import open_stream
from minigpt4.common.errors import run_cli
from minigpt4.datasets.loaders import train_loader
def main(_):
    stream = open_stream({str(tmp_path / "s")!r})
    loader = train_loader(
        [stream], batch_sizes=[2], odds=[1], seed=0, num_steps=5000, num_workers=1
    )
    for step, batch in enumerate(loader):
        if step == 2:
            multiprocessing.active_children()[0].kill()
sys.exit(run_cli(main))
"""
        done = subprocess.run(
            [sys.executable, "-c", script],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == ResourceError.exit_code, done.stderr
        assert "lower run.num_workers" in done.stderr


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
