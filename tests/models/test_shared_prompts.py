"""Several prompts about one picture: what they share is read once, and answers are the same."""

from __future__ import annotations

import pytest
import torch
from conftest import build, pictures, small_settings

from minigpt4.models.constraints import AnswerSet
from minigpt4.models.decoding import Stepper
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.models.sequence import IGNORE, Layout
from minigpt4.models.shared_prompts import share

ASKED = (
    (0, "[vqa] màu gì"),
    (1, "[vqa] có bao nhiêu con mèo đang ngồi trên chiếc ghế"),
    (0, "[vqa] màu của chiếc ghế là gì"),
    (0, "[detection] tìm con mèo"),
    (2, "gì"),
    (2, "[vqa] ở đâu"),
)
PICTURE_OF = [picture for picture, _ in ASKED]
PROMPTS = [f"[INST] <Img><ImageHere></Img> {text}  [/INST]" for _, text in ASKED]


@pytest.fixture(scope="module")
def model() -> MiniGPTv2:
    built = build(small_settings(token_merge="none"))
    built.llama_model.get_output_embeddings().weight.data[2] *= 3
    return built


def same(found, expected) -> None:
    for got, want in zip(found, expected, strict=True):
        assert got.token_ids == want.token_ids
        assert got.logprobs == pytest.approx(want.logprobs, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"num_beams": 3},
        {"constraint": AnswerSet(("hai con mèo", "hai con chó", "màu xanh lá cây"))},
    ],
)
def test_answers_are_those_of_each_prompt_by_itself(model, options):
    images = pictures(3)
    shared = model.generate_scored(
        images, PROMPTS, picture_of=PICTURE_OF, max_new_tokens=10, **options
    )
    apart = model.generate_scored(images[PICTURE_OF], PROMPTS, max_new_tokens=10, **options)
    same(shared, apart)


def test_features_of_the_encoder_may_be_shared_too(model):
    features = model.encode_image_features(pictures(3))
    shared = model.generate_scored(None, PROMPTS, image_features=features, picture_of=PICTURE_OF)
    same(shared, model.generate_scored(None, PROMPTS, image_features=features[PICTURE_OF]))


def test_ranking_shares_as_well(model):
    images, candidates = pictures(3), [["hai", "ba con mèo", "màu xanh"]] * len(PROMPTS)
    shared = model.rank_answers(images, PROMPTS, candidates, picture_of=PICTURE_OF)
    apart = model.rank_answers(images[PICTURE_OF], PROMPTS, candidates)
    for got, want in zip(shared, apart, strict=True):
        assert [each.index for each in got] == [each.index for each in want]
        assert [each.logprob for each in got] == pytest.approx(
            [each.logprob for each in want], rel=1e-4
        )


def test_positions_are_read_once(model, monkeypatch):
    read = []
    first = Stepper.first
    monkeypatch.setattr(
        Stepper, "first", lambda self, *a: (read.append(self.positions), first(self, *a))[1]
    )
    images = pictures(3)
    model.generate_scored(images, PROMPTS, picture_of=PICTURE_OF, max_new_tokens=1)
    model.generate_scored(images[PICTURE_OF], PROMPTS, max_new_tokens=1)
    assert read[0] <= read[1] - 3 * 16  # three prompts less, each with a picture of 16 positions


def layouts(*rows: list[int]) -> list[Layout]:
    return [Layout(row, [IGNORE] * len(row)) for row in rows]


def test_where_prompts_are_cut():
    shared = share(layouts([1, -1, -2, 5, 6], [1, -1, -2, 5, 7, 8], [1, -1, -2, 9]), [4, 4, 0])
    assert [each.ids for each in shared.beginnings] == [[1, -1, -2, 5], [1, -1, -2]]
    assert (shared.pictures, shared.rows) == ([4, 0], [0, 0, 1])
    assert [each.ids for each in shared.rests] == [[6], [7, 8], [9]]


@pytest.mark.parametrize(
    ("rows", "picture_of"),
    [
        ([[1, -1, 5], [1, -1, 6]], [0, 1]),  # nothing is shared
        ([[1, 7, -1, 5], [1, 8, -1, 6]], [0, 0]),  # they differ before the picture
        ([[1, *range(50, 70)], [1, *range(70, 90)]], [0, 0]),  # too little
    ],
)
def test_prompts_that_are_read_whole(rows, picture_of):
    assert share(layouts(*rows), picture_of) is None


def test_equal_prompts_keep_something_to_read():
    shared = share(layouts([1, -1, 5], [1, -1, 5]), [0, 0])
    assert [each.ids for each in shared.rests] == [[5], [5]]


def test_pictures_that_several_prompts_ask_about_are_encoded_once(model, monkeypatch):
    seen = []
    encode = type(model.visual_encoder).forward
    monkeypatch.setattr(
        type(model.visual_encoder),
        "forward",
        lambda self, pixels: (seen.append(len(pixels)), encode(self, pixels))[1],
    )
    with torch.no_grad():
        model.generate_scored(pictures(3), PROMPTS, picture_of=PICTURE_OF, max_new_tokens=1)
    assert seen == [3]


@pytest.mark.parametrize("at_once", [1, 2, 4])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"repetition_penalty": 1.4, "min_length": 4},
        {"num_beams": 2},
        {"constraint": AnswerSet(("hai con mèo", "hai con chó", "màu xanh lá cây"))},
    ],
)
def test_few_prompts_at_once_are_answered_as_all_together(model, at_once, options):
    images = pictures(3)
    together = model.generate_scored(
        images, PROMPTS, picture_of=PICTURE_OF, max_new_tokens=12, **options
    )
    for given in ({"images": images, "picture_of": PICTURE_OF}, {"images": images[PICTURE_OF]}):
        few = model.generate_scored(
            texts=PROMPTS, at_once=at_once, max_new_tokens=12, **given, **options
        )
        same(few, together)


def test_places_of_answered_prompts_are_taken(model, monkeypatch):
    """Answers of unlike length: no place waits for the longest answer of a batch."""
    rows = []
    following = Stepper.next

    def counted(self, tokens):
        rows.append(len(tokens))
        return following(self, tokens)

    monkeypatch.setattr(Stepper, "next", counted)
    given = {"images": pictures(3), "picture_of": PICTURE_OF, "max_new_tokens": 12}
    lengths = [each.steps for each in model.generate_scored(texts=PROMPTS, **given)]
    assert len(set(lengths)) > 1
    rows.clear()
    model.generate_scored(texts=PROMPTS, at_once=2, **given)
    batches = sum(max(lengths[n : n + 2]) - 1 for n in (0, 2, 4))
    assert max(rows) == 2
    assert len(rows) < batches
