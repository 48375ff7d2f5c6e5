"""MiniGPT-v2: a frozen encoder, a linear projection and a language model with LoRA."""

from __future__ import annotations

from minigpt4.common.registry import registry
from minigpt4.models.minigpt_base import MiniGPTBase


@registry.register_model("minigpt_v2")
class MiniGPTv2(MiniGPTBase):
    """The model of both tasks; everything it does is in ``MiniGPTBase``."""
