"""Devices that are there or not, and the precision that suits them."""

from __future__ import annotations

import pytest
import torch
from tiny_model import tiny_model

from minigpt4.common.device import check_device
from minigpt4.common.errors import ConfigError, ResourceError
from minigpt4.common.settings import RunSettings
from minigpt4.models import precision as precisions
from minigpt4.models.precision import choose_precision, fit_weights
from minigpt4.runners.device import build_accelerator

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_a_missing_gpu_is_told_with_the_option_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"--options run\.device=cpu"):
        check_device("cuda")


def test_a_gpu_number_that_does_not_exist_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert check_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(ResourceError, match="only 2 GPUs"):
        check_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "meta"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="cuda, cpu or mps"):
        check_device(name)


@pytest.mark.parametrize(
    ("device", "amp", "bf16", "mixed"),
    [
        (CPU, False, True, "no"),
        (CPU, True, True, "bf16"),
        (CPU, True, False, "no"),
        (CUDA, True, True, "bf16"),
        (CUDA, True, False, "fp16"),
        (CUDA, False, True, "no"),
        (torch.device("mps"), True, True, "no"),
    ],
)
def test_precision_follows_the_device(
    device: torch.device, amp: bool, bf16: bool, mixed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precisions, "_cpu_gains_from_bf16", lambda: bf16)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: bf16)
    assert choose_precision(device, amp=amp).mixed == mixed


@pytest.mark.parametrize(
    ("avx", "amx", "bf16", "gains"),
    [
        (True, False, 0.7, True),
        (True, False, 0.9, False),
        (False, False, 0.1, False),
        (True, True, 2.0, True),
    ],
)
def test_bf16_instructions_have_to_be_quicker(
    avx: bool, amx: bool, bf16: float, gains: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: avx, raising=False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: amx, raising=False)
    seconds = {torch.bfloat16: bf16, torch.float32: 1.0}
    monkeypatch.setattr(precisions, "_product_seconds", seconds.__getitem__)
    assert precisions._cpu_gains_from_bf16.__wrapped__() is gains


def test_products_are_timed() -> None:
    assert 0 < precisions._product_seconds(torch.float32) < 10


def test_runs_of_different_precision_can_follow_one_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(precisions, "_cpu_gains_from_bf16", lambda: True)
    for amp, expected in ((True, "bf16"), (False, "no"), (True, "bf16")):
        accelerator, _ = build_accelerator(RunSettings(device="cpu", amp=amp))
        assert accelerator.mixed_precision == expected
        assert accelerator.device.type == "cpu"


def test_frozen_matrices_are_kept_as_mixed_precision_would_cast_them() -> None:
    """Losses and gradients stay the same bit by bit, and the model still answers."""
    model = tiny_model.__wrapped__().train()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    samples = {"instruction_input": ["màu gì ", "gì "], "answer": ["xanh", "con mèo"]}

    def run() -> list[torch.Tensor]:
        model.zero_grad()
        torch.manual_seed(0)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            loss = model(samples)["loss"]
        loss.backward()
        return [loss.detach(), *(p.grad for p in model.parameters() if p.grad is not None)]

    before = run()
    model.llama_proj.weight.data = model.llama_proj.weight.data.half()
    fit_weights(model, "bf16")
    types = {n.rpartition(".")[0]: p.dtype for n, p in model.llama_model.named_parameters()}
    layer = "base_model.model.model.layers.0."
    assert types[layer + "self_attn.q_proj.base_layer"] == torch.bfloat16
    assert types[layer + "mlp.up_proj"] == torch.bfloat16
    assert types[layer + "self_attn.q_proj.lora_A.default"] == torch.float32
    assert types[layer + "input_layernorm"] == torch.float32
    assert types["base_model.model.model.embed_tokens"] == torch.float32
    assert model.llama_proj.weight.dtype == torch.float32, "it trains"
    assert all(map(torch.equal, before, run()))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert len(model.generate(texts=["màu gì "], max_new_tokens=3)) == 1


def test_a_head_that_is_also_the_embedding_keeps_its_type() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2,
        vocab_size=10, tie_word_embeddings=True,
    )  # fmt: skip
    model = torch.nn.Module()
    model.llama_model = LlamaForCausalLM(config).requires_grad_(False)
    fit_weights(model, "bf16")
    assert model.llama_model.lm_head.weight is model.llama_model.model.embed_tokens.weight
    assert model.llama_model.lm_head.weight.dtype == torch.float32
    assert model.llama_model.model.layers[0].mlp.up_proj.weight.dtype == torch.bfloat16
