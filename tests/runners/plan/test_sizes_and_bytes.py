"""Sizes from configurations, and bytes of weights, against models that are really built."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from minigpt4.common.optims import build_optimizer
from minigpt4.common.settings import ModelSettings, RunSettings
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.runners.plan.known import KNOWN, known_config
from minigpt4.runners.plan.memory import (
    TRAINED,
    Machine,
    language_weights,
    trained_parameters,
)
from minigpt4.runners.plan.sizes import language_sizes, model_sizes

PARITY = Path(__file__).parents[2] / "fixtures" / "parity"
CPU = Machine(device="cpu", mixed="no")


def settings(**changes: Any) -> ModelSettings:
    values: dict[str, Any] = {
        "image_size": 56,
        "vit_config": {"embed_dim": 64, "depth": 2, "num_heads": 4},
        "vit_weights": "random",
        "llama_model": str(PARITY / "tiny_llama_vi1000"),
        "lora_r": 8,
    }
    return ModelSettings(**(values | changes))


def build(given: ModelSettings) -> MiniGPTv2:
    return MiniGPTv2.from_config(given, torch.device("cpu"))


def stored(module: nn.Module) -> int:
    """Bytes of weights, with what bitsandbytes keeps beside them."""
    total = 0
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            continue
        total += parameter.nbytes
        state = getattr(parameter, "quant_state", None)
        if state is not None:
            inner = state.state2
            parts = [state.absmax, state.code, state.offset, inner.absmax, inner.code]
            total += sum(part.nbytes for part in parts)
        scale = getattr(parameter, "SCB", None)
        total += 0 if scale is None else scale.nbytes
    return total


@pytest.mark.parametrize(
    "changes", [{}, {"load_in_4bit": True}, {"low_resource": True}, {"llm_precision": "bf16"}]
)
def test_bytes_of_the_language_model_are_exact(changes: dict[str, Any]) -> None:
    given = settings(**changes)
    expected = language_weights(language_sizes(given), given, CPU)
    assert stored(build(given).llama_model) == expected


@pytest.mark.parametrize("targets", [["q_proj", "v_proj"], ["k_proj", "down_proj", "lm_head"]])
def test_what_trains_takes_sixteen_bytes_a_parameter(targets: list[str]) -> None:
    given = settings(lora_target_modules=targets)
    model = build(given)
    optimizer = build_optimizer(model, RunSettings())
    trained = [p for group in optimizer.param_groups for p in group["params"]]
    for parameter in trained:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [optimizer.state[p][name] for p in trained for name in ("exp_avg", "exp_avg_sq")]
    found = sum(t.nbytes for p in trained for t in (p, p.grad) if t is not None)
    found += sum(moment.nbytes for moment in moments)
    assert found == TRAINED * sum(trained_parameters(given, model_sizes(given)).values())


@pytest.mark.parametrize(
    ("vit", "config"),
    [
        ("eva_clip_g", {"embed_dim": 64, "depth": 2, "num_heads": 4}),
        ("timm/tf_efficientnet_lite0", {"out_indices": [2, 3, 4], "position_channels": 16}),
        ("timm/vit_tiny_patch16_224", None),
    ],
)
def test_an_encoder_has_the_sizes_of_the_one_that_is_built(vit: str, config: Any) -> None:
    given = settings(
        vit_model=vit, vit_config=config, image_size=64 if vit != "eva_clip_g" else 56,
        token_merge="none",
    )  # fmt: skip
    model, sizes = build(replace(given, freeze_vit=False)), model_sizes(given)
    encoder = model.visual_encoder
    assert sizes.vision.parameters == sum(p.numel() for p in encoder.parameters())
    pixels = torch.zeros(1, 3, given.image_size, given.image_size)
    assert sizes.vision.cached_elements == model.encode_image_features(pixels).numel()
    assert sizes.projection == sum(p.numel() for p in model.llama_proj.parameters())


def test_the_published_sizes_make_the_published_numbers_of_parameters() -> None:
    seven = language_sizes(settings(llama_model="meta-llama/Llama-2-7b-chat-hf"))
    thirteen = language_sizes(settings(llama_model="meta-llama/Llama-2-13b-chat-hf"))
    assert (seven.parameters, thirteen.parameters) == (6_738_415_616, 13_015_864_320)
    assert seven.layers == 32 and seven.vocabulary == 32_000
    assert set(KNOWN) >= {"llama-2-7b-chat-hf", "vicuna-7b"}
    assert known_config("/models/Llama-2-7b-chat-hf/") == known_config("x/llama-2-7b-chat-hf")
    assert known_config("x/another") is None


def test_a_tied_output_layer_counts_once(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=100, tie_word_embeddings=True,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    config.save_pretrained(tmp_path)
    sizes = language_sizes(settings(llama_model=str(tmp_path)))
    assert sizes.parameters == sum(p.numel() for p in model.parameters())
    assert (sizes.query_width, sizes.value_width) == (64, 32)
