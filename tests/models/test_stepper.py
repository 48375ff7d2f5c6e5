"""Several tokens a pass, as many to each row as it has, with language models of several kinds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers
from torch.nn.utils.rnn import pad_sequence

from minigpt4.models.decoding import Beginnings, Stepper

VOCABULARY = 50
SMALL: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "vocab_size": VOCABULARY,
    "max_position_embeddings": 24,
}
CONFIGS = {
    "llama": lambda: transformers.LlamaConfig(**SMALL),
    "grouped queries, window": lambda: transformers.MistralConfig(
        **SMALL, num_key_value_heads=2, sliding_window=20
    ),
    "learned positions": lambda: transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, n_positions=24, vocab_size=VOCABULARY
    ),
    "distances": lambda: transformers.BloomConfig(
        hidden_size=32, n_layer=2, n_head=4, vocab_size=VOCABULARY
    ),
}
PROMPTS = [[3, 4, 5, 6, 7], [8, 9], [10, 11, 12]]
PASSES = [
    [[20, 21, 22, 23], [24], [25, 26]],
    [[27], [28, 29, 30], [31, 32, 33]],
    [[34], [35], [36]],
]


@pytest.fixture(params=CONFIGS)
def model(request) -> Any:
    torch.manual_seed(0)
    return transformers.AutoModelForCausalLM.from_config(CONFIGS[request.param]()).eval()


def stepper(model: Any) -> Stepper:
    ids = pad_sequence(
        [torch.tensor(p) for p in PROMPTS], batch_first=True, padding_side="left"
    )  # (3, 5)
    return Stepper(model, model.get_input_embeddings()(ids), (ids > 0).long())


def whole(model: Any, ids: list[int]) -> torch.Tensor:
    """Log probabilities (L, V) of one sequence read at once."""
    return (
        model(inputs_embeds=model.get_input_embeddings()(torch.tensor([ids])))
        .logits[0]
        .log_softmax(-1)
    )


@torch.no_grad()
def test_rows_of_different_lengths(model):
    steps = stepper(model)
    first = steps.first([40, 41])
    assert first.shape == (3, 3, VOCABULARY)
    spoken = [[*prompt, 40, 41] for prompt in PROMPTS]
    for row, ids in enumerate(spoken):
        expected = whole(model, ids)[-3:]
        assert torch.allclose(first[row].log_softmax(-1), expected, atol=1e-5)
    for tokens in PASSES:
        found = steps.append(tokens).log_softmax(-1).split([len(each) for each in tokens])
        for row, each in enumerate(tokens):
            spoken[row] += each
            expected = whole(model, spoken[row])[-len(each) :]
            assert torch.allclose(found[row], expected, atol=1e-5), row


@torch.no_grad()
def test_a_fork_leaves_its_origin_as_it_was(model):
    steps = stepper(model)
    steps.first()
    twice = steps.fork(torch.tensor([2, 0, 2]))
    found = twice.append([[20], [21, 22], [23, 24, 25]]).log_softmax(-1)
    assert torch.allclose(found[0], whole(model, [*PROMPTS[2], 20])[-1], atol=1e-5)
    assert torch.allclose(found[1:3], whole(model, [*PROMPTS[0], 21, 22])[-2:], atol=1e-5)
    assert torch.allclose(found[3:], whole(model, [*PROMPTS[2], 23, 24, 25])[-3:], atol=1e-5)
    after = steps.next(torch.tensor([30, 31, 32])).log_softmax(-1)
    for row, token in enumerate([30, 31, 32]):
        assert torch.allclose(after[row], whole(model, [*PROMPTS[row], token])[-1], atol=1e-5)


@torch.no_grad()
def test_prompts_that_begin_alike(model):
    begun, rests, rows = [[3, 4, 5], [8]], [[6, 7], [9], [10], [11, 12, 13]], [0, 1, 0, 1]
    parts = [
        pad_sequence([torch.tensor(p) for p in each], batch_first=True, padding_side="left")
        for each in (begun, rests)
    ]
    embed = model.get_input_embeddings()
    steps = Stepper(
        model,
        embed(parts[1]),
        (parts[1] > 0).long(),
        beginnings=Beginnings(embed(parts[0]), (parts[0] > 0).long(), torch.tensor(rows)),
    )
    assert steps.positions == 3 + 1 + 2 + 1 + 1 + 3
    first = steps.first([40]).log_softmax(-1)
    spoken = [[*begun[row], *rest, 40] for row, rest in zip(rows, rests, strict=True)]
    for row, ids in enumerate(spoken):
        assert torch.allclose(first[row], whole(model, ids)[-2:], atol=1e-5), row
    after = steps.next(torch.tensor([30, 31, 32, 33])).log_softmax(-1)
    for row, token in enumerate([30, 31, 32, 33]):
        assert torch.allclose(after[row], whole(model, [*spoken[row], token])[-1], atol=1e-5), row
