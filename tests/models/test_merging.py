"""LoRA merged for a while: the same answers, and not a bit of the weights changed afterwards."""

from __future__ import annotations

import copy
import threading

import pytest
import torch
from conftest import build, pictures, small_settings
from test_answers import PROMPTS

from minigpt4.models import merging
from minigpt4.models.merging import LoraMerger
from minigpt4.models.minigpt_v2 import MiniGPTv2


@pytest.fixture
def model() -> MiniGPTv2:
    """With adapters that do something, as they do after training."""
    built = build(
        small_settings(lora_target_modules=["q_proj", "v_proj", "lm_head"], lora_dropout=0.0)
    )
    generator = torch.Generator().manual_seed(1)
    for name, parameter in built.llama_model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return built


def weights(model: MiniGPTv2) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def layers(model: MiniGPTv2) -> list[torch.nn.Module]:
    return [module for module in model.llama_model.modules() if hasattr(module, "lora_A")]


def test_answers_are_those_of_the_adapters(model, monkeypatch):
    before = weights(model)
    with monkeypatch.context() as patch:
        patch.setattr(merging, "_pays", lambda *_: False)
        plain = model.generate_scored(pictures(3), PROMPTS, max_new_tokens=8)
    with model.lora.merged() as count:
        assert count == len(layers(model)) == 5
        assert all(each.merged for each in layers(model))
        found = model.generate_scored(pictures(3), PROMPTS, max_new_tokens=8)
    for expected, got in zip(plain, found, strict=True):
        assert got.token_ids == expected.token_ids
        assert got.logprobs == pytest.approx(expected.logprobs, rel=1e-4, abs=1e-5)
    # The adapters do matter, or the test would say nothing.
    with model.llama_model.disable_adapter():
        without = model.generate_scored(pictures(3), PROMPTS, max_new_tokens=8)
    assert without[0].logprobs != pytest.approx(plain[0].logprobs, rel=1e-2)
    after = model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not any(each.merged for each in layers(model))


def test_a_head_tied_to_the_embeddings_leaves_them_alone(model):
    base = model.llama_model.get_base_model()
    table = base.get_input_embeddings().weight
    base.lm_head.base_layer.weight = table
    before = table.clone()
    with model.lora.merged() as count:
        assert count == len(layers(model)) - 1
        assert torch.equal(table, before)


def test_training_goes_on_with_the_same_numbers(model):
    samples = {
        "image": pictures(1),
        "instruction_input": ["<Img><ImageHere></Img> [vqa] gì "],
        "answer": ["hai"],
    }
    before = model(samples)["loss"]
    with torch.inference_mode(), model.lora.merged():
        model.generate_scored(pictures(1), PROMPTS[:1], max_new_tokens=2)
    model.train()
    loss = model(samples)["loss"]
    loss.backward()
    assert loss.item() == before.item()
    assert all(p.grad is not None for n, p in model.named_parameters() if "lora_A" in n)


def test_only_where_it_costs_less_than_it_saves(model):
    with model.lora.merged(1) as few, model.lora.merged(10_000) as nested:
        assert (few, nested) == (0, 5)
    with model.lora.merged(10_000) as many:
        assert many == 5


def test_several_threads_share_what_the_first_merged(model):
    seen = []

    def answer() -> None:
        with model.lora.merged():
            barrier.wait(timeout=10)
            seen.append(all(each.merged for each in layers(model)))

    barrier = threading.Barrier(3)
    threads = [threading.Thread(target=answer) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 3
    assert not any(each.merged for each in layers(model))


def test_weights_come_back_after_an_error(model):
    before = weights(model)
    with pytest.raises(RuntimeError), model.lora.merged():
        raise RuntimeError
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_half_precision_is_no_further_from_the_exact_answer_than_adapters_are(model):
    """Outputs of one layer against float64, merged and not."""
    layer = layers(model)[0].to(torch.bfloat16)
    up, down = layer.lora_B["default"].weight, layer.lora_A["default"].weight
    x = torch.randn(64, down.shape[1], generator=torch.Generator().manual_seed(2)).bfloat16()
    exact = x.double() @ layer.base_layer.weight.double().T
    exact += layer.scaling["default"] * (x.double() @ down.double().T @ up.double().T)

    def error(y: torch.Tensor) -> float:
        return (y.double() - exact).norm().item()

    with torch.no_grad():
        apart = error(layer(x))
        with model.lora.merged() as count:
            assert count == 5
            assert error(layer(x)) < 1.1 * apart


def test_a_copy_of_a_model_is_merged_by_itself(model):
    with model.lora.merged():
        pass
    twin = copy.deepcopy(model)
    with twin.lora.merged():
        assert all(each.merged for each in layers(twin))
        assert not any(each.merged for each in layers(model))


def test_a_model_without_lora_is_left_alone():
    with LoraMerger(torch.nn.Linear(2, 2)).merged() as count:
        assert count == 0
