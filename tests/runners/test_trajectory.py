"""Twelve iterations of the original's training, step by step, through the real loop."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from minigpt4.common.checkpoint import load_checkpoint_file
from minigpt4.common.settings import ModelSettings, ProcessorSettings, RunSettings
from minigpt4.datasets.schema import Batch
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.processors.image import Blip2ImageTrainProcessor
from minigpt4.runners.checkpointing import read_checkpoint
from minigpt4.runners.device import build_accelerator
from minigpt4.runners.records import read_records
from minigpt4.runners.runner_base import RunnerBase
from minigpt4.tasks.base import BaseTask, TrainingData

FIXTURES = Path(__file__).parents[1] / "fixtures"
PARITY = FIXTURES / "parity"
ORIGINAL: dict[str, Any] = json.loads(
    (FIXTURES / "training" / "train_trajectory.json").read_text("utf-8")
)
PICTURES = ["noise_131x97", "gradient_640x480", "blocks_300x700", "china"]
ITERS = 6


def reference_model() -> MiniGPTv2:
    settings = ModelSettings(
        vit_config={"embed_dim": 64, "depth": 2, "num_heads": 4},
        vit_weights="random",
        llama_model=str(PARITY / "tiny_llama_vi1000"),
        lora_r=8,
        lora_alpha=16,
        lora_dropout=0.0,
        chat_template=True,
        max_txt_len=1024,
        end_sym="</s>",
        ckpt=str(PARITY / "state_dict.pt"),
    )
    return MiniGPTv2.from_config(settings, torch.device("cpu"))


@pytest.fixture(scope="module")
def batches() -> list[Batch]:
    """The two batches that the original alternated between, their pictures encoded."""
    processor = Blip2ImageTrainProcessor.from_config(
        ProcessorSettings(name="blip2_image_train", image_size=448)
    )
    files = [next((FIXTURES / "images").glob(f"{name}.*")) for name in PICTURES]
    image = torch.stack([processor(Image.open(file).convert("RGB")) for file in files])
    features = reference_model().encode_image_features(image)
    q1, q2, q3 = ORIGINAL["texts"]
    a1, a2, a3 = ORIGINAL["answers"]
    return [
        Batch(image_features=features[:2], instruction_input=[q1, q2], answer=[a1, a2]),
        Batch(image_features=features[2:], instruction_input=[q3, q1], answer=[a3, a2]),
    ]


def trained(
    folder: Path, batches: list[Batch], *, resume: Path | None = None, **settings: Any
) -> RunnerBase:
    """The run of the reference values, on the reference model."""
    model = reference_model()
    if resume is not None:
        model.load_checkpoint(str(resume))

    def train_batches(epoch: int, first: int) -> Iterator[Batch]:
        return iter([batches[step % 2] for step in range(first, ITERS)])

    run = RunSettings(
        device="cpu", max_epoch=2, iters_per_epoch=ITERS, log_freq=1, init_lr=1e-2, min_lr=1e-3,
        warmup_lr=1e-3, warmup_steps=3, weight_decay=0.05, **settings,
    )  # fmt: skip
    accelerator, _ = build_accelerator(run)
    folder.mkdir(exist_ok=True)
    runner = RunnerBase(
        run=run,
        config={},
        task=BaseTask(),
        model=model,
        data=TrainingData(iters_per_epoch=ITERS, batch_size=2, train_batches=train_batches),
        folder=folder,
        accelerator=accelerator,
        checkpoint=None if resume is None else read_checkpoint(resume),
    )
    runner.train()
    return runner


def logged(folder: Path, name: str) -> list[float]:
    return [r[name] for r in read_records(folder / "log.txt") if r["kind"] == "train"]


def test_losses_and_rates_follow_the_original(tmp_path: Path, batches: list[Batch]) -> None:
    runner = trained(tmp_path, batches)
    assert logged(tmp_path, "lr") == pytest.approx(ORIGINAL["accum1"]["lrs"], rel=1e-12)
    assert logged(tmp_path, "loss") == pytest.approx(ORIGINAL["accum1"]["losses"], rel=1e-5)
    groups = [[len(g["params"]), g["weight_decay"]] for g in runner.optimizer.param_groups]
    assert groups == ORIGINAL["accum1"]["groups"]
    assert [round(e["train_loss"], 3) for e in runner.result.epochs] == [
        float(epoch["loss"]) for epoch in ORIGINAL["accum1"]["stats"]
    ]


def test_accumulating_divides_the_loss(tmp_path: Path, batches: list[Batch]) -> None:
    """The original sums; AdamW takes the scale out again but for its epsilon, so values agree."""
    trained(tmp_path, batches, accum_grad_iters=2)
    assert logged(tmp_path, "loss") == pytest.approx(ORIGINAL["accum2"]["losses"], rel=1e-4)


def test_a_checkpoint_of_the_original_goes_on_at_its_next_epoch(
    tmp_path: Path, batches: list[Batch]
) -> None:
    ours = tmp_path / "ours" / "checkpoint_0.pth"
    trained(ours.parent, batches)
    content = load_checkpoint_file(ours)
    # What the original would have written here: no meta, and a derived buffer among the weights.
    buffer = "llama_model.base_model.model.model.layers.0.self_attn.rotary_emb.inv_freq"
    for group in content.extra["optimizer"]["param_groups"]:
        del group["lr_scale"], group["fused"]
    original = tmp_path / "original.pth"
    torch.save(
        {
            "model": {**content.model, buffer: torch.ones(8)},
            "optimizer": content.extra["optimizer"],
            "config": {},
            "scaler": None,
            "epoch": 0,
        },
        original,
    )
    trained(tmp_path / "again", batches, resume=original)
    assert logged(tmp_path / "again", "loss") == pytest.approx(
        ORIGINAL["accum1"]["losses"][ITERS:], rel=1e-5
    )


def test_the_originals_own_checkpoint_loads(tmp_path: Path, batches: list[Batch]) -> None:
    """Names, order of the optimizer's tensors and epoch of a file that the original wrote."""
    original = PARITY / "original_checkpoint_1.pth"
    content = torch.load(original, weights_only=True)
    runner = trained(tmp_path, batches, resume=original)
    assert runner.result.epochs == []  # it ends at epoch 1, the last of the run
    weights = runner.model.trainable_state_dict()
    for name, value in weights.items():
        if name in content["model"]:
            assert torch.equal(value, content["model"][name]), name
    moments = runner.optimizer.state_dict()["state"]
    for index, state in content["optimizer"]["state"].items():
        assert torch.equal(moments[index]["exp_avg"], state["exp_avg"])
