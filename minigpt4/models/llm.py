"""The language model: any causal LM from a folder, the hub or a GGUF file, with LoRA."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minigpt4.common.errors import AccessError, ConfigError, ResourceError, WeightsError
from minigpt4.common.settings import ModelSettings
from minigpt4.models.quantization import keep_trainable, quantization_config
from minigpt4.models.tokenizer import LlmTokenizer

logger = logging.getLogger(__name__)

PRECISIONS = {"fp16": torch.float16, "bf16": torch.bfloat16, "fp32": torch.float32}
WEIGHT_FILES = ("*.safetensors", "pytorch_model*.bin", "*.safetensors.index.json")


@dataclass(slots=True)
class LanguageModel:
    """A causal LM and its tokenizer.

    Attributes:
        model: The network, wrapped by PEFT when LoRA is used.
        tokenizer: Its tokenizer.
        has_weights: False when the folder held a configuration only, so that weights are random
            until a checkpoint brings them.
    """

    model: nn.Module
    tokenizer: LlmTokenizer
    has_weights: bool


def resolve_device(name: str | None = None) -> torch.device:
    """The device to build for: what is asked for, else CUDA, MPS or the CPU."""
    if name:
        return torch.device(name)
    if torch.cuda.is_available():
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)))
    return torch.device("cpu")


def resolve_precision(name: str, device: torch.device, *, trains: bool = False) -> torch.dtype:
    """Type of weights: ``auto`` is fp16 on CUDA and fp32 elsewhere or where weights train.

    fp16 on a CPU means fp32: its kernels there are slow or missing.

    Raises:
        ConfigError: Unknown name.
    """
    if name != "auto" and name not in PRECISIONS:
        raise ConfigError(
            f"model precision {name!r} is unknown; use auto, {', '.join(PRECISIONS)}."
        )
    if trains and name in ("auto", "fp16"):
        return torch.float32
    if device.type != "cuda":
        return PRECISIONS["fp32" if name in ("auto", "fp16") else name]
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
    if quantization is not None and not settings.freeze_llm:
        raise ConfigError(
            "model.freeze_llm False cannot train a quantized language model: turn off "
            "low_resource and load_in_4bit, or keep it frozen and use LoRA."
        )
    dtype = resolve_precision(settings.llm_precision, device, trains=not settings.freeze_llm)
    source, gguf_file = _locate(settings.llama_model)
    kwargs: dict[str, Any] = {"dtype": dtype, "attn_implementation": "sdpa"}
    if gguf_file:
        kwargs["gguf_file"] = gguf_file
    if quantization is not None:
        kwargs |= {"quantization_config": quantization, "device_map": {"": device}}
    has_weights = gguf_file is not None or _has_weights(source)
    if not has_weights:
        if not settings.ckpt and settings.freeze_llm:
            raise WeightsError(
                f"{source} (model.llama_model) holds a configuration but no weights: add "
                "model.safetensors, or name a checkpoint with the language model in model.ckpt."
            )
        logger.warning("%s holds no weights: the language model starts at random", source)
    model = _load_model(source, kwargs, random=not has_weights)
    tokenizer = LlmTokenizer.load(source, token=hub_token())
    _check_vocabulary(model, tokenizer, source)
    model.requires_grad_(not settings.freeze_llm)
    if quantization is not None:
        keep_trainable(model)
    if settings.use_grad_checkpoint_llm:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if settings.lora_r > 0:
        model = add_lora(model, settings)
    return LanguageModel(model, tokenizer, has_weights)


def add_lora(model: nn.Module, settings: ModelSettings) -> nn.Module:
    """Wrap a causal LM by PEFT with LoRA on ``lora_target_modules``.

    Raises:
        ConfigError: None of the names is a layer of the model, or a value is out of range.
    """
    from peft import LoraConfig, get_peft_model

    modules = [name for name, _ in model.named_modules()]
    absent = [
        target
        for target in settings.lora_target_modules
        if not any(name == target or name.endswith(f".{target}") for name in modules)
    ]
    if absent:
        linear = sorted(
            {n.rpartition(".")[2] for n, m in model.named_modules() if isinstance(m, nn.Linear)}
        )
        raise ConfigError(
            f"model.lora_target_modules names {', '.join(absent)}, which this language model does "
            f"not have; its linear layers are {', '.join(linear)}."
        )
    config = LoraConfig(
        r=settings.lora_r,
        lora_alpha=settings.lora_alpha,
        lora_dropout=settings.lora_dropout,
        target_modules=list(settings.lora_target_modules),
        bias="none",
        task_type="CAUSAL_LM",
    )
    trains = [p for p in model.parameters() if p.requires_grad]
    wrapped = get_peft_model(model, config)
    for parameter in trains:  # PEFT freezes the base; freeze_llm False means to train it too
        parameter.requires_grad_(True)
    return wrapped


def save_language_model(model: nn.Module, folder: str | Path, dtype: torch.dtype) -> None:
    """Write a causal LM without LoRA as a folder that ``model.llama_model`` can name."""
    state = {k: v.to(dtype) for k, v in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=state)


def hub_token() -> str | None:
    """The user's hub token from the environment; None lets the hub's own login apply."""
    return os.environ.get("HF_TOKEN") or None


def _locate(name: str) -> tuple[str, str | None]:
    """Folder or hub id, and the GGUF file within it if that is what was named."""
    path = Path(name).expanduser()
    if path.suffix == ".gguf":
        if not path.is_file():
            raise WeightsError(f"The GGUF file {path} (model.llama_model) does not exist.")
        return str(path.parent), path.name
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise WeightsError(
                f"{path} (model.llama_model) holds no config.json: name the folder of a "
                "transformers model."
            )
        return str(path), None
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1:
        raise WeightsError(
            f"The folder {name} (model.llama_model) does not exist: correct the path, or name a "
            "hub id such as meta-llama/Llama-2-7b-chat-hf."
        )
    return name, None


def _has_weights(source: str) -> bool:
    folder = Path(source)
    return not folder.is_dir() or any(any(folder.glob(p)) for p in WEIGHT_FILES)


def _load_model(source: str, kwargs: dict[str, Any], *, random: bool) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    token = hub_token()
    try:
        if random:
            config = AutoConfig.from_pretrained(source)
            return AutoModelForCausalLM.from_config(
                config, dtype=kwargs["dtype"], attn_implementation="sdpa"
            )
        return AutoModelForCausalLM.from_pretrained(source, token=token, **kwargs)
    except (OSError, ValueError, RuntimeError, KeyError, ImportError) as error:
        raise _explain(source, error) from error


def _explain(source: str, error: Exception) -> Exception:
    """What went wrong while loading, and what to do, in one sentence."""
    causes: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and cause not in causes:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    names = {type(c).__name__ for c in causes}
    text = " ".join(str(c) for c in causes)
    page = f"https://huggingface.co/{source}"
    if "GatedRepoError" in names or "gated repo" in text:
        return AccessError(
            f"{source} is gated: accept its licence at {page}, then run `huggingface-cli login` "
            "or set HF_TOKEN to a token of that account."
        )
    if "RepositoryNotFoundError" in names or "401" in text:
        return AccessError(
            f"{source} (model.llama_model) is neither a folder here nor a model on the hub that "
            "you may see: correct the name, or set HF_TOKEN if it is private."
        )
    offline = ("LocalEntryNotFoundError", "ConnectionError", "OfflineModeIsEnabled", "ConnectError")
    if names.intersection(offline) or "couldn't connect" in text.lower():
        return AccessError(
            f"{source} (model.llama_model) is not a folder here and the hub cannot be reached: "
            "download it while online and name the folder."
        )
    if isinstance(error, RuntimeError) and "out of memory" in text:
        return error
    if isinstance(error, ImportError):
        return ResourceError(f"{source} cannot be loaded: {_first_line(error)}")
    return WeightsError(
        f"{source} (model.llama_model) cannot be loaded as a causal language model: "
        f"{_first_line(error)}"
    )


def _check_vocabulary(model: nn.Module, tokenizer: LlmTokenizer, source: str) -> None:
    rows = model.get_input_embeddings().weight.shape[0]  # type: ignore[operator]
    if len(tokenizer) > rows:
        raise WeightsError(
            f"The tokenizer of {source} has {len(tokenizer)} tokens but the model only {rows}: "
            "take both from the same place."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
