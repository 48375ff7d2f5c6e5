"""Sizes of public language models, for machines where their configuration cannot be had.

The numbers are those of the models' published ``config.json``; nothing else of them is here.
"""

from __future__ import annotations

from typing import Any

_LLAMA_7B: dict[str, Any] = {
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 32,
    "vocab_size": 32000,
    "tie_word_embeddings": False,
}
_LLAMA_13B: dict[str, Any] = _LLAMA_7B | {
    "hidden_size": 5120,
    "intermediate_size": 13824,
    "num_hidden_layers": 40,
    "num_attention_heads": 40,
    "num_key_value_heads": 40,
}

KNOWN: dict[str, dict[str, Any]] = {
    "llama-2-7b": _LLAMA_7B,
    "llama-2-7b-hf": _LLAMA_7B,
    "llama-2-7b-chat": _LLAMA_7B,
    "llama-2-7b-chat-hf": _LLAMA_7B,
    "vicuna-7b": _LLAMA_7B,
    "vicuna-7b-v1.5": _LLAMA_7B,
    "llama-2-13b-hf": _LLAMA_13B,
    "llama-2-13b-chat-hf": _LLAMA_13B,
    "vicuna-13b-v1.5": _LLAMA_13B,
}
"""Last part of a hub id or folder, in lower case, to the configuration's sizes."""


def known_config(name: str) -> dict[str, Any] | None:
    """The sizes of a language model by its hub id or folder, or None."""
    return KNOWN.get(name.rstrip("/").rpartition("/")[2].lower())
