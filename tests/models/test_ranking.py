"""Candidates ranked on a prompt that is read once: as if each were scored by itself."""

from __future__ import annotations

import pytest
import torch
from conftest import build, pictures, small_settings
from test_answers import PROMPTS

from minigpt4.common.errors import DataError
from minigpt4.models import ranking
from minigpt4.models.minigpt_v2 import MiniGPTv2

CANDIDATES = [
    ["đỏ", "màu xanh lá cây", "trắng 🦙", "", "hai"],
    ["có", "không"],
    ["một con mèo đang ngồi trên chiếc ghế màu nâu"],
]


@pytest.fixture(scope="module")
def model() -> MiniGPTv2:
    return build(small_settings())


def alone(model: MiniGPTv2, row: int, answer: str) -> tuple[float, int]:
    """Log probability of a candidate by training's own loss, and its number of tokens."""
    sample = {
        "image": pictures(3)[row : row + 1],
        "instruction_input": [PROMPTS[row].removeprefix("[INST] ").removesuffix(" [/INST]")],
        "answer": [answer],
    }
    with torch.no_grad():
        return -model(sample, reduction="sum")["loss"].item(), len(model.sequences.answer(answer))


@pytest.mark.parametrize("positions", [1, 120, ranking.POSITIONS])
def test_as_if_each_candidate_were_scored_by_itself(model, monkeypatch, positions):
    monkeypatch.setattr(ranking.candidate_losses, "__kwdefaults__", {"positions": positions})
    found = model.rank_answers(pictures(3), PROMPTS, CANDIDATES)
    for row, (ranked, candidates) in enumerate(zip(found, CANDIDATES, strict=True)):
        assert sorted(each.index for each in ranked) == list(range(len(candidates)))
        for each in ranked:
            expected, count = alone(model, row, candidates[each.index])
            assert each.text == candidates[each.index]
            assert each.logprob == pytest.approx(expected, rel=1e-5, abs=1e-5)
            assert each.mean_logprob == pytest.approx(expected / count, rel=1e-5, abs=1e-5)
        means = [each.mean_logprob for each in ranked]
        assert means == sorted(means, reverse=True)


def test_a_row_does_not_depend_on_its_neighbours(model):
    together = model.rank_answers(pictures(3), PROMPTS, CANDIDATES)
    for row in range(3):
        single = model.rank_answers(
            pictures(3)[row : row + 1], PROMPTS[row : row + 1], CANDIDATES[row : row + 1]
        )[0]
        assert [each.index for each in single] == [each.index for each in together[row]]
        assert [each.logprob for each in single] == pytest.approx(
            [each.logprob for each in together[row]], rel=1e-5, abs=1e-5
        )


def test_pictures_and_prompts_are_read_once(model):
    layer = model.llama_model.get_base_model().model.layers[0]
    positions: list[int] = []
    encoded: list[int] = []
    hooks = [
        layer.self_attn.k_proj.register_forward_pre_hook(
            lambda _, args: positions.append(args[0].shape[:-1].numel())
        ),
        model.visual_encoder.register_forward_pre_hook(
            lambda _, args: encoded.append(len(args[0]))
        ),
    ]
    try:
        model.rank_answers(pictures(3), PROMPTS, CANDIDATES)
    finally:
        for hook in hooks:
            hook.remove()
    assert encoded == [3]
    prompts, answers = positions
    assert prompts == sum(len(model.sequences.inference(text, 1, 4).ids) for text in PROMPTS)
    longest = max(len(model.sequences.answer(text)) for row in CANDIDATES for text in row)
    assert answers <= sum(map(len, CANDIDATES)) * (longest - 1)


def test_equal_candidates_keep_their_order(model):
    (ranked,) = model.rank_answers(pictures(1), PROMPTS[:1], [["hai", "đỏ", "hai", "hai"]])
    assert [each.index for each in ranked if each.text == "hai"] == [0, 2, 3]


def test_cached_features_and_text_alone(model):
    with torch.no_grad():
        features = model.encode_image_features(pictures(2))
    cached = model.rank_answers(None, PROMPTS[:2], CANDIDATES[:2], image_features=features)
    fresh = model.rank_answers(pictures(2), PROMPTS[:2], CANDIDATES[:2])
    assert cached == fresh
    assert len(model.rank_answers(None, ["[INST] gì [/INST]"], [["hai", "ba"]])[0]) == 2


def test_rows_without_candidates(model):
    assert model.rank_answers(None, [], []) == []
    found = model.rank_answers(pictures(2), PROMPTS[:2], [[], ["có"]])
    assert found[0] == []
    assert found[1][0].text == "có"
    with pytest.raises(DataError, match="Candidates were given for 1 prompts"):
        model.rank_answers(pictures(2), PROMPTS[:2], [["có"]])


def test_ranking_leaves_the_training_mode_as_it_was(model):
    model.train()
    try:
        first = model.rank_answers(pictures(2), PROMPTS[:2], CANDIDATES[:2])
        assert model.llama_model.training
    finally:
        model.eval()
    assert model.rank_answers(pictures(2), PROMPTS[:2], CANDIDATES[:2]) == first
