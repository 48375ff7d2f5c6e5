"""The project's model at given sizes, through its public methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from speed.sizes import Sizes
from speed.subjects import BATCH, NEW_TOKENS, optimizer_of, pixels

MIXED_LENGTHS = (60, 120, 300, 307)
"""Of the samples in a batch of mixed lengths."""

_TOKENIZER = Path("ckpt/tiny/llm/tokenizer.model")


def write_language_model(sizes: Sizes, folder: Path) -> None:
    """A folder that ``model.llama_model`` can name, with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

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


def model_section(sizes: Sizes, folder: Path) -> dict[str, Any]:
    """Section ``model`` of a configuration of these sizes."""
    return {
        "image_size": sizes.image_size,
        "vit_weights": "random",
        "vit_config": {
            "embed_dim": sizes.vision_width,
            "depth": sizes.vision_depth,
            "num_heads": sizes.vision_heads,
            "mlp_ratio": sizes.mlp_ratio,
            "patch_size": sizes.patch,
        },
        "vit_precision": "fp32",
        "llama_model": str(folder),
        "lora_r": sizes.lora_r,
        "lora_dropout": 0.0,
        "max_txt_len": 1024,
        "chat_template": True,
        "end_sym": "</s>",
    }


def build(name: str, sizes: Sizes, folder: Path) -> Ours:
    """The model with random weights."""
    from minigpt4.common.imports import import_model_libraries
    from minigpt4.common.settings import ModelSettings

    import_model_libraries()  # as the commands do
    from minigpt4.models import MiniGPTv2

    write_language_model(sizes, folder)
    settings = ModelSettings(**model_section(sizes, folder))
    return Ours(MiniGPTv2.from_config(settings, torch.device("cpu")), sizes)


class Ours:
    """What is measured of the project's model."""

    def __init__(self, model: Any, sizes: Sizes) -> None:
        self.model = model
        self.sizes = sizes
        self.instruction = self._instruction()
        self.answer = self._text(sizes.answer - 1)  # and the end

    def narrow(self, precision: str) -> None:
        """Prepare the process and the frozen weights as runs in this precision do."""
        from minigpt4.common.memory import keep_freed_memory
        from minigpt4.models.precision import fit_weights

        keep_freed_memory()
        fit_weights(self.model, precision)

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

    def text_samples(self, lengths: Sequence[int]) -> dict[str, list[str]]:
        """Samples without a picture, of so many positions each, the answer's included."""
        from minigpt4.conversation.prompts import training_turns

        answer = len(self.model.tokenizer.encode(self.answer + "</s>"))
        settings = self.model.settings
        questions = []
        for length in lengths:
            words = "a"
            while True:
                given = {"instruction_input": [words], "answer": [self.answer]}
                ((prompts, _),) = training_turns(
                    given, template=settings.prompt_template, chat_template=True
                )
                have = 1 + len(self.model.sequences.prompt(prompts[0], 0, 0)) + answer
                if have >= length:
                    break
                words += " a" * (length - have)
            questions.append(words)
        return {"instruction_input": questions, "answer": [self.answer] * len(lengths)}

    def actions(self, mixed: Callable[[], Any]) -> dict[str, Callable[[], Any]]:
        """What is timed, by name."""
        model, picture = self.model, pixels(self.sizes)
        with torch.inference_mode():
            features = model.encode_image_features(picture).clone()
        texts = {"instruction_input": [self.instruction] * BATCH, "answer": [self.answer] * BATCH}
        optimizer = optimizer_of(model)
        prompts = [f"[INST] {self.instruction}[/INST]"] * BATCH

        mixed_lengths = self.text_samples(MIXED_LENGTHS)
        even = sum(MIXED_LENGTHS) // BATCH
        even_lengths = self.text_samples([even, even, even, sum(MIXED_LENGTHS) - 3 * even])

        def encode() -> None:
            with mixed():
                model.encode_image_features(picture)

        def step_on(samples: dict[str, Any]) -> None:
            model.train()
            with mixed():
                loss = model(samples)["loss"]
            loss.backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        def generate(**pictures: Any) -> None:
            model.eval()
            with torch.inference_mode(), mixed():
                model.generate(
                    texts=prompts,
                    max_new_tokens=NEW_TOKENS,
                    min_length=NEW_TOKENS + 1,
                    **pictures,
                )

        return {
            "encode_b4_s": encode,
            "train_b4_s": lambda: step_on({**texts, "image": picture}),
            "train_b4_cached_s": lambda: step_on({**texts, "image_features": features}),
            "train_mixed_s": lambda: step_on(mixed_lengths),
            "train_even_s": lambda: step_on(even_lengths),
            "generate_b4x20_s": lambda: generate(images=picture),
            "generate_b4x20_cached_s": lambda: generate(image_features=features),
        }
