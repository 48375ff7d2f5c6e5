"""A model of the real architecture, small enough for every test that needs a loss."""

from functools import cache
from pathlib import Path

import torch

from minigpt4.common.settings import ModelSettings
from minigpt4.models.minigpt_v2 import MiniGPTv2

IMAGE_SIZE = 56
"""Sixteen patch tokens, so four after merging."""


@cache
def tiny_model() -> MiniGPTv2:
    """Random encoder and projection over a tiny Llama; made once a session, not to be changed."""
    torch.manual_seed(0)
    settings = ModelSettings(
        image_size=IMAGE_SIZE,
        vit_weights="random",
        vit_config={"embed_dim": 64, "depth": 1, "num_heads": 4},
        llama_model=str(Path(__file__).parent / "fixtures" / "parity" / "tiny_llama_vi1000"),
        lora_r=8,
        chat_template=True,
        max_txt_len=1024,
        end_sym="</s>",
    )
    return MiniGPTv2.from_config(settings, torch.device("cpu"))
