"""Answers: independence of rows, scores, streaming, conversations."""

from __future__ import annotations

import math

import pytest
import torch
from conftest import build, pictures, small_settings

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.models.generation import clean_text, span_probability
from minigpt4.models.minigpt_v2 import MiniGPTv2

PROMPTS = [
    "[INST] <Img><ImageHere></Img> [vqa] màu gì  [/INST]",
    "[INST] <Img><ImageHere></Img> [vqa] có bao nhiêu con mèo đang ngồi trên chiếc ghế  [/INST]",
    "[INST] <Img><ImageHere></Img> gì  [/INST]",
]


@pytest.fixture(scope="module")
def model() -> MiniGPTv2:
    """Answers end at different lengths: the end token is a little likelier than it would be."""
    built = build(small_settings())
    built.llama_model.get_output_embeddings().weight.data[2] *= 3
    return built


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3, "length_penalty": 2.0},
        {"repetition_penalty": 1.4, "min_length": 4},
    ],
)
def test_a_row_does_not_depend_on_its_neighbours(model, options):
    images = pictures(3)
    together = model.generate_scored(images, PROMPTS, max_new_tokens=12, **options)
    for row in (0, 1, 2):
        alone = model.generate_scored(
            images[row : row + 1], [PROMPTS[row]], max_new_tokens=12, **options
        )[0]
        assert alone.token_ids == together[row].token_ids
        assert alone.logprobs == pytest.approx(together[row].logprobs, rel=1e-4, abs=1e-5)
    turned = model.generate_scored(images.flip(0), PROMPTS[::-1], max_new_tokens=12, **options)
    assert [g.token_ids for g in turned[::-1]] == [g.token_ids for g in together]


@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"repetition_penalty": 1.5}])
def test_log_probabilities_are_the_models_own(model, options):
    """Against one forward pass over prompt and answer, whatever was searched with."""
    images = pictures(2)
    for row, found in enumerate(
        model.generate_scored(images, PROMPTS[:2], max_new_tokens=8, **options)
    ):
        with torch.no_grad():
            picture, _ = model.encode_img(images[row : row + 1])
            prompt = model.get_context_emb(PROMPTS[row], [picture])
            embed = model.llama_model.get_input_embeddings()
            answer = embed(torch.tensor([found.token_ids]))
            logits = model.llama_model(inputs_embeds=torch.cat([prompt, answer], 1)).logits[0]
        scores = logits[prompt.shape[1] - 1 : -1].log_softmax(-1)
        expected = [scores[i, token].item() for i, token in enumerate(found.token_ids)]
        assert found.logprobs == pytest.approx(expected, rel=1e-4, abs=1e-5)
        assert found.logprob == pytest.approx(sum(expected), rel=1e-4)


def test_spans_and_their_probabilities(model):
    found = model.generate_scored(pictures(1), PROMPTS[:1], max_new_tokens=10)[0]
    assert len(found.spans) == len(found.token_ids) == len(found.pieces)
    covered = "".join(found.text[a:b] for a, b in found.spans)
    assert covered == found.text
    whole = span_probability(found, 0, len(found.text))
    shown = sum(lp for lp, (a, b) in zip(found.logprobs, found.spans, strict=True) if b > a)
    assert whole == pytest.approx(math.exp(shown))
    first, last = next(s for s in found.spans if s[1] > s[0])
    index = found.spans.index((first, last))
    assert span_probability(found, first, last) == pytest.approx(math.exp(found.logprobs[index]))
    assert span_probability(found, 3, 3) == 1.0


def test_answers_are_cleaned_as_the_original_did():
    assert clean_text(" màu xanh ") == "màu xanh"
    assert clean_text("xanh</s> đỏ") == "xanh"
    assert clean_text("<s>xanh<s> lá") == "xanh lá"
    assert clean_text("[INST] gì [/INST] xanh [/INST] đỏ ") == "đỏ"
    assert clean_text("") == ""


def test_sampling_follows_the_seed_and_the_limits(model):
    def drawn(seed: int, **options) -> list[list[int]]:
        torch.manual_seed(seed)
        found = model.generate_scored(
            pictures(3), PROMPTS, max_new_tokens=6, do_sample=True, **options
        )
        return [g.token_ids for g in found]

    assert drawn(0) == drawn(0)
    assert drawn(0, temperature=3.0) != drawn(1, temperature=3.0)
    greedy = [g.token_ids for g in model.generate_scored(pictures(3), PROMPTS, max_new_tokens=6)]
    assert drawn(5, top_k=1) == greedy
    assert drawn(5, top_p=1e-6) == greedy
    assert drawn(5, temperature=1e-4) == greedy
    assert all(len(ids) <= 6 for ids in drawn(2, num_beams=3))


def test_streaming_shows_the_answer_as_it_grows(model):
    shown: list[str] = []
    found = model.generate_scored(
        pictures(1), PROMPTS[:1], max_new_tokens=10, streamer=shown.append
    )
    assert len(shown) == len(found[0].token_ids)
    assert all("\N{REPLACEMENT CHARACTER}" not in text[-1:] for text in shown)
    with pytest.raises(ValueError, match="one prompt"):
        model.generate_scored(pictures(2), PROMPTS[:2], streamer=shown.append)


def test_generation_leaves_the_training_mode_as_it_was(model):
    model.train()
    try:
        first = model.generate(pictures(1), PROMPTS[:1])
        assert model.llama_model.training
        assert not model.visual_encoder.training
        model.eval()
        assert model.generate(pictures(1), PROMPTS[:1]) == first, "without dropout"
    finally:
        model.eval()


def test_text_only_and_several_pictures(model):
    assert len(model.generate(None, ["[INST] gì [/INST]", "[INST] màu gì [/INST]"])) == 2
    images = pictures(2).unsqueeze(0)  # (1, 2, 3, S, S)
    prompt = "<Img><ImageHere></Img><Img><ImageHere></Img> khác gì "
    one = model.generate_scored(images, [prompt], max_new_tokens=5)
    with torch.no_grad():
        features = model.encode_image_features(images[0]).unsqueeze(0)
    two = model.generate_scored(None, [prompt], image_features=features, max_new_tokens=5)
    assert one[0].token_ids == two[0].token_ids
    assert model.generate(None, []) == []


def test_context_embeddings(model):
    embeds, _ = model.encode_img(pictures(2))
    prompt = "a<ImageHere>b<ImageHere>"
    found = model.get_context_emb(prompt, [embeds[0][None], embeds[1][None]])
    ids = model.tokenizer.encode("a", add_bos=True)
    assert found.shape == (1, len(ids) + 4 + len(model.tokenizer.encode("b")) + 4, 64)
    assert torch.equal(found[0, len(ids) : len(ids) + 4], embeds[0])
    assert torch.equal(found[0, -4:], embeds[1])
    with pytest.raises(DataError, match="2 <ImageHere>"):
        model.get_context_emb(prompt, [embeds[0][None]])


def test_the_inference_prompt_begins_the_training_sequence(model):
    instruction = "<Img><ImageHere></Img> [vqa] màu của chiếc bình là gì "
    training = model.sequences.training([f"[INST] {instruction} [/INST]"], ["xanh"], 1, 4)
    inference = model.sequences.inference(f"[INST] {instruction} [/INST]", 1, 4)
    assert training.ids[: len(inference.ids)] == inference.ids
    answer = training.ids[len(inference.ids) :]
    assert answer == model.tokenizer.encode("xanh</s>")


def test_ranking_puts_absent_candidates_last(model):
    texts = ["<Img><ImageHere></Img> [vqa] gì ", "<Img><ImageHere></Img> [vqa] màu gì "]
    candidates = [["mèo", "đỏ"], ["chó", "xanh"], ["ghế", "none"]]
    ranks = model.multi_select(pictures(2), texts, candidates, num_cand=[3, 2])
    assert sorted(ranks[0]) == [0, 1, 2]
    assert ranks[1][2] == 2
    alone = model.multi_select(pictures(2)[1:], texts[1:], [[c[1]] for c in candidates], [2])
    assert alone[0] == ranks[1]


@pytest.mark.parametrize(
    "options", [{"max_new_tokens": 0}, {"num_beams": 0}, {"temperature": 0}, {"top_p": 0}]
)
def test_options_out_of_range(model, options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        model.generate_scored(pictures(1), PROMPTS[:1], **options)
