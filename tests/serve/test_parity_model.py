"""The engine and ``Chat`` with a real, though small, model."""

from pathlib import Path

import pytest
import torch
from PIL import Image

from minigpt4.common.errors import ConfigError, WeightsError
from minigpt4.common.settings import ModelSettings
from minigpt4.conversation.conversation import Chat, CONV_VISION_minigptv2
from minigpt4.models.minigpt_v2 import MiniGPTv2
from minigpt4.processors import Blip2ImageEvalProcessor
from minigpt4.serve.engine import AnswerOptions, Engine

PARITY = Path(__file__).parent.parent / "fixtures" / "parity"
SIZE = 448


def _model(ckpt="state_dict.pt", **changes):
    settings = ModelSettings(
        image_size=SIZE,
        vit_config={"embed_dim": 64, "depth": 2, "num_heads": 4, "mlp_ratio": 4.3637},
        vit_weights="random",
        llama_model=str(PARITY / "tiny_llama_vi1000"),
        lora_r=8,
        chat_template=True,
        end_sym="</s>",
        max_txt_len=500,
        ckpt=str(PARITY / ckpt),
        **({"prompt_style": "training"} | changes),
    )
    return MiniGPTv2(settings, torch.device("cpu")).eval()


@pytest.fixture(scope="module")
def engine():
    return Engine(_model(), Blip2ImageEvalProcessor(SIZE))


@pytest.fixture(scope="module")
def picture():
    return Image.effect_mandelbrot((300, 200), (-2, -1, 1, 1), 50)


OPTIONS = AnswerOptions(max_new_tokens=24)


def test_the_stream_ends_with_what_is_generated_without_one(engine, picture):
    session = engine.open(picture)
    texts = list(engine.answer_stream(session, "[vqa] màu gì", OPTIONS))
    whole = engine.model.generate_scored(
        texts=["[INST] <Img><ImageHere></Img> [vqa] màu gì  [/INST]"],
        image_features=session.features,
        max_new_tokens=24,
    )
    assert texts[-1] == whole[0].text
    assert len(texts) > 5, "it was streamed"
    pixels = Blip2ImageEvalProcessor(SIZE)(picture)[None]
    fresh = engine.model.generate(
        pixels, ["[INST] <Img><ImageHere></Img> [vqa] màu gì  [/INST]"], max_new_tokens=24
    )
    assert fresh == [texts[-1]]


def test_the_second_turn_sees_the_sequence_of_training(engine, picture):
    session = engine.open(picture)
    first = engine.answer(session, "[vqa] màu gì", OPTIONS)
    texts = engine.prompt(session, "còn gì nữa", OPTIONS)
    trained = engine.model.sequences.training(
        [texts[0], texts[2]], [first, "x"], 1, session.positions
    )
    asked = engine.model.sequences.inference(texts, 1, session.positions).ids
    assert trained.ids[: len(asked)] == asked
    assert session.positions == SIZE**2 // 14**2 // 4


def test_sampling_and_beams_answer_too(engine, picture):
    session = engine.open(picture)
    torch.manual_seed(1)
    for options in (
        AnswerOptions(max_new_tokens=8, temperature=1.0),
        AnswerOptions(max_new_tokens=8, num_beams=3),
    ):
        assert isinstance(engine.answer(session, "[vqa] màu gì", options), str)
    assert len(session.turns) == 2


def test_chat_answers_and_streams_turn_by_turn(engine, picture):
    chat = Chat(engine.model, Blip2ImageEvalProcessor(SIZE), device="cpu")
    talk, pictures = CONV_VISION_minigptv2.copy(), []
    assert chat.upload_img(picture, talk, pictures) == "Received."
    chat.ask("[vqa] màu gì", talk)
    chat.encode_img(pictures)
    assert pictures[0].shape == (1, SIZE**2 // 14**2 // 4, 64)
    prompt = "<s>[INST] <Img><ImageHere></Img> [vqa] màu gì"
    assert talk.get_prompt() == prompt
    assert torch.equal(
        chat.get_context_emb(talk, pictures), engine.model.get_context_emb(prompt, pictures)
    )

    torch.manual_seed(0)
    streamed = "".join(chat.stream_answer(talk, pictures, max_new_tokens=12))
    talk.messages.pop()
    torch.manual_seed(0)
    text, ids = chat.answer(talk, pictures, max_new_tokens=12)
    assert text == streamed.strip()
    assert 1 <= len(ids) <= 13
    assert talk.messages[-1] == [" [/INST]", text]

    chat.ask("hình gì", talk)
    assert talk.get_prompt() == f"{prompt} [/INST]{text}<s>[INST] hình gì"
    chat.answer(talk, pictures, max_new_tokens=4)
    assert len(talk.messages) == 4


def test_a_long_context_loses_its_beginning(engine, picture):
    chat = Chat(engine.model, Blip2ImageEvalProcessor(SIZE), device="cpu")
    talk, pictures = CONV_VISION_minigptv2.copy(), []
    chat.upload_img(picture, talk, pictures)
    chat.encode_img(pictures)
    chat.ask("màu gì", talk)
    prepared = chat.answer_prepare(talk, pictures, max_new_tokens=10, max_length=20)
    assert prepared["inputs_embeds"].shape == (1, 10, 64)


def test_each_task_answers_with_its_own_checkpoint(picture):
    other = str(PARITY / "original_checkpoint_1.pth")
    base, tuned = _model(), _model()
    tuned.load_checkpoint(other)
    both = Engine(_model(), Blip2ImageEvalProcessor(SIZE), {"detection": other})
    alone = {
        "[vqa] màu gì": Engine(base, Blip2ImageEvalProcessor(SIZE)),
        "[detection] màu gì": Engine(tuned, Blip2ImageEvalProcessor(SIZE)),
    }
    session = both.open(picture)
    options = AnswerOptions(max_new_tokens=12)
    answers = {}
    for question in [*alone, *alone]:
        engine = alone[question]
        answers[question] = engine.answer(engine.open(picture), question, options)
        assert both.answer(session, question, options) == answers[question]
    state = both.model.trainable_state_dict()
    assert all(torch.equal(value, tuned.state_dict()[name]) for name, value in state.items())
    both.answer(session, "[vqa] màu gì", options)
    state = both.model.trainable_state_dict()
    assert all(torch.equal(value, base.state_dict()[name]) for name, value in state.items())
    assert any(not torch.equal(value, tuned.state_dict()[name]) for name, value in state.items())


def test_a_task_that_does_not_exist_and_an_encoder_that_trains_are_refused():
    with pytest.raises(ConfigError, match="'vaq'; known: vqa"):
        Engine(_model(), Blip2ImageEvalProcessor(SIZE), {"vaq": "x.pth"})
    with pytest.raises(WeightsError, match=r"none\.pth"):
        Engine(_model(), Blip2ImageEvalProcessor(SIZE), {"vqa": "none.pth"})
    trains = _model(freeze_vit=False)
    with pytest.raises(ConfigError, match="freeze_vit"):
        Engine(trains, Blip2ImageEvalProcessor(SIZE), {"vqa": "none.pth"})
