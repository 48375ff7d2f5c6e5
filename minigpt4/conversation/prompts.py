"""The only place where strings are joined to a prompt, for training and for inference alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from minigpt4.common.errors import DataError

PromptStyle = Literal["training", "original"]

IMAGE = "<ImageHere>"
"""Where the picture's embeddings go."""
IMAGE_SLOT = f"<Img>{IMAGE}</Img>"

TAG_VQA = "[vqa]"
TAG_CAPTION = "[caption]"
TAG_GROUNDING = "[grounding]"
TAG_REFER = "[refer]"
TAG_IDENTIFY = "[identify]"
TAG_DETECTION = "[detection]"
TAGS = (TAG_VQA, TAG_CAPTION, TAG_GROUNDING, TAG_REFER, TAG_IDENTIFY, TAG_DETECTION)

# Trained weights depend on the wording of these; each begins with its tag.
VIVQA_PROMPTS = (
    "[vqa] {question}",
    "[vqa] Based on the image, respond to this question with a short answer: {question}",
)
VIVQA_EVAL_PROMPT = VIVQA_PROMPTS[1]
MVTEC_PROMPT = (
    "[detection] a defect or not-defect object and return the bounding boxes and its label. "
    "If not, bound around the object."
)
REC_EVAL_PROMPT = "[refer] give me the location of {phrase}"

ORIGINAL_BOS = "<s>"
"""The original writes a BOS into its inference prompts, to which its tokenizer adds another."""


def image_instruction(text: str, *, tag: str | None = None, pictures: int = 1) -> str:
    """Build the instruction about a picture, without the chat template.

    Args:
        text: What is asked; it may begin with a tag itself.
        tag: One of ``TAGS``, put before the text; None for none.
        pictures: Number of pictures, each with its slot.

    Returns:
        ``<Img><ImageHere></Img> [vqa] text `` with the one space at the end that training has.

    Raises:
        ValueError: An unknown tag.
        DataError: The text holds the picture's placeholder.
    """
    if tag is not None and tag not in TAGS:
        raise ValueError(f"unknown task tag {tag!r}; known: {' '.join(TAGS)}")
    if IMAGE in text:
        raise DataError(
            f"the text {text[:80]!r} holds {IMAGE}, which stands for a picture: remove it."
        )
    words = text if tag is None else f"{tag} {text}"
    return f"{IMAGE_SLOT * pictures} {words} "


def wrap(instruction: str, template: str) -> str:
    """Put an instruction into a chat template such as ``[INST] {} [/INST]``."""
    return template.replace("{}", instruction, 1)


def training_prompt(instruction: str, *, template: str, chat_template: bool) -> str:
    """Build the prompt that precedes an answer in training.

    Args:
        instruction: An instruction as ``image_instruction`` builds it.
        template: Chat template with one ``{}``.
        chat_template: Whether the template is used.
    """
    return wrap(instruction, template) if chat_template else instruction


def training_turns(
    samples: Mapping[str, Any], *, template: str, chat_template: bool
) -> list[tuple[list[str], list[str]]]:
    """Each sample's prompts and answers, as the language model sees them in training.

    Args:
        samples: A batch as ``collate`` makes it.
        template: Chat template with one ``{}``; conversations always have it.
        chat_template: Whether single instructions have it.
    """
    if "conv_q" in samples:
        turns = []
        for questions, answers, symbol in zip(
            samples["conv_q"], samples["conv_a"], samples["connect_sym"], strict=True
        ):
            prompts = [wrap(question, template) for question in questions.split(symbol)]
            turns.append((prompts, answers.split(symbol)))
        return turns
    prompts = [
        training_prompt(instruction, template=template, chat_template=chat_template)
        for instruction in samples["instruction_input"]
    ]
    return [([p], [a]) for p, a in zip(prompts, samples["answer"], strict=True)]


def inference_prompt(
    instruction: str,
    *,
    template: str,
    chat_template: bool = True,
    style: PromptStyle = "training",
) -> str:
    """Build the prompt that a model continues at inference.

    Args:
        instruction: An instruction as ``image_instruction`` builds it.
        template: Chat template with one ``{}``.
        chat_template: Whether the model was trained with the template.
        style: ``training`` gives exactly the training prompt. ``original`` gives what the original
            used at evaluation whatever ``chat_template`` says: a BOS in the text (so two once
            tokenized) and one space less before the end of the template.

    Raises:
        ValueError: An unknown style.
    """
    if style == "training":
        return training_prompt(instruction, template=template, chat_template=chat_template)
    if style == "original":
        return ORIGINAL_BOS + wrap(instruction.removesuffix(" "), template)
    raise ValueError(f"unknown prompt style {style!r}; known: training, original")


def split_at_images(prompt: str) -> list[str]:
    """Cut a prompt at its pictures: n placeholders give n + 1 pieces of text."""
    return prompt.split(IMAGE)
