import pytest

from minigpt4.common.eval_utils import prepare_texts
from minigpt4.conversation.conversation import (
    CONV_VISION_LLama2,
    CONV_VISION_minigptv2,
    CONV_VISION_Vicuna0,
    Conversation,
    SeparatorStyle,
)
from minigpt4.conversation.prompts import image_instruction, inference_prompt


def test_evaluation_prompts_are_the_original_ones():
    (prompt,) = prepare_texts(["[vqa] q"], CONV_VISION_minigptv2)
    assert prompt == "<s>[INST] <Img><ImageHere></Img> [vqa] q [/INST]"
    assert prompt == inference_prompt(
        image_instruction("[vqa] q"), template="[INST] {} [/INST]", style="original"
    )
    assert CONV_VISION_minigptv2.messages == [], "the template is not changed"


def test_several_turns_follow_each_other():
    talk = CONV_VISION_minigptv2.copy()
    for role, text in ((0, "một"), (1, "hai"), (0, "ba"), (1, None)):
        talk.append_message(talk.roles[role], text)
    assert talk.get_prompt() == "<s>[INST] một [/INST]hai<s>[INST] ba [/INST]"


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (CONV_VISION_Vicuna0, "S###Human: một###Assistant: "),
        (CONV_VISION_LLama2, "S<s>[INST] một [/INST] "),
    ],
)
def test_the_templates_of_the_first_version(template, prompt):
    assert "<Img>ImageContent</Img>" in template.system
    talk = template.copy()
    talk.system = "S"
    talk.append_message(talk.roles[0], "một")
    talk.append_message(talk.roles[1], None)
    assert talk.get_prompt() == prompt


def test_two_separators():
    talk = Conversation("S", ("A:", "B:"), sep="|", sep2="$", sep_style=SeparatorStyle.TWO)
    for role, text in (("A:", "1"), ("B:", "2"), ("A:", "3")):
        talk.append_message(role, text)
    assert talk.get_prompt() == "S|A:1|B:2$A:3|"


def test_a_copy_is_independent():
    talk = CONV_VISION_minigptv2.copy()
    talk.append_message(talk.roles[0], "một")
    other = talk.copy()
    other.messages[0][1] = "hai"
    other.append_message(other.roles[1], None)
    assert talk.messages == [[talk.roles[0], "một"]]
    assert talk.dict()["messages"] == talk.messages
    assert talk.dict()["roles"] == ("<s>[INST] ", " [/INST]")


def test_pairs_for_a_chatbot():
    talk = Conversation("", ("A", "B"), offset=1)
    for text in ("hidden", "q1", "a1", "q2"):
        talk.append_message("A", text)
    assert talk.to_gradio_chatbot() == [["q1", "a1"], ["q2", None]]
