"""Steps with weights laid out for a few rows: values of the usual steps, and never stale ones."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
import torch
import transformers
from conftest import build, pictures, small_settings
from test_answers import PROMPTS
from torch.nn.utils.rnn import pad_sequence

from minigpt4.models import merging, packed
from minigpt4.models.decoding import Stepper
from minigpt4.models.llm import add_lora
from minigpt4.models.merging import LoraMerger
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.models.packed import PackedSteps
from minigpt4.models.products import can_lay_out

pytestmark = pytest.mark.skipif(not can_lay_out(torch.float32), reason="PyTorch without MKL")

needs_bf16 = pytest.mark.skipif(not can_lay_out(torch.bfloat16), reason="oneDNN without bfloat16")

SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": 60,
    "max_position_embeddings": 64,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "another activation, biases": lambda: transformers.LlamaConfig(
        **SMALL, hidden_act="gelu", attention_bias=True, mlp_bias=True
    ),
    "grouped queries": lambda: transformers.MistralConfig(
        **SMALL, num_key_value_heads=2, sliding_window=None
    ),
    "biases, tied": lambda: transformers.Qwen2Config(
        **SMALL, num_key_value_heads=1, tie_word_embeddings=True
    ),
    "normed heads": lambda: transformers.Qwen3Config(**SMALL, num_key_value_heads=2, head_dim=16),
}
TARGETS = ["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"]
IDS = [[3, 4, 5, 6, 7], [8, 9], [10, 11, 12]]


def language_model(name: str, *, lora: bool = False) -> Any:
    torch.manual_seed(0)
    model: Any = transformers.AutoModelForCausalLM.from_config(CONFIGS[name]())
    if lora:
        model = add_lora(model, small_settings(lora_target_modules=TARGETS, lora_r=4))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model.eval()


def stepper(model: Any, steps: PackedSteps | None, ids: list[list[int]] = IDS) -> Stepper:
    filled = pad_sequence([torch.tensor(i) for i in ids], batch_first=True, padding_side="left")
    embeds = model.get_input_embeddings()(filled)
    return Stepper(model, embeds, (filled > 0).long(), packed=steps)


def log_probabilities(
    model: Any, steps: PackedSteps | None, count: int = 12, *, greedy: bool = True
) -> torch.Tensor:
    """Of steps after three prompts, (count, B, V)."""
    with torch.no_grad():
        running = stepper(model, steps)
        logits = running.first()[:, -1]
        found = []
        for number in range(count):
            chosen = logits.argmax(-1) if greedy else torch.tensor([20, 30, 40])
            logits = running.next((chosen + number) % 60)
            found.append(logits.log_softmax(-1))
    return torch.stack(found)


def packer(model: Any) -> PackedSteps:
    return PackedSteps(model, LoraMerger(model))


def same(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.fixture
def counted(monkeypatch) -> list[int]:
    """Rows of each step that was made with weights laid out."""
    made: list[int] = []
    plain = packed.Packed.go_on

    def go_on(self: Any, embeds: torch.Tensor, *rest: Any) -> torch.Tensor:
        made.append(len(embeds))
        return plain(self, embeds, *rest)

    monkeypatch.setattr(packed.Packed, "go_on", go_on)
    return made


def rows(steps: PackedSteps) -> int | None:
    """That weights are laid out for; None for any, 0 where they are not."""
    return 0 if steps.kept is None else steps.kept.rows


@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("name", CONFIGS)
def test_padded_prompts_in_every_family(name, lora, counted):
    model = language_model(name, lora=lora)
    steps = packer(model)
    expected = log_probabilities(model, None)
    same(log_probabilities(model, steps), expected)
    assert counted == [3] * 12
    laid_out = steps.kept
    assert rows(steps) == 4
    with steps._merger.merged() as count:
        assert count == (2 * len(TARGETS) if lora else 0)
        same(log_probabilities(model, steps), expected)
    assert counted == [3] * 24
    assert steps.kept is laid_out, "laid out once, whether merged or not"


def test_laid_out_while_lora_is_merged(counted):
    model = language_model("llama", lora=True)
    steps = packer(model)
    expected = log_probabilities(model, None)
    with steps._merger.merged():
        log_probabilities(model, steps)
    same(log_probabilities(model, steps), expected)
    assert counted == [3] * 24
    with model.disable_adapter():
        plain = log_probabilities(model, steps)
        assert not torch.allclose(plain, expected, atol=0.1)


@torch.no_grad()
def test_rows_that_end_join_and_fork(counted):
    model = language_model("grouped queries")
    steps = packer(model)
    pair = [stepper(model, each) for each in (None, steps)]
    fresh = [stepper(model, each, [[20, 21], [22, 23, 24, 25, 26, 27]]) for each in (None, steps)]

    def alike(tokens: list[int]) -> None:
        same(*(each.next(torch.tensor(tokens)).log_softmax(-1) for each in pair))

    for each in (*pair, *fresh):
        each.first()
    for first in range(4):
        alike([first, 31, 32])
    for each in pair:
        each.select(torch.tensor([2, 0]))
    alike([33, 34])
    for each, other in zip(pair, fresh, strict=True):
        each.join(other)
    alike([35, 36, 37, 38])
    forks = [each.fork(torch.tensor([3, 1, 3])) for each in pair]
    tokens = [[40], [41, 42], [43]]
    same(*(each.append(tokens) for each in forks))
    same(*(each.append([[44], [45], [46]]) for each in forks))
    alike([47, 48, 49, 50])
    assert counted == [3, 3, 3, 3, 2, 4, 3, 4]


@torch.no_grad()
def test_each_number_of_rows_has_its_own_layout(counted):
    """Whatever was asked before, so that answers are the same to the last bit."""
    model = language_model("llama")
    steps = packer(model)
    alone = log_probabilities(model, steps)
    many = [[3, number] for number in range(4, 25)]
    pair = [stepper(model, each, many) for each in (None, steps)]
    for each in pair:
        each.first()
    counted.clear()
    for _ in range(5):
        same(*(each.next(torch.arange(21)).log_softmax(-1) for each in pair))
    assert (counted, rows(steps)) == ([21] * 5, 24)
    for each in pair:
        each.select(torch.arange(3))
    same(*(each.next(torch.arange(3)).log_softmax(-1) for each in pair))
    assert len(counted) == 5, "three rows filled up to 24 would be slower"
    assert torch.equal(log_probabilities(model, steps), alone)
    assert rows(steps) == 4
    too_many = [stepper(model, each, [[5]] * 49) for each in (None, steps)]
    for each in too_many:
        each.first()
    counted.clear()
    for _ in range(5):
        same(*(each.next(torch.arange(49)) for each in too_many))
    assert (counted, rows(steps)) == ([], 4)


def optimizer_step(model: Any) -> None:
    trained = [p for n, p in model.named_parameters() if "lora_" in n]
    for parameter in trained:
        parameter.grad = torch.ones_like(parameter)
    torch.optim.SGD(trained, lr=0.1).step()


def load(model: Any) -> None:
    model.load_state_dict({n: 0.8 * v for n, v in model.state_dict().items()})


def assign(model: Any) -> None:
    model.load_state_dict({n: 0.8 * v for n, v in model.state_dict().items()}, assign=True)


def scale(model: Any) -> None:
    model.base_model.model.model.layers[1].self_attn.v_proj.scaling["default"] *= 3


def element(model: Any) -> None:
    """In neither the first row nor the first column."""
    with torch.no_grad():
        model.base_model.model.lm_head.weight[5, 5] += 3


def put(model: Any) -> None:
    weight = model.base_model.model.lm_head.weight
    values = weight.detach().clone()
    values[5, 5] += 3
    weight.data = values


def freed(model: Any) -> None:
    """The new values may well lie where the first ones did."""
    put(model)
    put(model)


def row(model: Any) -> None:
    """No new version of the parameter."""
    model.base_model.model.lm_head.weight.data[2] *= 3


CHANGES = [optimizer_step, load, assign, scale, element, put, freed, row]


@pytest.mark.parametrize("change", CHANGES, ids=lambda each: each.__name__)
@pytest.mark.parametrize("merged", [False, True], ids=["apart", "merged"])
def test_changed_weights_are_noticed(change, merged, counted):
    model = language_model("llama", lora=True)
    steps = packer(model)
    if merged:
        with steps._merger.merged():
            before = log_probabilities(model, steps)
    else:
        before = log_probabilities(model, steps)
    assert len(counted) == 12
    old = steps.kept
    change(model)
    expected = log_probabilities(model, None)
    assert not torch.allclose(before, expected, atol=1e-2)
    same(log_probabilities(model, steps), expected)
    assert len(counted) == 24
    assert steps.kept is not old


def test_not_with_gradients_in_training_or_in_other_types(counted):
    model = language_model("llama")
    steps = packer(model)
    running = stepper(model, steps)
    running.first()
    for _ in range(3):
        assert running.next(torch.tensor([1, 2, 3])).requires_grad
    log_probabilities(model.train(), steps)
    with torch.autocast("cpu", dtype=torch.float16):
        log_probabilities(model.eval(), steps)
    assert (counted, rows(steps)) == ([], 0)
    log_probabilities(model, steps, 1)
    assert (counted, rows(steps)) == ([3], 4)
    log_probabilities(model.half(), steps)
    assert (counted, rows(steps)) == ([3], 4)


@needs_bf16
@pytest.mark.parametrize("how", ["autocast", "weights", "weights under autocast"])
@pytest.mark.parametrize("lora", [False, True], ids=["plain", "lora"])
@pytest.mark.parametrize("name", CONFIGS)
def test_in_bfloat16(name, lora, how, counted):
    """As close to float32 as the usual steps in bfloat16, merged or not within one autocast."""
    model = language_model(name, lora=lora)
    exact = log_probabilities(model, None, greedy=False)
    if "weights" in how:
        for module in model.modules():
            if type(module) is torch.nn.Linear and not module.weight.requires_grad:
                module.bfloat16()
    if how == "weights":
        model = model.bfloat16()
    steps = packer(model)
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled="autocast" in how):
        usual = log_probabilities(model, None, greedy=False)
        found = log_probabilities(model, steps, greedy=False)
        assert counted == [3] * 12
        assert torch.equal(log_probabilities(model, steps, greedy=False), found)
        with steps._merger.merged():
            merged = log_probabilities(model, steps, greedy=False)
    assert counted == [3] * 36
    assert found.dtype == torch.float32
    for each in (found, merged, usual):
        assert 0 < (each - exact).norm() / exact.norm() < 0.04


@needs_bf16
def test_a_layout_in_bfloat16_is_good_for_all_that_is_read(counted, monkeypatch):
    read: list[Any] = []
    plain = packed.Packed.read

    def counting(self: Any, embeds: torch.Tensor, *rest: Any) -> torch.Tensor:
        read.append(tuple(embeds.shape[:2]))
        return plain(self, embeds, *rest)

    monkeypatch.setattr(packed.Packed, "read", counting)
    model = language_model("grouped queries").bfloat16()
    steps = packer(model)
    with torch.no_grad():
        many = [stepper(model, each, [[5]] * 100) for each in (None, steps)]
        kept = steps.kept
        assert kept is not None
        assert many[1].holds_lora
        assert not many[0].holds_lora

        def alike(logits: list[torch.Tensor]) -> None:
            ours, usual = (each.float().log_softmax(-1) for each in logits)
            assert (ours - usual).norm() < 0.03 * usual.norm()

        alike([each.first() for each in many])
        alike([each.next(torch.arange(100) % 60) for each in many])
        for each in many:
            each.select(torch.arange(2))
        alike([each.append([[3, 4, 5], [6]]) for each in many])
    assert read == [(100, 1)]
    assert counted == [100, 2]
    assert steps.kept is kept


@needs_bf16
def test_answers_in_bfloat16_do_not_depend_on_what_was_asked_before(model):
    """And LoRA is not merged for them, as it is in the weights that are laid out."""
    model.mixed = torch.bfloat16
    before = answers(model)
    answers(model, max_new_tokens=2, num_beams=2)
    model.generate_scored(pictures(1), PROMPTS[:1], max_new_tokens=5)
    after = answers(model)
    model.packed.drop()
    anew = answers(model)
    for each in (after, anew):
        assert [a.token_ids for a in each] == [b.token_ids for b in before]
        assert [a.logprobs for a in each] == [b.logprobs for b in before]
    merged: list[Any] = []
    model.lora.merged = lambda *_: merged.append(1)
    answers(model)
    assert not merged


@pytest.mark.parametrize("way", ["window", "memory", "quantized", "inference weights"])
def test_falls_back(way, counted, monkeypatch):
    if way == "window":
        config = transformers.MistralConfig(**SMALL, num_key_value_heads=2, sliding_window=40)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    elif way == "inference weights":
        with torch.inference_mode():
            model = language_model("llama")
    else:
        model = language_model("llama")
    if way == "memory":
        monkeypatch.setattr(merging, "_MEMORY_SHARE", 0)
    if way == "quantized":

        class Other(torch.nn.Linear):
            pass

        model.model.layers[0].mlp.up_proj.__class__ = Other
    steps = packer(model)
    with torch.inference_mode():
        same(log_probabilities(model, steps, 20), log_probabilities(model, None, 20))
    assert (counted, rows(steps)) == ([], 0)


@pytest.fixture
def model() -> MiniGPTv2:
    """With adapters that do something."""
    built = build(small_settings(lora_dropout=0.0))
    generator = torch.Generator().manual_seed(1)
    for name, parameter in built.llama_model.named_parameters():
        if "lora_B" in name:
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    return built


def answers(model: MiniGPTv2, **options: Any) -> list[Any]:
    asked: dict[str, Any] = {"max_new_tokens": 14, "min_length": 15} | options
    return model.generate_scored(pictures(3), PROMPTS, **asked)


def check_answers(found: list[Any], expected: list[Any]) -> None:
    for got, wanted in zip(found, expected, strict=True):
        assert got.token_ids == wanted.token_ids
        assert got.logprobs == pytest.approx(wanted.logprobs, rel=1e-4, abs=1e-4)


@pytest.mark.parametrize(
    "options", [{}, {"num_beams": 3}, {"at_once": 2}, {"min_length": 1}], ids=str
)
def test_answers_of_a_model(model, options, counted, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(packed, "_MOST", 0)
        expected = answers(model, **options)
    assert not counted
    answers(model)
    counted.clear()
    check_answers(answers(model, **options), expected)
    check_answers(answers(model, **options), expected)
    assert counted


def test_a_single_token_lays_nothing_out(model):
    answers(model, max_new_tokens=1)  # which takes no step of its own
    assert rows(model.packed) == 0
    answers(model, max_new_tokens=2)
    assert rows(model.packed) == 4


def test_training_mode_drops_it(model, counted):
    answers(model)
    model.eval()
    assert rows(model.packed) == 4
    model.train()
    assert rows(model.packed) == 0
    counted.clear()
    answers(model)
    assert counted
    assert rows(model.packed) == 0, "training mode came back at the end"


def test_copies_and_files_hold_none_of_it(model, counted):
    answers(model)
    before = answers(model)
    twin = copy.deepcopy(model)
    assert (rows(twin.packed), rows(model.packed)) == (0, 4)
    with torch.no_grad():
        twin.llama_model.get_output_embeddings().weight.mul_(0.5)
    counted.clear()
    other = answers(twin)
    assert counted
    assert other[0].logprobs != pytest.approx(before[0].logprobs, rel=1e-2)
    check_answers(answers(model), before)
    assert pickle.loads(pickle.dumps(model.packed)).kept is None
    assert not any("packed" in name for name in model.state_dict())


def test_answers_in_threads(model, counted):
    with_one = answers(model)
    model.packed.drop()
    found: list[list[Any]] = []
    threads = [threading.Thread(target=lambda: found.append(answers(model))) for _ in range(3)]
    counted.clear()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert len(counted) == 3 * 13
    for each in found:
        check_answers(each, with_one)
