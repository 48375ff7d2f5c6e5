import itertools
import threading
import unicodedata

import pytest
import torch
from PIL import Image

from minigpt4.common.errors import DataError
from minigpt4.conversation.prompts import MVTEC_PROMPT, VIVQA_EVAL_PROMPT
from minigpt4.serve.engine import AnswerOptions, Engine, split_tag, to_question

REMEMBER = AnswerOptions(remember=True)


@pytest.mark.parametrize(
    ("typed", "tag", "words"),
    [
        ("[vqa] màu gì", "[vqa]", "màu gì"),
        ("  [VQA]màu gì ", "[vqa]", "màu gì"),
        (MVTEC_PROMPT, "[detection]", MVTEC_PROMPT.removeprefix("[detection] ")),
        ("màu gì [vqa]", None, "màu gì [vqa]"),
        ("[tag] màu gì", None, "[tag] màu gì"),
        ("", None, ""),
    ],
)
def test_the_tag_is_taken_off_the_start(typed, tag, words):
    assert split_tag(typed) == (tag, words)


def test_a_vqa_question_becomes_what_training_has():
    typed = unicodedata.normalize("NFD", "[vqa]  Màu của   chiếc bình là gì?")
    assert to_question(typed) == "[vqa] màu của chiếc bình là gì"


def test_the_wording_of_training_around_a_vqa_question_stays_as_it_is():
    typed = VIVQA_EVAL_PROMPT.format(question="Màu của chiếc bình là gì?")
    assert to_question(typed) == VIVQA_EVAL_PROMPT.format(question="màu của chiếc bình là gì")


def test_other_texts_keep_their_letters_and_signs():
    assert to_question("[refer] Con mèo bên trái.") == "[refer] Con mèo bên trái."
    assert to_question(MVTEC_PROMPT) == MVTEC_PROMPT
    assert to_question("Xin chào?") == "Xin chào?"


@pytest.mark.parametrize("typed", ["", "   ", "[vqa]", "[vqa] ??", "[caption]  "])
def test_an_empty_question_is_refused(typed):
    with pytest.raises(DataError, match="empty"):
        to_question(typed)


def test_the_first_prompt_is_the_training_prompt(engine, pictures):
    session = engine.open(pictures["bright"])
    texts = engine.prompt(session, "[vqa] màu gì", AnswerOptions())
    assert texts == ["[INST] <Img><ImageHere></Img> [vqa] màu gì  [/INST]"]


def test_a_later_turn_follows_the_earlier_ones_as_in_training(engine, model, pictures):
    session = engine.open(pictures["bright"])
    engine.answer(session, "[vqa] màu gì")
    engine.answer(session, "còn gì nữa")

    first, second = "<Img><ImageHere></Img> [vqa] màu gì ", "còn gì nữa "
    assert model.asked[1] == [f"[INST] {first} [/INST]", "ảnh sáng", f"[INST] {second} [/INST]"]
    training = model.sequences.training(
        [f"[INST] {first} [/INST]", f"[INST] {second} [/INST]"], ["ảnh sáng", "x"], 1, 4
    )
    asked = model.sequences.inference(model.asked[1], 1, 4)
    assert asked.ids == training.ids[: len(asked.ids)]
    assert len(training.ids) - len(asked.ids) == len("x$")


def test_the_original_style_puts_one_more_bos_at_the_very_beginning_only(pictures, model):
    model.prompt_style = "original"
    engine = Engine(model, lambda image: torch.ones(3, 2, 2))
    session = engine.open(pictures["bright"])
    engine.answer(session, "[vqa] màu gì")
    engine.answer(session, "[vqa] hình gì", REMEMBER)
    assert model.asked[1] == [
        "<s>[INST] <Img><ImageHere></Img> [vqa] màu gì [/INST]",
        "ảnh sáng",
        "[INST] [vqa] hình gì [/INST]",
    ]


def test_a_task_is_asked_by_itself_unless_told_otherwise(engine, model, pictures):
    session = engine.open(pictures["bright"])
    for question in ("[vqa] màu gì", "xin chào", "[vqa] hình gì"):
        engine.answer(session, question)
    engine.answer(session, "[vqa] hình gì", REMEMBER)
    assert [len(texts) for texts in model.asked] == [1, 3, 1, 7]
    assert model.asked[2] == ["[INST] <Img><ImageHere></Img> [vqa] hình gì  [/INST]"]
    assert len(session.turns) == 4, "all turns are kept for later"


def test_a_talk_that_grows_too_long_loses_its_oldest_turns_but_never_the_picture(engine, pictures):
    session = engine.open(pictures["bright"])
    for number in range(12):
        engine.answer(session, f"[vqa] câu hỏi thứ {number} về bức ảnh này")
    texts = engine.prompt(session, "[vqa] câu cuối", REMEMBER)
    assert len(session.turns) == 12
    assert 1 < len(texts) < 25
    assert "<ImageHere>" in texts[0] and "thứ 0" not in texts[0]
    assert "câu hỏi thứ 11" in texts[-3] and "câu cuối" in texts[-1]
    assert len(engine.model.sequences.inference(texts, 1, 4).ids) <= 400
    assert not engine.model.sequences.counts


def test_a_picture_is_encoded_once(engine, model, pictures):
    session = engine.open(pictures["dark"])
    for _ in range(3):
        assert engine.answer(session, "[vqa] sáng hay tối") == "ảnh tối"
    assert model.encoded == 1


def test_the_stream_grows_to_the_whole_answer(engine, pictures):
    session = engine.open(pictures["bright"])
    texts = list(engine.answer_stream(session, "[vqa] sáng hay tối"))
    assert texts[-1] == "ảnh sáng"
    assert len(texts) > 4
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(texts))
    beams = list(engine.answer_stream(session, "[vqa] a", AnswerOptions(num_beams=2)))
    assert beams == ["ảnh sáng"]


def test_sessions_do_not_mix_and_answers_are_made_one_after_another(engine, model, pictures):
    bright, dark = engine.open(pictures["bright"]), engine.open(pictures["dark"])
    answers = {}

    def talk(name, session):
        answers[name] = [engine.answer(session, f"[vqa] câu {number}") for number in range(5)]

    people = [
        threading.Thread(target=talk, args=pair) for pair in (("bright", bright), ("dark", dark))
    ]
    for person in people:
        person.start()
    for person in people:
        person.join(timeout=20)
    assert answers == {"bright": ["ảnh sáng"] * 5, "dark": ["ảnh tối"] * 5}
    assert not model.overlapped
    assert len(bright.turns) == len(dark.turns) == 5


def test_leaving_ends_the_generation_and_keeps_nothing(engine, model, pictures):
    session = engine.open(pictures["bright"])
    stream = engine.answer_stream(session, "[vqa] sáng hay tối")
    assert next(stream)
    stream.close()
    assert not model.running.is_set(), "the generation has ended when close returns"
    assert session.turns == []
    assert engine.answer(session, "[vqa] sáng hay tối") == "ảnh sáng"


def test_errors_of_the_model_reach_the_caller(engine, pictures):
    session = engine.open(pictures["bright"])
    with pytest.raises(RuntimeError, match="a defect of the program"):
        engine.answer(session, "[vqa] crash")
    assert session.turns == []
    assert engine.answer(session, "[vqa] sáng hay tối") == "ảnh sáng"


def test_a_task_needs_a_picture_but_a_talk_does_not(engine):
    session = engine.open()
    with pytest.raises(DataError, match="no picture"):
        engine.answer(session, "[vqa] màu gì")
    assert engine.answer(session, "xin chào") == "chào bạn"
    assert engine.model.asked == [["[INST] xin chào [/INST]"]]


def test_a_text_with_the_placeholder_of_pictures_is_refused(engine, pictures):
    session = engine.open(pictures["bright"])
    engine.answer(session, "[vqa] màu gì")
    with pytest.raises(DataError, match="ImageHere"):
        engine.answer(session, "[refer] <ImageHere>")


@pytest.mark.parametrize("name", ["text", "cut"])
def test_a_broken_picture_is_refused(engine, pictures, name):
    with pytest.raises(DataError, match=pictures[name].name):
        engine.open(pictures[name])


def test_photographs_are_turned_upright(engine, tmp_path):
    photograph = Image.new("RGB", (60, 40), "white")
    exif = photograph.getexif()
    exif[0x0112] = 6  # held upright: the stored rows are columns
    photograph.save(tmp_path / "photo.jpg", exif=exif)
    assert engine.open(tmp_path / "photo.jpg").image.size == (40, 60)
