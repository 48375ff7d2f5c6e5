"""Prompts: the fixed strings, and that inference asks as training taught."""

import pytest

from minigpt4.common.errors import DataError
from minigpt4.conversation import prompts
from minigpt4.conversation.prompts import (
    image_instruction,
    inference_prompt,
    split_at_images,
    training_prompt,
    wrap,
)

TEMPLATE = "[INST] {} [/INST]"


def test_fixed_strings():
    assert prompts.VIVQA_PROMPTS == (
        "[vqa] {question}",
        "[vqa] Based on the image, respond to this question with a short answer: {question}",
    )
    assert prompts.VIVQA_PROMPTS[1] == prompts.VIVQA_EVAL_PROMPT
    assert prompts.MVTEC_PROMPT == (
        "[detection] a defect or not-defect object and return the bounding boxes and its label. "
        "If not, bound around the object."
    )
    assert prompts.REC_EVAL_PROMPT == "[refer] give me the location of {phrase}"


def test_instruction_has_one_space_at_its_end():
    text = image_instruction("màu gì", tag=prompts.TAG_VQA)
    assert text == "<Img><ImageHere></Img> [vqa] màu gì "
    assert image_instruction("xin chào") == "<Img><ImageHere></Img> xin chào "


def test_several_pictures_have_a_slot_each():
    assert split_at_images(image_instruction("so sánh", pictures=2)) == [
        "<Img>",
        "</Img><Img>",
        "</Img> so sánh ",
    ]


def test_training_prompt_has_two_spaces_before_the_end_of_the_template():
    instruction = image_instruction("q", tag="[vqa]")
    with_template = training_prompt(instruction, template=TEMPLATE, chat_template=True)
    assert with_template == "[INST] <Img><ImageHere></Img> [vqa] q  [/INST]"
    assert training_prompt(instruction, template=TEMPLATE, chat_template=False) == instruction


@pytest.mark.parametrize("chat_template", [True, False])
@pytest.mark.parametrize("text", ["[vqa] q", "[detection] x.", "", "hai  khoảng trắng ", "{}"])
def test_inference_prompt_is_the_training_prompt(text, chat_template):
    instruction = image_instruction(text)
    asked = inference_prompt(instruction, template=TEMPLATE, chat_template=chat_template)
    assert asked == training_prompt(instruction, template=TEMPLATE, chat_template=chat_template)


def test_original_style_has_a_second_bos_and_one_space_less():
    instruction = image_instruction("q", tag="[vqa]")
    asked = inference_prompt(instruction, template=TEMPLATE, style="original")
    assert asked == "<s>[INST] <Img><ImageHere></Img> [vqa] q [/INST]"


def test_braces_in_a_question_are_only_text():
    assert wrap("có {} hay {0}?", TEMPLATE) == "[INST] có {} hay {0}? [/INST]"
    assert prompts.VIVQA_PROMPTS[0].format(question="{x}") == "[vqa] {x}"


def test_text_cannot_smuggle_in_a_picture():
    with pytest.raises(DataError, match="<ImageHere>"):
        image_instruction("what is <ImageHere>")


def test_unknown_tag_and_style_are_refused():
    with pytest.raises(ValueError, match=r"\[vqaa\]"):
        image_instruction("q", tag="[vqaa]")
    with pytest.raises(ValueError, match="modern"):
        inference_prompt("q", template=TEMPLATE, style="modern")  # type: ignore[arg-type]
