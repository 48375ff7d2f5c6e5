"""The project's model at given sizes, through its public methods."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from speed.sizes import Sizes
from speed.subjects import BATCH, NEW_TOKENS, optimizer_of, pixels

_TOKENIZER = Path("ckpt/tiny/llm/tokenizer.model")


def build(name: str, sizes: Sizes, folder: Path) -> Ours:
    """The model with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from minigpt4.common.settings import ModelSettings
    from minigpt4.models import MiniGPTv2

    config = LlamaConfig(
        hidden_size=sizes.hidden,
        num_hidden_layers=sizes.layers,
        num_attention_heads=sizes.heads,
        intermediate_size=sizes.intermediate,
        vocab_size=sizes.vocabulary,
        max_position_embeddings=2048,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "tokenizer.model").write_bytes(_TOKENIZER.read_bytes())
    settings = ModelSettings(
        image_size=sizes.image_size,
        vit_weights="random",
        vit_config={
            "embed_dim": sizes.vision_width,
            "depth": sizes.vision_depth,
            "num_heads": sizes.vision_heads,
            "mlp_ratio": sizes.mlp_ratio,
            "patch_size": sizes.patch,
        },
        vit_precision="fp32",
        llama_model=str(folder),
        lora_r=sizes.lora_r,
        lora_dropout=0.0,
        max_txt_len=1024,
        chat_template=True,
        end_sym="</s>",
    )
    return Ours(MiniGPTv2.from_config(settings, torch.device("cpu")), sizes)


class Ours:
    """What is measured of the project's model."""

    def __init__(self, model: Any, sizes: Sizes) -> None:
        self.model = model
        self.sizes = sizes
        self.instruction = self._instruction()
        self.answer = self._text(sizes.answer - 1)  # and the end

    def _text(self, tokens: int) -> str:
        """Text of so many tokens."""
        words = "a"
        while len(self.model.tokenizer.encode(words)) < tokens:
            words += " a"
        assert len(self.model.tokenizer.encode(words)) == tokens
        return words

    def _instruction(self) -> str:
        from minigpt4.conversation.prompts import image_instruction, training_prompt

        words = "a"
        while True:
            instruction = image_instruction(words)
            prompt = training_prompt(
                instruction, template=self.model.settings.prompt_template, chat_template=True
            )
            have = len(self.model.sequences.prompt(prompt, 1, 1)) - 1
            if have >= self.sizes.instruction:
                return instruction
            words += " a"

    def actions(self, mixed: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
        """What is timed, by name."""
        model, picture = self.model, pixels(self.sizes)
        with torch.inference_mode():
            features = model.encode_image_features(picture).clone()
        texts = {"instruction_input": [self.instruction] * BATCH, "answer": [self.answer] * BATCH}
        optimizer = optimizer_of(model)
        prompts = [f"[INST] {self.instruction}[/INST]"] * BATCH

        def encode() -> None:
            with mixed():
                model.encode_image_features(picture)

        def step(**pictures: Any) -> None:
            model.train()
            with mixed():
                loss = model({**texts, **pictures})["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        def generate(**pictures: Any) -> None:
            with torch.inference_mode(), mixed():
                model.generate(
                    texts=prompts,
                    max_new_tokens=NEW_TOKENS,
                    min_length=NEW_TOKENS + 1,
                    **pictures,
                )

        return {
            "encode_b4_s": encode,
            "train_b4_s": lambda: step(image=picture),
            "train_b4_cached_s": lambda: step(image_features=features),
            "generate_b4x20_s": lambda: generate(images=picture),
            "generate_b4x20_cached_s": lambda: generate(image_features=features),
        }
