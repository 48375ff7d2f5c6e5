"""The small language model before training: its sizes and its tokenizer."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from minigpt4.conversation.prompts import (
    MVTEC_PROMPT,
    VIVQA_PROMPTS,
    image_instruction,
    wrap,
)

VOCABULARY = 1024
HIDDEN = 128
LAYERS = 4
HEADS = 4
INTERMEDIATE = 352
POSITIONS = 512


def corpus(pretrain: Path, template: str) -> Iterator[str]:
    """Every text of the pre-training data, and the fixed words of the prompts.

    Args:
        pretrain: Folder with ``captions.json``, ``grounded.json``, ``refer.json``, ``text.json``.
        template: Prompt template, whose words the tokenizer should know too.
    """
    for name in ("captions", "grounded", "refer", "text"):
        for row in json.loads((pretrain / f"{name}.json").read_text(encoding="utf-8")):
            yield from (value for key, value in row.items() if key not in ("image", "bbox"))
    for prompt in (*VIVQA_PROMPTS, MVTEC_PROMPT):
        instruction = image_instruction(prompt.replace("{question}", ""))
        yield from [wrap(instruction, template)] * 200  # often enough to become whole pieces


def train_tokenizer(texts: Iterable[str], target: Path) -> None:
    """Train a sentencepiece BPE in which each coordinate ``<0>`` .. ``<100>`` is one piece.

    It splits, prefixes and falls back to bytes as Llama's does.

    Args:
        texts: What to learn pieces from.
        target: ``tokenizer.model`` to write.
    """
    import sentencepiece

    with tempfile.TemporaryDirectory() as folder:
        prefix = Path(folder) / "tokenizer"
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_prefix=str(prefix),
            model_type="bpe",
            vocab_size=VOCABULARY,
            user_defined_symbols=[f"<{value}>" for value in range(101)],
            byte_fallback=True,
            split_digits=True,
            character_coverage=1.0,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,  # the same pieces on any machine
            minloglevel=2,
        )
        target.write_bytes(prefix.with_suffix(".model").read_bytes())


def write_blank_model(folder: Path, texts: Iterable[str]) -> None:
    """Write a Llama configuration and a tokenizer; without weights it starts at random.

    Args:
        folder: What ``model.llama_model`` names afterwards.
        texts: What the tokenizer learns from.
    """
    from transformers import LlamaConfig

    folder.mkdir(parents=True, exist_ok=True)
    train_tokenizer(texts, folder / "tokenizer.model")
    LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=HIDDEN,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        intermediate_size=INTERMEDIATE,
        max_position_embeddings=POSITIONS,
        rms_norm_eps=1e-5,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=False,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(folder)
