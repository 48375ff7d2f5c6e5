"""The own pass through decoders like Llama against transformers' pass, values and gradients."""

from __future__ import annotations

from typing import Any

import peft
import pytest
import torch
import transformers
from conftest import batch, build, pictures, small_settings

from minigpt4.models.decoder import Decoder, decoder_of
from minigpt4.models.decoding.room import cache_with_room
from minigpt4.models.fused import linear
from minigpt4.models.llm import add_lora

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "vocab_size": 60,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL, num_key_value_heads=4),
    "llama, stretched positions": lambda: transformers.LlamaConfig(
        **SMALL, rope_parameters={"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    ),
    "llama, another activation": lambda: transformers.LlamaConfig(**SMALL, hidden_act="gelu"),
    "grouped queries, window": lambda: transformers.MistralConfig(
        **SMALL, num_key_value_heads=2, sliding_window=20
    ),
    "biases": lambda: transformers.Qwen2Config(**SMALL, num_key_value_heads=1),
    "normed heads": lambda: transformers.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=16),
}
LENGTHS = {"mixed": [5, 12, 1, 9], "even": [7, 7, 7], "single": [11]}


@pytest.fixture(scope="module", params=CONFIGS)
def model(request) -> Any:
    """Everything in it trains, and nothing is at its start."""
    torch.manual_seed(0)
    made = transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]()).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return made


def rows_of(model: Any, lengths: list[int]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(0, 60, (sum(lengths),), generator=generator)
    return model.get_input_embeddings()(ids).detach().requires_grad_()


def separately(model: Any, embeds: torch.Tensor, lengths: list[int]) -> torch.Tensor:
    """Logits (T, V) of transformers' own pass, each sequence alone."""
    return torch.cat([model(inputs_embeds=e[None]).logits[0] for e in embeds.split(lengths)])


def gradients(model: Any, embeds: torch.Tensor, logits: torch.Tensor) -> dict[str, torch.Tensor]:
    """Of a weighted sum of the logits, for the embeddings and for every parameter."""
    weights = torch.randn(logits.shape, generator=torch.Generator().manual_seed(2))
    named = {"embeds": embeds} | {n: p for n, p in model.named_parameters() if p.requires_grad}
    found = torch.autograd.grad((logits * weights).sum(), named.values(), allow_unused=True)
    return {n: g for n, g in zip(named, found, strict=True) if g is not None}


def check_alike(model: Any, lengths: list[int], wanted: list[int], *, rtol: float = 1e-4) -> None:
    embeds = rows_of(model, lengths)
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    expected = separately(model, embeds, lengths)[wanted]
    decoder = decoder_of(model)
    assert decoder is not None
    assert decoder.takes(max(lengths))
    calls: list[Any] = []
    handle = base.model.layers[0].register_forward_hook(lambda *call: calls.append(call))
    found = decoder.head(decoder.hidden(embeds, lengths, torch.tensor(wanted)))
    handle.remove()
    assert not calls, "transformers' layers are not to run"
    torch.testing.assert_close(found, expected, rtol=rtol, atol=1e-5)
    theirs, ours = gradients(model, embeds, expected), gradients(model, embeds, found)
    assert set(theirs) == set(ours)
    for name, gradient in theirs.items():
        scale = gradient.abs().max().item()
        torch.testing.assert_close(ours[name], gradient, rtol=rtol, atol=rtol * scale, msg=name)


@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
@pytest.mark.parametrize("how", ["last", "some", "all"])
def test_values_and_gradients_of_separate_sequences(model, lengths, how):
    total = sum(lengths)
    ends = torch.tensor(lengths).cumsum(0) - 1
    wanted = {"last": ends.tolist(), "some": [2, 3], "all": list(range(total))}[how]
    check_alike(model, lengths, wanted)


def test_long_sequences_one_by_one(monkeypatch):
    """Where filling up costs more than calls, each sequence is a call of its own."""
    from minigpt4.models import segments

    monkeypatch.setattr(segments, "_CALL", 0)
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(CONFIGS["llama"]()).eval()
    check_alike(model, LENGTHS["mixed"], [1, 26])


@pytest.mark.parametrize("bias", [False, True])
def test_lora_everywhere(bias):
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**SMALL, attention_bias=bias))
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj", "lm_head"]
    model.requires_grad_(False)
    model = add_lora(model, small_settings(lora_target_modules=targets, lora_r=4)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.normal_(std=0.3)
    wanted = [3, 4, 16, 26]
    check_alike(model, LENGTHS["mixed"], wanted)
    embeds = rows_of(model, LENGTHS["mixed"])
    decoder = decoder_of(model)
    assert decoder is not None

    def logits() -> torch.Tensor:
        with torch.no_grad():
            return decoder.head(decoder.hidden(embeds, LENGTHS["mixed"], torch.tensor(wanted)))

    adapted = logits()
    with model.disable_adapter():
        plain = logits()
        assert not torch.allclose(plain, adapted, atol=0.1)
        check_alike(model, LENGTHS["mixed"], wanted)
    model.merge_adapter()
    torch.testing.assert_close(logits(), adapted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", ["lora", "dora", "two adapters"])
def test_lora_with_dropout_and_its_relatives(kind):
    """In training, with dropout that drops nothing that matters: the path of each is its own."""
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(0)
    config = LoraConfig(
        r=4, lora_alpha=8, lora_dropout=1e-9, target_modules=["q_proj"], use_dora=kind == "dora"
    )
    model = get_peft_model(transformers.LlamaForCausalLM(CONFIGS["llama"]()), config)
    if kind == "two adapters":
        model.add_adapter("other", config)
        model.base_model.set_adapter(["default", "other"])
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    check_alike(model.train(), LENGTHS["mixed"], [3, 4, 26])


def test_checkpointing_keeps_no_layer(monkeypatch):
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(CONFIGS["llama"]()).train()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    check_alike(model, LENGTHS["mixed"], [3, 4, 26])

    def kept() -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
            lambda t: (sizes.append(t.numel()), t)[1], lambda t: t
        ):
            decoder = decoder_of(model)
            assert decoder is not None
            decoder.hidden(rows_of(model, [30]), [30], torch.tensor([29]))
        return sum(sizes)

    saving = kept()
    model.gradient_checkpointing_disable()
    assert saving < kept() / 3


@torch.no_grad()
@pytest.mark.parametrize("keep", [1, 2])
def test_reading_prompts_fills_the_cache(model, keep):
    lengths = [5, 12, 2]
    rows = rows_of(model, lengths).split(lengths)
    embeds = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left")
    mask = (torch.arange(12) >= 12 - torch.tensor(lengths)[:, None]).long()
    cache = transformers.DynamicCache(config=model.config)
    decoder = decoder_of(model)
    assert decoder is not None
    first = decoder.read(embeds, mask, cache, keep)  # (3, keep, V)
    after = torch.tensor([[4], [5], [6]])
    second = model(
        input_ids=after,
        attention_mask=torch.cat([mask, mask.new_ones(3, 1)], dim=1),
        position_ids=torch.tensor(lengths)[:, None],
        past_key_values=cache,
    ).logits
    for row, prompt in enumerate(rows):
        whole = torch.cat([prompt, model.get_input_embeddings()(after[row])])
        expected = model(inputs_embeds=whole[None]).logits[0]
        torch.testing.assert_close(first[row], expected[-1 - keep : -1], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(second[row, 0], expected[-1], rtol=1e-4, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("lengths", [[5, 12, 2], [6, 6, 6]])
def test_going_on_after_prompts(model, lengths):
    decoder = decoder_of(model)
    assert decoder is not None
    rows = list(rows_of(model, lengths).split(lengths))
    longest = max(lengths)
    embeds = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_side="left")
    mask = (torch.arange(longest) >= longest - torch.tensor(lengths)[:, None]).long()
    cache = cache_with_room(model.config)
    decoder.read(embeds, mask, cache, 1)
    for number, count in enumerate([1, 4, 1]):
        after = torch.arange(3 * count).reshape(3, count) + 7 * number
        new = model.get_input_embeddings()(after)
        positions = mask.sum(-1, keepdim=True) + torch.arange(count)
        mask = torch.cat([mask, mask.new_ones(3, count)], dim=1)
        keep = min(2, count)
        given = None if bool(mask.all()) else mask
        found = decoder.go_on(new, positions, given, cache, keep)  # (3, keep, V)
        for row in range(3):
            rows[row] = torch.cat([rows[row], new[row]])
            expected = model(inputs_embeds=rows[row][None]).logits[0, -keep:]
            torch.testing.assert_close(found[row], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("how", ["beside", "merged", "off", "merged, then off", "dropping"])
def test_few_rows_through_lora(how):
    torch.manual_seed(0)
    plain = torch.nn.Linear(12, 20)
    config = peft.LoraConfig(r=4, target_modules=["0"], lora_dropout=0.5)
    layer = peft.inject_adapter_in_model(config, torch.nn.Sequential(plain))[0].eval()
    torch.nn.init.normal_(layer.lora_B["default"].weight)
    if "merged" in how:
        layer.merge()
    if "off" in how:
        layer.enable_adapters(False)
    layer.train(how == "dropping")
    for count in (2, 3, 48, 49):
        x = torch.randn(count, 12)
        with torch.no_grad():
            torch.manual_seed(1)
            found = linear(layer, x)
            torch.manual_seed(1)
            torch.testing.assert_close(found, layer(x))
            torch.testing.assert_close(linear(plain, x), plain(x))


def test_mixed_precision_is_as_near_as_transformers_own():
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(CONFIGS["llama"]())
    model = add_lora(model, small_settings(lora_r=4)).eval()
    lengths, wanted = LENGTHS["mixed"], torch.tensor([3, 26])
    embeds = rows_of(model, lengths)
    exact = separately(model, embeds, lengths)[wanted]
    decoder = decoder_of(model)
    assert decoder is not None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        theirs = separately(model, embeds, lengths)[wanted]
        ours = decoder.head(decoder.hidden(embeds, lengths, wanted))
    assert ours.dtype == theirs.dtype == torch.bfloat16
    assert (ours - exact).norm() < 1.5 * (theirs - exact).norm()
    found = gradients(model, embeds, ours)
    for name, gradient in gradients(model, embeds, exact).items():
        assert (found[name] - gradient).norm() <= 0.05 * gradient.norm(), name


def test_half_precision_weights():
    torch.manual_seed(0)
    model = transformers.LlamaForCausalLM(CONFIGS["llama"]()).eval().to(torch.bfloat16)
    lengths, wanted = LENGTHS["mixed"], torch.tensor([3, 26])
    embeds = rows_of(model, lengths)
    theirs = separately(model, embeds, lengths)[wanted]
    decoder = decoder_of(model)
    assert decoder is not None
    ours = decoder.head(decoder.hidden(embeds, lengths, wanted))
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours.float(), theirs.float(), rtol=0.1, atol=0.05)


def test_what_is_left_to_transformers():
    window = Decoder(transformers.MistralForCausalLM(CONFIGS["grouped queries, window"]()))
    assert window.takes(20)
    assert not window.takes(21)
    assert decoder_of(transformers.GPT2LMHeadModel(transformers.GPT2Config(n_layer=1))) is None
    gemma = transformers.GemmaConfig(**SMALL, head_dim=8)  # its norms add one to their weights
    assert decoder_of(transformers.GemmaForCausalLM(gemma)) is None
    wrapped = transformers.LlamaForCausalLM(CONFIGS["llama"]())
    wrapped.model.layers[1] = torch.nn.Sequential(wrapped.model.layers[1])
    assert not Decoder(wrapped).takes(5)
    spread = transformers.LlamaForCausalLM(CONFIGS["llama"]())
    spread.hf_device_map = {"model.layers.0": 0, "model.layers.1": 1}
    assert not Decoder(spread).takes(5)


CASES = {
    "pictures": lambda: batch(3),
    "text": lambda: {"instruction_input": ["gì ", "màu gì vậy "], "answer": ["hai", "xanh lá"]},
    "conversation": lambda: {
        "image": pictures(2),
        "conv_q": ["<Img><ImageHere></Img> gì !@#màu gì ", "<Img><ImageHere></Img> màu "],
        "conv_a": ["con mèo!@#đỏ", "hai"],
        "connect_sym": ["!@#", "!@#"],
    },
    "several pictures": lambda: {
        "image": pictures(4).unflatten(0, (2, 2)),
        "length": [2, 1],
        "instruction_input": [
            "<Img><ImageHere></Img><Img><ImageHere></Img> khác gì ",
            "<Img><ImageHere></Img> gì ",
        ],
        "answer": ["màu", "hai"],
    },
}


@pytest.mark.parametrize("samples", CASES.values(), ids=CASES)
def test_the_whole_models_loss_and_gradients(samples):
    targets = ["q_proj", "v_proj", "down_proj", "lm_head"]
    model = build(small_settings(lora_target_modules=targets, lora_dropout=0.0)).train()
    for parameter in model.llama_model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.1)

    def run(reduction: Any) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        model.zero_grad()
        loss = model(samples(), reduction=reduction)["loss"]
        loss.sum().backward()
        found = {n: p.grad for n, p in model.named_parameters() if p.requires_grad}
        assert all(g is not None for g in found.values())
        return loss.detach(), {n: g.clone() for n, g in found.items() if g is not None}

    decoder = model.decoder
    assert decoder is not None
    for reduction in ("mean", "none"):
        model.decoder = decoder
        loss, found = run(reduction)
        model.decoder = None
        expected_loss, expected = run(reduction)
        torch.testing.assert_close(loss, expected_loss, rtol=1e-5, atol=1e-6)
        for name, gradient in expected.items():
            scale = gradient.abs().max().item()
            torch.testing.assert_close(
                found[name], gradient, rtol=1e-4, atol=1e-4 * scale, msg=name
            )


def test_without_any_target_every_gradient_is_zero():
    model = build(small_settings()).train()
    model.sequences.end_sym = ""
    loss = model(batch(2, answer=["", ""]))["loss"]
    loss.backward()
    assert loss.item() == 0
    assert all(
        p.grad is not None and not p.grad.any() for p in model.parameters() if p.requires_grad
    )
