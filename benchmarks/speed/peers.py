"""transformers' vision-language classes with PEFT at the same sizes, as fine-tuning tools use them.

Idefics3's pixel shuffle leaves as many tokens a picture as the merge of four; LLaVA's class has all
patches. The vision tower is frozen, the connector trains, LoRA is on the language model's query
and value projections.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from speed.sizes import Sizes
from speed.subjects import BATCH, NEW_TOKENS, optimizer_of, pixels

_PICTURE_TOKEN = 5


def build(name: str, sizes: Sizes, folder: Path) -> Peer:
    """A peer with random weights."""
    model, tokens = _idefics3(sizes) if name == "idefics3" else _llava(sizes)
    return Peer(_with_lora(model, sizes), sizes, tokens, tiles=name == "idefics3")


def _text(sizes: Sizes) -> Any:
    from transformers import LlamaConfig

    return LlamaConfig(
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
        vocab_size=sizes.vocabulary,
        max_position_embeddings=2048,
    )


def _vision(sizes: Sizes) -> dict[str, Any]:
    return {
        "hidden_size": sizes.vision_width,
        "num_hidden_layers": sizes.vision_depth,
        "num_attention_heads": sizes.vision_heads,
        "intermediate_size": int(sizes.vision_width * sizes.mlp_ratio),
        "image_size": sizes.image_size,
        "patch_size": sizes.patch,
    }


def _idefics3(sizes: Sizes) -> tuple[Any, int]:
    from transformers import Idefics3Config, Idefics3ForConditionalGeneration

    config = Idefics3Config(
        vision_config=_vision(sizes),
        text_config=_text(sizes),
        scale_factor=math.isqrt(sizes.merged),
        image_token_id=_PICTURE_TOKEN,
        pad_token_id=0,
    )
    return Idefics3ForConditionalGeneration(config), sizes.picture_tokens


def _llava(sizes: Sizes) -> tuple[Any, int]:
    from transformers import CLIPVisionConfig, LlavaConfig, LlavaForConditionalGeneration

    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**_vision(sizes)),
        text_config=_text(sizes),
        image_token_index=_PICTURE_TOKEN,
        vision_feature_layer=-1,
    )
    return LlavaForConditionalGeneration(config), sizes.patches


def _with_lora(model: Any, sizes: Sizes) -> Any:
    from peft import LoraConfig, get_peft_model

    connector = next(
        name
        for name, _ in model.named_modules()
        if name.rpartition(".")[2] in ("connector", "multi_modal_projector")
    )
    config = LoraConfig(
        r=sizes.lora_r,
        lora_alpha=16,
        lora_dropout=0.0,
        target_modules=r".*(text_model|language_model).*\.(q_proj|v_proj)",
        modules_to_save=[connector.rpartition(".")[2]],
    )
    return get_peft_model(model, config)


class Peer:
    """What is measured of a peer."""

    def __init__(self, model: Any, sizes: Sizes, picture_tokens: int, *, tiles: bool) -> None:
        self.model = model
        self.sizes = sizes
        self.picture_tokens = picture_tokens
        self.tiles = tiles

    def narrow(self, precision: str) -> None:
        """Give frozen weights the type in which fine-tuning tools load them for this precision."""
        if precision == "bf16":
            for parameter in self.model.parameters():
                if not parameter.requires_grad:
                    parameter.data = parameter.data.to(torch.bfloat16)

    def actions(self, mixed: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
        """What is timed, by name."""
        sizes, model = self.sizes, self.model
        half = sizes.instruction // 2
        before = [1] + [10] * half
        prompt = before + [_PICTURE_TOKEN] * self.picture_tokens
        prompt += [10] * (sizes.instruction - half)
        ids = torch.tensor([prompt + [11] * sizes.answer] * BATCH)
        labels = ids.clone()
        labels[:, : len(prompt)] = -100
        picture = pixels(sizes)
        if self.tiles:
            picture = picture[:, None]  # (B, 1, 3, S, S): one tile a picture
        optimizer = optimizer_of(model)

        def step() -> None:
            model.train()
            with mixed():
                loss = model(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    pixel_values=picture,
                    labels=labels,
                ).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        def generate() -> None:
            model.eval()
            asked = torch.tensor([prompt] * BATCH)
            with torch.inference_mode(), mixed():
                model.generate(
                    input_ids=asked,
                    attention_mask=torch.ones_like(asked),
                    pixel_values=picture,
                    max_new_tokens=NEW_TOKENS,
                    min_new_tokens=NEW_TOKENS,
                    do_sample=False,
                )

        return {"train_b4_s": step, "generate_b4x20_s": generate}
