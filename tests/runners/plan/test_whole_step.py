"""The estimate of a whole step against the peak of the project's own model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from allocated import peak_of
from transformers import LlamaConfig, LlamaForCausalLM

from minigpt4.common.settings import ModelSettings
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.models.precision import fit_weights
from minigpt4.runners.plan.memory import Machine, Workload, estimate
from minigpt4.runners.plan.sizes import model_sizes

PARITY = Path(__file__).parents[2] / "fixtures" / "parity"
LAYERS, BATCH = 8, 4
LEAST, MOST = 0.95, 1.35
"""Estimate over measured. The last layer, an eighth here, is estimated whole, while the model only
passes the answers through it."""


@pytest.mark.parametrize("mixed", ["no", "bf16"])
@pytest.mark.parametrize("checkpoint", [False, True])
def test_what_comes_and_goes_in_a_step(mixed: str, checkpoint: bool, tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=128, num_hidden_layers=LAYERS, num_attention_heads=4,
        intermediate_size=344, vocab_size=1000,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    tokenizer = PARITY / "tiny_llama_vi1000" / "tokenizer.model"
    (tmp_path / "tokenizer.model").write_bytes(tokenizer.read_bytes())
    settings = ModelSettings(
        image_size=224, vit_config={"embed_dim": 64, "depth": 1, "num_heads": 4},
        vit_weights="random", llama_model=str(tmp_path), lora_r=8, chat_template=True,
        max_txt_len=64, end_sym="</s>", use_grad_checkpoint_llm=checkpoint,
    )  # fmt: skip
    model = MiniGPTv2.from_config(settings, torch.device("cpu")).train()
    fit_weights(model, mixed)
    samples: Any = {
        "image": torch.randn(BATCH, 3, 224, 224),
        "instruction_input": ["<Img><ImageHere></Img> [vqa] " + "màu gì đây " * 8] * BATCH,
        "answer": ["màu xanh lá cây"] * BATCH,
    }
    spliced = model.prepare(samples)
    answer = int((spliced.labels >= 0).sum()) // BATCH
    work = Workload(batch=BATCH, positions=spliced.inputs_embeds.shape[-2], answer=answer)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed != "no"):
            loss = model(samples)["loss"]
        loss.backward()

    step()
    found = estimate(settings, model_sizes(settings), work, Machine(device="cpu", mixed=mixed))
    assert LEAST < (found.total - found.stays) / peak_of(step) < MOST
    copies = {item.name: item.bytes for item in found.items if "encoder's weights" in item.name}
    kept = model.visual_encoder._narrow._kept
    layers = [] if kept is None else [kept.patches]
    for block in [] if kept is None else kept.blocks:
        layers += [block.heads, block.output, block.up, block.down]
    held = sum(tensor.nbytes for layer in layers for tensor in layer)
    assert (mixed == "bf16") == bool(copies)
    assert 0.4 * sum(copies.values()) <= held <= sum(copies.values())
