"""Conversations as scripts around MiniGPT-4 use them: ``Conversation``, templates, ``Chat``.

The project's own demo and evaluation go through ``minigpt4.serve.engine`` and
``minigpt4.conversation.prompts``; what is here keeps existing scripts running.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from minigpt4.conversation.prompts import IMAGE_SLOT
from minigpt4.conversation.streaming import BackgroundAnswer, TokenStreamer
from minigpt4.processors.image import load_image


class SeparatorStyle(Enum):
    """How messages are joined."""

    SINGLE = auto()
    """``sep`` after every message."""
    TWO = auto()
    """``sep`` after the human's messages, ``sep2`` after the answers."""


@dataclass
class Conversation:
    """Messages of two roles, and how they are joined to one prompt.

    Attributes:
        system: What stands before the first message.
        roles: What stands before a human's message and before an answer.
        messages: ``[role, text]`` pairs; the text None asks for an answer.
        offset: Messages that belong to the template and are not shown.
        sep_style: Which separators are used.
        sep: After a message (and after ``system``).
        sep2: After an answer, for ``SeparatorStyle.TWO``.
        skip_next: Free for callers.
        conv_id: Free for callers.
    """

    system: str
    roles: Sequence[str]
    messages: list[list[str | None]] = field(default_factory=list)
    offset: int = 2
    sep_style: SeparatorStyle = SeparatorStyle.SINGLE
    sep: str = "###"
    sep2: str | None = None
    skip_next: bool = False
    conv_id: Any = None

    def get_prompt(self) -> str:
        """The whole conversation as one string; an open answer ends it with its role."""
        if self.sep_style is SeparatorStyle.TWO:
            separators = [self.sep, self.sep if self.sep2 is None else self.sep2]
        else:
            separators = [self.sep, self.sep]
        prompt = self.system + separators[0]
        for index, (role, message) in enumerate(self.messages):
            prompt += f"{role}{message}{separators[index % 2]}" if message else f"{role}"
        return prompt

    def append_message(self, role: str, message: str | None) -> None:
        """Add a message; None for an answer that is still to be generated."""
        self.messages.append([role, message])

    def to_gradio_chatbot(self) -> list[list[str | None]]:
        """Pairs of question and answer after ``offset``, the last answer None while it is open."""
        texts = [message for _, message in self.messages[self.offset :]]
        return [[*texts[i : i + 2], None][:2] for i in range(0, len(texts), 2)]

    def copy(self) -> Conversation:
        """An independent conversation with the same messages."""
        return Conversation(
            system=self.system,
            roles=self.roles,
            messages=[list(message) for message in self.messages],
            offset=self.offset,
            sep_style=self.sep_style,
            sep=self.sep,
            sep2=self.sep2,
            skip_next=self.skip_next,
            conv_id=self.conv_id,
        )

    def dict(self) -> dict[str, Any]:
        """What a script may want to store, without the separators' style."""
        names = ("system", "roles", "messages", "offset", "sep", "sep2", "conv_id")
        return {name: getattr(self, name) for name in names}


_PICTURE_COMES = (
    "Give the following image: <Img>ImageContent</Img>. You will be able to see the image once I "
    "provide it to you. Please answer my questions."
)

CONV_VISION_Vicuna0 = Conversation(system=_PICTURE_COMES, roles=("Human: ", "Assistant: "))
CONV_VISION_LLama2 = Conversation(system=_PICTURE_COMES, roles=("<s>[INST] ", " [/INST] "), sep="")
CONV_VISION_minigptv2 = Conversation(system="", roles=("<s>[INST] ", " [/INST]"), sep="")


class StoppingCriteriaSub:
    """Stops generation when the first row ends with one of several token sequences."""

    def __init__(self, stops: Sequence[Tensor] = ()) -> None:
        self.stops = list(stops)

    def __call__(self, input_ids: Tensor, scores: Tensor, **_: Any) -> Tensor:
        """One bool per row (B,), all alike, as transformers asks for."""
        tail = input_ids[0]
        done = any(
            len(tail) >= len(stop) and torch.equal(stop.to(tail.device), tail[-len(stop) :])
            for stop in self.stops
        )
        return torch.full((len(input_ids),), done, dtype=torch.bool, device=input_ids.device)


class Chat:
    """One model answering about one picture, turn by turn.

    A picture list (``img_list``) is held by the caller: ``upload_img`` puts a picture into it,
    ``encode_img`` replaces the picture by its embeddings.
    """

    def __init__(
        self,
        model: Any,
        vis_processor: Any,
        device: str = "cuda:0",
        stopping_criteria: Any = None,
    ) -> None:
        self.model = model
        self.vis_processor = vis_processor
        self.device = device
        self.stopping_criteria = stopping_criteria

    def upload_img(self, image: Any, conv: Conversation, img_list: list[Any]) -> str:
        """Announce a picture (path, PIL picture or tensor) in the conversation."""
        conv.append_message(conv.roles[0], IMAGE_SLOT)
        img_list.append(image)
        return "Received."

    @torch.inference_mode()
    def encode_img(self, img_list: list[Any]) -> None:
        """Replace the picture in ``img_list`` by its embeddings (1, N, D)."""
        image = img_list.pop(0)
        if isinstance(image, str | Path):
            image = load_image(image)
        if isinstance(image, Image.Image):
            image = self.vis_processor(image.convert("RGB"))
        if image.dim() == 3:
            image = image[None]  # (3, H, W) -> (1, 3, H, W)
        embeds, _ = self.model.encode_img(image.to(self.device))
        img_list.append(embeds)

    def ask(self, text: str, conv: Conversation) -> None:
        """Add a question; the first one joins the picture's message."""
        last = conv.messages[-1] if conv.messages else None
        if last and last[0] == conv.roles[0] and str(last[1]).endswith("</Img>"):
            last[1] = f"{last[1]} {text}"
        else:
            conv.append_message(conv.roles[0], text)

    def get_context_emb(self, conv: Conversation, img_list: list[Tensor]) -> Tensor:
        """Embeddings (1, L, D) of the conversation as it stands."""
        return self.model.get_context_emb(conv.get_prompt(), img_list)

    def answer_prepare(
        self,
        conv: Conversation,
        img_list: list[Tensor],
        max_new_tokens: int = 300,
        num_beams: int = 1,
        min_length: int = 1,
        top_p: float = 0.9,
        repetition_penalty: float = 1.05,
        length_penalty: float = 1,
        temperature: float = 1.0,
        max_length: int = 2000,
    ) -> dict[str, Any]:
        """Open an answer and return what ``model_generate`` takes.

        Contexts over ``max_length - max_new_tokens`` positions lose their beginning.
        """
        conv.append_message(conv.roles[1], None)
        embeds = self.get_context_emb(conv, img_list)
        embeds = embeds[:, max(0, embeds.shape[1] + max_new_tokens - max_length) :]
        arguments = {
            "inputs_embeds": embeds,
            "attention_mask": torch.ones(embeds.shape[:2], dtype=torch.long, device=embeds.device),
            "max_new_tokens": max_new_tokens,
            "num_beams": num_beams,
            "min_length": min_length,
            "repetition_penalty": repetition_penalty,
            "length_penalty": length_penalty,
            "do_sample": True,
            "top_p": top_p,
            "temperature": float(temperature),
        }
        if self.stopping_criteria is not None:
            arguments["stopping_criteria"] = self.stopping_criteria
        return arguments

    def answer(self, conv: Conversation, img_list: list[Tensor], **options: Any) -> tuple[str, Any]:
        """Generate the answer to the last question: its text and its token ids (an array)."""
        ids = self.model_generate(**self.answer_prepare(conv, img_list, **options))[0]
        text = self.model.tokenizer.decode(ids)
        text = text.split("###")[0].split("Assistant:")[-1].strip()
        conv.messages[-1][1] = text
        return text, ids.cpu().numpy()

    def stream_answer(
        self, conv: Conversation, img_list: list[Tensor], **options: Any
    ) -> Iterator[str]:
        """Generate in the background; iterate over the result for pieces of text.

        The caller puts the joined text into ``conv.messages[-1][1]`` when it wants another turn.
        """
        arguments = self.answer_prepare(conv, img_list, **options)
        decode = self.model.tokenizer.decode_prefix
        work = BackgroundAnswer(
            lambda tell: self.model_generate(**arguments, streamer=TokenStreamer(decode, tell))
        )
        return _pieces(work)

    @torch.inference_mode()
    def model_generate(self, **arguments: Any) -> Tensor:
        """Token ids (B, T) from the language model."""
        return self.model.llama_model.generate(**arguments)


def _pieces(work: BackgroundAnswer[Tensor]) -> Iterator[str]:
    told = 0
    try:
        for text in work:
            if len(text) > told:
                yield text[told:]
                told = len(text)
    finally:
        work.stop()
