"""What travels from a data set to the model: ``Sample`` and ``Batch``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypedDict

from torch import Tensor

CONNECT_SYM = "!@#"
"""Joins the turns of a conversation within one string of a batch."""


@dataclass(slots=True)
class Turn:
    """One instruction and its answer.

    The instruction is complete but for the chat template, e.g.
    ``<Img><ImageHere></Img> [vqa] màu của chiếc bình là gì ``.
    """

    instruction: str
    answer: str


@dataclass(slots=True)
class Sample:
    """One example of a data set.

    Attributes:
        id: Unique within its data set and stable between runs.
        turns: At least one; more than one for a conversation.
        image: Pixel values (3, H, W), or (T, 3, H, W) for several pictures; None for text only.
        features: The frozen encoder's output (N, D), given instead of ``image`` when cached.
        image_path: Where the picture came from, for messages and reports; None when none is shown.
        picture: Name of the picture the sample is about, the same for all its samples, also where
            it is blanked; empty for text only.
        meta: What scoring needs besides the answer (question type, class, box ...).
    """

    id: str
    turns: list[Turn]
    image: Tensor | None = None
    features: Tensor | None = None
    image_path: str | None = None
    picture: str = ""
    meta: dict[str, Any] = field(default_factory=dict)


class Batch(TypedDict, total=False):
    """What ``model(samples)`` takes: ``instruction_input``/``answer`` or ``conv_q``/``conv_a``.

    Keys:
        image: Pixel values (B, 3, H, W), or (B, T, 3, H, W) with ``length``.
        image_features: Cached encoder output (B, N, D), instead of ``image``.
        length: Pictures of each sample, when they differ.
        instruction_input, answer: One string per sample.
        conv_q, conv_a: Turns of each sample, joined by its ``connect_sym``.
        dataset: The data set's name, for messages.
        sample_id, image_path, picture, meta: Per sample, for messages and scoring only.
    """

    image: Tensor
    image_features: Tensor
    length: list[int]
    instruction_input: list[str]
    answer: list[str]
    conv_q: list[str]
    conv_a: list[str]
    connect_sym: list[str]
    dataset: str
    sample_id: list[str]
    image_path: list[str | None]
    picture: list[str]
    meta: list[dict[str, Any]]
