"""The language model: any causal LM from a folder, the hub or a GGUF file, with LoRA."""

from __future__ import annotations

import inspect
import logging
import os
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minigpt4.common.errors import ConfigError, WeightsError, is_out_of_memory
from minigpt4.common.imports import light_peft
from minigpt4.common.settings import ModelSettings
from minigpt4.models.hub import Source, explain, hub_token, locate
from minigpt4.models.quantization import make_trainable, quantization_config
from minigpt4.models.tokenizer import LlmTokenizer

logger = logging.getLogger(__name__)

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}

NEEDED_ARGUMENTS = ("inputs_embeds", "past_key_values", "logits_to_keep")
"""What a causal LM must take to see pictures, to answer, and to spare logits."""


@dataclass(slots=True)
class LanguageModel:
    """A causal LM and its tokenizer.

    Attributes:
        model: The network, wrapped by PEFT when LoRA is used.
        tokenizer: Its tokenizer.
        has_weights: False when there was a configuration only, so that weights are random until a
            checkpoint brings them.
        is_quantized: Whether the weights are in 8 or 4 bit.
    """

    model: Any
    tokenizer: LlmTokenizer
    has_weights: bool
    is_quantized: bool


def default_device(settings: ModelSettings | None = None) -> torch.device:
    """CUDA when there is some, else the CPU.

    Which CUDA device is the launcher's choice; without a launcher ``device_8bit`` says where a
    quantized language model goes.
    """
    if not torch.cuda.is_available():
        return torch.device("cpu")
    quantized = settings is not None and (settings.low_resource or settings.load_in_4bit)
    fallback = settings.device_8bit if settings is not None and quantized else 0
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", fallback)))


def resolve_precision(
    name: str, device: torch.device, *, key: str, trains: bool = False
) -> torch.dtype:
    """Type of weights: ``auto`` is fp16 on CUDA and fp32 elsewhere.

    fp16 means fp32 where the device is not CUDA, as its kernels there are slow or missing, and
    where the weights themselves train, as small steps would be lost.

    Raises:
        ConfigError: Unknown name.
    """
    if name != "auto" and name not in PRECISIONS:
        raise ConfigError(f"{key} is {name!r}; use {', '.join(PRECISIONS)}.")
    if name in ("auto", "fp16") and (trains or device.type != "cuda"):
        return torch.float32
    return PRECISIONS["fp16" if name == "auto" else name]


def load_language_model(settings: ModelSettings, device: torch.device) -> LanguageModel:
    """Load the language model and its tokenizer, quantize it and add LoRA as the settings say.

    Args:
        settings: Section ``model``.
        device: Where it will run; a quantized model is put there at once.
    Raises:
        ConfigError: Settings that contradict each other.
        WeightsError: Nothing usable at ``model.llama_model``.
        AccessError: The hub refuses.
        ResourceError: Quantization is not possible on this machine.
    """
    if not settings.llama_model:
        raise ConfigError("model.llama_model is empty: name a folder, a hub id or a GGUF file.")
    quantization = quantization_config(settings, device)
    source = locate(settings.llama_model)
    has_weights = source.has_weights
    is_filled_later = bool(settings.ckpt) or not settings.freeze_llm
    if not has_weights and (quantization is not None or not is_filled_later):
        raise WeightsError(
            f"{source.name} (model.llama_model) holds a configuration but no weights: add "
            "model.safetensors, or name a checkpoint with the language model in model.ckpt (which "
            "a quantized one cannot take)."
        )
    kwargs: dict[str, Any] = {
        "dtype": resolve_precision(
            settings.llm_precision,
            device,
            key="model.llm_precision",
            trains=not settings.freeze_llm,
        )
    }
    if quantization is not None:
        kwargs |= {"quantization_config": quantization, "device_map": {"": device}}
    model = _load_model(source, kwargs, random=not has_weights)
    unable = [a for a in NEEDED_ARGUMENTS if not accepts(model, a)]
    if unable:
        raise WeightsError(
            f"{source.name} (model.llama_model) is a {type(model).__name__}, which takes no "
            f"{', '.join(unable)}: choose a decoder-only transformer."
        )
    tokenizer = load_tokenizer(source, model.get_input_embeddings().weight.shape[0])
    model.requires_grad_(not settings.freeze_llm)
    if quantization is not None:
        make_trainable(model)
    if settings.use_grad_checkpoint_llm:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if settings.lora_r > 0:
        model = add_lora(model, settings)
    return LanguageModel(model, tokenizer, has_weights, quantization is not None)


def add_lora(model: Any, settings: ModelSettings) -> Any:
    """Wrap a causal LM by PEFT with LoRA on ``lora_target_modules``.

    Raises:
        ConfigError: A name is no layer of the model.
    """
    last = {name.rpartition(".")[2]: module for name, module in model.named_modules()}
    absent = [t for t in settings.lora_target_modules if t.rpartition(".")[2] not in last]
    if absent:
        linear = sorted(n for n, m in last.items() if isinstance(m, nn.Linear))
        raise ConfigError(
            f"model.lora_target_modules names {', '.join(absent)}, which this language model does "
            f"not have; its linear layers are {', '.join(linear)}."
        )
    trains = [p for p in model.parameters() if p.requires_grad]
    with light_peft(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # PEFT's use of transformers
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(
            r=settings.lora_r,
            lora_alpha=settings.lora_alpha,
            lora_dropout=settings.lora_dropout,
            target_modules=list(settings.lora_target_modules),
            bias="none",
            task_type="CAUSAL_LM",
        )
        wrapped = get_peft_model(model, config)
    for parameter in trains:  # PEFT freezes the base, which freeze_llm=False means to train too
        parameter.requires_grad_(True)
    return wrapped


def accepts(model: Any, argument: str) -> bool:
    """Whether a causal LM, wrapped by PEFT or not, takes an argument."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return argument in inspect.signature(base.forward).parameters


def save_language_model(model: Any, folder: str | Path, dtype: torch.dtype | None = None) -> None:
    """Write a language model without LoRA as a folder that ``model.llama_model`` can name.

    The tokenizer's files are not part of it.

    Args:
        model: The causal LM, not wrapped by PEFT.
        folder: Made when it is not there.
        dtype: Type of the weights; None keeps it.
    """
    once = dict(model.named_parameters())  # tied weights are one parameter under two names
    state = {name: value.detach().to(dtype or value.dtype) for name, value in once.items()}
    model.save_pretrained(folder, state_dict=state)


def _load_model(source: Source, kwargs: dict[str, Any], *, random: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.utils import logging as transformers_logging

    if not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    try:
        if random:
            logger.warning("%s holds no weights: the language model starts at random", source.name)
            config = AutoConfig.from_pretrained(source.name)
            return AutoModelForCausalLM.from_config(config, **kwargs)
        if source.gguf:
            kwargs = kwargs | {"gguf_file": source.gguf}
        return AutoModelForCausalLM.from_pretrained(source.name, token=hub_token(), **kwargs)
    except Exception as error:  # whatever a broken folder or a refusing hub makes of it
        if is_out_of_memory(error):
            raise
        raise explain(source.name, error) from error


def load_tokenizer(source: Source, rows: int | None = None) -> LlmTokenizer:
    """The tokenizer of a language model, without its weights.

    Args:
        source: The language model, as ``locate`` finds it.
        rows: Its embeddings; None where they are not known.
    Raises:
        AccessError: Its files may not be had, or there is no network.
        WeightsError: There is no tokenizer that can be read.
    """
    try:
        folder = source.tokenizer_folder()
    except (OSError, ValueError) as error:
        raise explain(source.name, error) from error
    return LlmTokenizer.load(
        folder, fallback=source.name, rows=rows, gguf=source.gguf, token=hub_token()
    )
