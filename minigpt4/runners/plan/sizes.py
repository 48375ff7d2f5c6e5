"""Sizes of a model from its configuration alone: built on the meta device, no weight is read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minigpt4.common.settings import ModelSettings
from minigpt4.models.decoder import decoder_of
from minigpt4.models.hub import Source, explain, hub_token, locate
from minigpt4.models.projector import merged_tokens
from minigpt4.models.vision import build_vision
from minigpt4.models.vision.weights import RANDOM
from minigpt4.runners.plan.known import known_config

_META = torch.device("meta")


@dataclass(frozen=True, slots=True, kw_only=True)
class Linear:
    """A matrix of the language model: its name's last part, its width in and out, its bias."""

    name: str
    inputs: int
    outputs: int
    bias: bool

    @property
    def weights(self) -> int:
        """Elements of the matrix."""
        return self.inputs * self.outputs


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageSizes:
    """A decoder-only transformer.

    Attributes:
        name: For tables.
        hidden, layers, heads, intermediate, vocabulary: As configurations call them.
        query_width, value_width: Widths of the query and of key and value over all heads.
        linears: Every matrix but the output layer's.
        head: The output layer.
        other: Parameters that are neither: embeddings (which a tied output layer shares) and norms.
        tied: Whether the output layer is the embedding.
        own_pass: Whether training runs it by ``models.decoder``, not by transformers.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    query_width: int
    value_width: int
    linears: tuple[Linear, ...]
    head: Linear
    other: int
    tied: bool
    own_pass: bool

    @property
    def parameters(self) -> int:
        """All of them, a tied matrix once."""
        in_linears = sum(each.weights + each.bias * each.outputs for each in self.linears)
        return in_linears + self.other + (0 if self.tied else self.head.weights)

    def lora_targets(self, settings: ModelSettings) -> list[Linear]:
        """The matrices that get LoRA."""
        names = {target.rpartition(".")[2] for target in settings.lora_target_modules}
        every = [*self.linears, self.head]
        return [each for each in every if each.name in names] if settings.lora_r > 0 else []


@dataclass(frozen=True, slots=True, kw_only=True)
class VisionSizes:
    """An image encoder.

    Attributes:
        name: For tables.
        parameters: All of them.
        features: Width of its tokens when finished.
        patches: Tokens of a picture.
        positions: Positions that a picture takes in the language model.
        pass_elements: Most elements that one layer reads and writes for a picture.
        kept_elements: Elements that all layers write for a picture, kept where the encoder trains.
        cached_elements: Elements that a feature cache keeps of a picture.
    """

    name: str
    parameters: int
    features: int
    patches: int
    positions: int
    pass_elements: int
    kept_elements: int
    cached_elements: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSizes:
    """Encoder, projection and language model."""

    vision: VisionSizes
    language: LanguageSizes

    @property
    def projection(self) -> int:
        """Parameters of the linear layer between the two."""
        merged = self.vision.patches // self.vision.positions * self.vision.features
        return (merged + 1) * self.language.hidden


def model_sizes(settings: ModelSettings) -> ModelSizes:
    """Sizes of the model that a configuration describes; nothing is downloaded but a config.json.

    Raises:
        UserError: Settings that name no model, or one whose configuration cannot be had.
    """
    return ModelSizes(vision=vision_sizes(settings), language=language_sizes(settings))


def vision_sizes(settings: ModelSettings) -> VisionSizes:
    """Sizes of the image encoder.

    Raises:
        ConfigError: An unknown encoder or size.
    """
    with _META:
        encoder = build_vision(replace(settings, vit_weights=RANDOM)).eval()
        passes: list[int] = []
        written: list[int] = []

        def seen(module: nn.Module, args: Any, output: Any) -> None:
            out = _elements([output])
            passes.append(_elements(args) + out)
            written.append(out)

        hooks = [
            module.register_forward_hook(seen)
            for module in encoder.modules()
            if not list(module.children())
        ]
        with torch.no_grad():
            features = encoder(torch.empty(1, 3, settings.image_size, settings.image_size))
        for hook in hooks:
            hook.remove()
    patches = features.shape[1]
    return VisionSizes(
        name=settings.vit_model,
        parameters=sum(p.numel() for p in encoder.parameters()),
        features=encoder.num_features,
        patches=patches,
        positions=patches // merged_tokens(settings.token_merge),
        pass_elements=max(passes),
        kept_elements=sum(written),
        cached_elements=features.numel(),
    )


def language_sizes(settings: ModelSettings) -> LanguageSizes:
    """Sizes of the language model.

    Raises:
        AccessError: The hub refuses or cannot be reached, and the model is none of the known.
        WeightsError: There is no such model.
    """
    from transformers import AutoModelForCausalLM

    config, name = _config(settings.llama_model)
    with _META:
        model = AutoModelForCausalLM.from_config(config)
    return _language_sizes(model, name)


def _language_sizes(model: Any, name: str) -> LanguageSizes:
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    tied = bool(getattr(config, "tie_word_embeddings", False))
    linears = [
        _linear(path, module)
        for path, module in model.named_modules()
        if isinstance(module, nn.Linear) and module is not head
    ]
    every = sum(p.numel() for p in model.parameters())
    if tied and head.weight is not model.get_input_embeddings().weight:
        every -= head.weight.numel()  # not joined yet on the meta device
    inside = sum(each.weights + each.bias * each.outputs for each in linears)
    heads = config.num_attention_heads
    head_width = getattr(config, "head_dim", None) or config.hidden_size // heads
    groups = getattr(config, "num_key_value_heads", None) or heads
    return LanguageSizes(
        name=name,
        hidden=config.hidden_size,
        layers=config.num_hidden_layers,
        heads=heads,
        intermediate=getattr(config, "intermediate_size", None) or 4 * config.hidden_size,
        vocabulary=config.vocab_size,
        query_width=heads * head_width,
        value_width=groups * head_width,
        linears=tuple(linears),
        head=_linear("lm_head", head),
        other=every - inside - (0 if tied else head.weight.numel()),
        tied=tied,
        own_pass=decoder_of(model) is not None,
    )


def _config(name: str) -> tuple[Any, str]:
    """A language model's configuration and what to call it."""
    from transformers import AutoConfig

    source, known = on_this_machine(name), known_config(name)
    if source is None and known is not None:
        label = f"{name.rstrip('/').rpartition('/')[2]} (not here: its published sizes)"
        return AutoConfig.for_model(**known), label
    source = source or locate(name)
    extra = {"gguf_file": source.gguf} if source.gguf else {}
    try:
        config = AutoConfig.from_pretrained(source.name, token=hub_token(), **extra)
    except Exception as error:  # whatever a broken folder or a refusing hub makes of it
        raise explain(source.name, error) from error
    return config, source.gguf or Path(source.name).name


def on_this_machine(name: str) -> Source | None:
    """A language model that is here, with weights or without; None for one that is not."""
    from huggingface_hub import try_to_load_from_cache

    if Path(name).expanduser().exists():
        return locate(name)
    try:
        cached = isinstance(try_to_load_from_cache(name, "config.json"), str)
    except ValueError:  # not the form of an id on the hub
        return None
    return Source(name, on_hub=True) if cached else None


def _linear(path: str, module: nn.Linear) -> Linear:
    return Linear(
        name=path.rpartition(".")[2],
        inputs=module.in_features,
        outputs=module.out_features,
        bias=module.bias is not None,
    )


def _elements(values: Iterable[Any]) -> int:
    total = 0
    for each in values:
        if isinstance(each, Tensor):
            total += math.prod(each.shape)
        elif isinstance(each, list | tuple):
            total += _elements(each)
    return total
