"""Answers within a constraint: always readable, the model's own where it would be readable."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from conftest import TINY_LLAMA, build, pictures, small_settings
from test_answers import PROMPTS

from minigpt4.common.errors import ConfigError
from minigpt4.models.constraints import AnswerSet, DefectGrammar
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.scoring.defect_answers import parse_answer

CLASSES = ["bottle", "grass", "gravel", "metal nut"]
GRAMMARS = [DefectGrammar(CLASSES), DefectGrammar(CLASSES, max_boxes=3), DefectGrammar(None)]
COLOURS = AnswerSet(["đỏ", "đỏ tươi", "màu xanh", "màu xanh lá cây", "trắng", "trong 🦙"])
LEARNED = [
    "<p>grass-defect</p>{<34><6><59><81>}",
    "<p>gravel-not-defect</p>{<0><0><100><100>}",
    "<p>metal nut-defect</p>{<7><60><15><100>}",
]


@pytest.fixture(scope="module")
def untrained() -> MiniGPTv2:
    return build(small_settings())


@pytest.fixture(scope="module")
def trained() -> MiniGPTv2:
    """Knows one answer by heart for each of three prompts."""
    model = build(small_settings(lora_r=0, freeze_llm=False, ckpt="", llama_model=str(TINY_LLAMA)))
    texts = [prompt.removeprefix("[INST] ").removesuffix(" [/INST]") for prompt in PROMPTS]
    samples = {"image": pictures(3), "instruction_input": texts, "answer": LEARNED}
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=5e-3)
    for _ in range(60):
        loss = model(samples)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    return model.eval()


@pytest.mark.parametrize("grammar", GRAMMARS)
@pytest.mark.parametrize("options", [{}, {"do_sample": True, "temperature": 3.0}])
def test_an_untrained_model_is_always_readable(untrained, grammar, options):
    torch.manual_seed(0)
    limit = 70
    found = untrained.generate_scored(
        pictures(3), PROMPTS, constraint=grammar, max_new_tokens=limit, **options
    )
    for each in found:
        assert parse_answer(each.text) is not None, each.text
        assert each.finished
        assert len(each.token_ids) == len(each.logprobs) == len(each.spans) <= limit
        assert "".join(each.text[a:b] for a, b in each.spans) == each.text
        assert each.steps < len(each.token_ids)


def test_an_untrained_model_gives_allowed_answers(untrained):
    found = Counter[str]()
    torch.manual_seed(0)
    for _ in range(8):
        answers = untrained.generate_scored(
            pictures(3),
            PROMPTS,
            constraint=COLOURS,
            do_sample=True,
            temperature=5.0,
            top_k=0,
            top_p=1.0,
        )
        found.update(each.text for each in answers)
    assert set(found) <= set(COLOURS.answers)
    assert len(found) >= 3


def test_the_models_own_answer_stays_if_it_is_allowed(trained):
    images = pictures(3)
    free = trained.generate_scored(images, PROMPTS, max_new_tokens=90)
    assert [each.text for each in free] == LEARNED
    assert [each.steps for each in free] == [len(each.token_ids) for each in free]
    for constraint in [*GRAMMARS, AnswerSet([*LEARNED, "xanh"])]:
        bound = trained.generate_scored(images, PROMPTS, constraint=constraint, max_new_tokens=90)
        for one, other in zip(free, bound, strict=True):
            assert other.text == one.text
            assert other.token_ids == one.token_ids
            assert other.logprobs == pytest.approx(one.logprobs, rel=1e-4, abs=1e-5)
            assert other.steps < one.steps


def test_fewer_steps_where_less_is_open(trained):
    def steps(constraint) -> int:
        found = trained.generate_scored(
            pictures(3), PROMPTS, constraint=constraint, max_new_tokens=90
        )
        return sum(each.steps for each in found)

    assert steps(AnswerSet(LEARNED[:1])) == 3, "nothing to choose: the prompts' passes alone"
    assert steps(AnswerSet(LEARNED)) < steps(GRAMMARS[0]) < steps(GRAMMARS[2])


@pytest.mark.parametrize("constraint", [GRAMMARS[1], GRAMMARS[2], COLOURS])
@pytest.mark.parametrize("options", [{}, {"repetition_penalty": 1.4, "min_length": 8}])
@pytest.mark.parametrize("name", ["untrained", "trained"])
def test_a_row_does_not_depend_on_its_neighbours(request, name, constraint, options):
    """Rows differ in how much of their answers is forced."""
    model, images = request.getfixturevalue(name), pictures(3)
    shared = {"constraint": constraint, "max_new_tokens": 90, **options}
    together = model.generate_scored(images, PROMPTS, **shared)
    for row in range(3):
        alone = model.generate_scored(images[row : row + 1], [PROMPTS[row]], **shared)[0]
        assert alone.token_ids == together[row].token_ids
        assert alone.logprobs == pytest.approx(together[row].logprobs, rel=1e-4, abs=1e-5)
        assert alone.steps == together[row].steps


@pytest.mark.parametrize("constraint", [GRAMMARS[1], COLOURS])
def test_log_probabilities_are_the_models_own(untrained, constraint):
    """Against one forward pass over prompt and answer, for chosen and forced tokens alike."""
    images = pictures(3)
    found = untrained.generate_scored(images, PROMPTS, constraint=constraint, max_new_tokens=90)
    for row, each in enumerate(found):
        with torch.no_grad():
            picture, _ = untrained.encode_img(images[row : row + 1])
            prompt = untrained.get_context_emb(PROMPTS[row], [picture])
            embed = untrained.llama_model.get_input_embeddings()
            answer = embed(torch.tensor([each.token_ids]))
            logits = untrained.llama_model(inputs_embeds=torch.cat([prompt, answer], 1)).logits[0]
        scores = logits[prompt.shape[1] - 1 : -1].log_softmax(-1)
        expected = [scores[i, token].item() for i, token in enumerate(each.token_ids)]
        assert each.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_penalty_never_breaks_the_constraint(untrained):
    found = untrained.generate_scored(
        pictures(3), PROMPTS, constraint=COLOURS, min_length=50, repetition_penalty=2.0
    )
    assert {each.text for each in found} <= set(COLOURS.answers)
    assert all(each.finished for each in found)


def test_streaming_shows_what_is_forced_too(trained):
    shown: list[str] = []
    (found,) = trained.generate_scored(
        pictures(3)[:1],
        PROMPTS[:1],
        constraint=GRAMMARS[0],
        max_new_tokens=90,
        streamer=shown.append,
    )
    assert len(shown) == found.steps
    assert all(after.startswith(before) for before, after in pairwise(shown))
    assert shown[0].startswith("<p>")


def test_what_a_constraint_does_not_go_with(untrained):
    def ask(**options) -> None:
        untrained.generate_scored(pictures(1), PROMPTS[:1], constraint=GRAMMARS[0], **options)

    with pytest.raises(ConfigError, match="num_beams 2"):
        ask(num_beams=2, max_new_tokens=90)
    with pytest.raises(ConfigError, match="max_new_tokens is 8"):
        ask(max_new_tokens=8)


def test_steps_of_beams(untrained):
    found = untrained.generate_scored(pictures(3), PROMPTS, num_beams=2, max_new_tokens=6)
    assert all(1 <= each.steps <= 6 for each in found)
    alone = untrained.generate_scored(pictures(3)[:1], PROMPTS[:1], num_beams=2, max_new_tokens=6)
    assert alone[0].steps == found[0].steps
