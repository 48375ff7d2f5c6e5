"""Memory of a training step, item by item, from a configuration alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch

from minigpt4.common.settings import ModelSettings
from minigpt4.models.llm import resolve_precision
from minigpt4.runners.plan import activations
from minigpt4.runners.plan.activations import FP32, Widths
from minigpt4.runners.plan.sizes import LanguageSizes, Linear, ModelSizes

GIB = 1024**3
TRAINED = 16
"""Bytes of a trained parameter: value, gradient and AdamW's two moments in fp32."""
CUDA_CONTEXT = 3 * GIB // 4
"""CUDA's context, kernels and cuBLAS's workspace: a typical size, not one measured here."""
PROCESS = 4 * GIB // 5
"""Python with PyTorch, transformers and what reads data, as measured on Linux."""
MARGIN = 0.05
"""What an allocator leaves unused, as a share of everything that comes and goes."""

_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
_NF4_BLOCK, _NF4_NESTED = 64, 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """Where a step runs: ``cuda``, ``cpu`` or ``mps``, and ``no``, ``fp16`` or ``bf16`` mixed."""

    device: str
    mixed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a step works on.

    Attributes:
        batch: Samples.
        positions: Of the longest sequence, the picture's included.
        answer: Tokens of the longest answer.
        pictures: Of a sample.
        cached: Whether the encoder's outputs come from the feature cache.
    """

    batch: int
    positions: int
    answer: int
    pictures: int = 1
    cached: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One line of an estimate.

    Attributes:
        name: What takes the memory.
        bytes: How much.
        stays: Whether it is there all the time and known exactly: weights and optimizer.
    """

    name: str
    bytes: int
    stays: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """All items of a step."""

    items: tuple[Item, ...]

    @property
    def total(self) -> int:
        """Bytes at the peak."""
        return sum(each.bytes for each in self.items)

    @property
    def stays(self) -> int:
        """Bytes that are there all the time."""
        return sum(each.bytes for each in self.items if each.stays)


def estimate(
    settings: ModelSettings, sizes: ModelSizes, work: Workload, machine: Machine
) -> Estimate:
    """Memory of a training step at its peak.

    What passes through the encoder is gone before the language model's activations come, so only
    the larger of the two counts.
    """
    items = [*_weights(settings, sizes, machine), *_trained(settings, sizes)]
    items += _passing(settings, sizes, work, machine)
    items.append(_loading(settings, sizes, machine, after=sum(each.bytes for each in items)))
    margin = int(MARGIN * sum(each.bytes for each in items if not each.stays))
    items.append(Item(name="unused by the allocator", bytes=margin, stays=False))
    context = ("CUDA itself", CUDA_CONTEXT) if machine.device == "cuda" else ("program", PROCESS)
    items.append(Item(name=context[0], bytes=context[1], stays=True))
    return Estimate(tuple(each for each in items if each.bytes))


def largest_batch(
    settings: ModelSettings,
    sizes: ModelSizes,
    work: Workload,
    machine: Machine,
    *,
    room: float,
    most: int = 1024,
) -> int:
    """The largest batch whose estimate is within ``room`` bytes, 0 for none; at most ``most``."""

    def fits(batch: int) -> bool:
        return estimate(settings, sizes, replace(work, batch=batch), machine).total <= room

    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return min(low, most)


def language_weights(sizes: LanguageSizes, settings: ModelSettings, machine: Machine) -> int:
    """Bytes of the language model's frozen weights while it trains.

    Matrices are in the type of mixed precision, embeddings and norms as loaded; a quantized model
    keeps its output layer whole, and a tied one is an embedding.
    """
    loaded = _weight_type(settings, machine).itemsize
    narrow = _TYPES.get(machine.mixed, _weight_type(settings, machine)).itemsize
    outputs = sum(each.outputs for each in sizes.linears)
    biases = sum(each.outputs for each in sizes.linears if each.bias)
    head = 0 if sizes.tied else sizes.head.weights
    if settings.low_resource:
        inside = sum(each.weights for each in sizes.linears) + FP32 * outputs + loaded * biases
    elif settings.load_in_4bit:
        inside = sum(nf4_bytes(each) for each in sizes.linears) + loaded * biases
    else:
        inside = narrow * (sum(each.weights for each in sizes.linears) + biases)
    return inside + loaded * sizes.other + narrow * head


def nf4_bytes(linear: Linear) -> int:
    """Bytes of a matrix in NF4 with double quantization.

    Half a byte a weight; one byte of scale a block of 64 weights; four bytes a 256 of those
    scales and one offset; and the two code books, of 16 and 256 numbers in fp32.
    """
    blocks = math.ceil(linear.weights / _NF4_BLOCK)
    nested = FP32 * math.ceil(blocks / _NF4_NESTED) + FP32
    return math.ceil(linear.weights / 2) + blocks + nested + FP32 * (16 + _NF4_NESTED)


def trained_parameters(settings: ModelSettings, sizes: ModelSizes) -> dict[str, int]:
    """How many parameters of each part train."""
    lora = sum(
        settings.lora_r * (each.inputs + each.outputs)
        for each in sizes.language.lora_targets(settings)
    )
    parts = {"projection": sizes.projection, "LoRA": lora}
    if not settings.freeze_llm:
        parts["language model"] = sizes.language.parameters
    if not settings.freeze_vit:
        parts["encoder"] = sizes.vision.parameters + 2 * sizes.vision.features
    return parts


def widths(settings: ModelSettings, machine: Machine) -> Widths:
    """The types that a step computes in."""
    weights = _weight_type(settings, machine)
    compute = _TYPES.get(machine.mixed, weights)
    quantized = 8 if settings.low_resource else 4 if settings.load_in_4bit else 0
    return Widths(
        compute=compute.itemsize,
        residual=torch.promote_types(weights, compute).itemsize,
        autocast=machine.mixed != "no",
        quantized=quantized,
        copies=compute != weights and not settings.freeze_llm,
        on_cuda=machine.device == "cuda",
    )


def precision_name(settings: ModelSettings) -> str:
    """How the language model's weights are kept, for tables."""
    if settings.low_resource:
        return "8 bit"
    return "4 bit NF4" if settings.load_in_4bit else settings.llm_precision


def _weights(settings: ModelSettings, sizes: ModelSizes, machine: Machine) -> Iterator[Item]:
    if settings.freeze_llm:
        language = language_weights(sizes.language, settings, machine)
        name = f"language model, {precision_name(settings)}"
        yield Item(name=name, bytes=language, stays=True)
    if settings.freeze_vit:
        dtype = resolve_precision(
            settings.vit_precision, torch.device(machine.device), key="model.vit_precision"
        )
        bytes_ = dtype.itemsize * sizes.vision.parameters
        yield Item(name="image encoder", bytes=bytes_, stays=True)


def _trained(settings: ModelSettings, sizes: ModelSizes) -> Iterator[Item]:
    for name, count in trained_parameters(settings, sizes).items():
        yield Item(name=f"{name}: weights, gradients, optimizer", bytes=TRAINED * count, stays=True)


def _passing(
    settings: ModelSettings, sizes: ModelSizes, work: Workload, machine: Machine
) -> Iterator[Item]:
    """What comes and goes in a step."""
    language, kinds = sizes.language, widths(settings, machine)
    count = work.batch * work.positions
    layer = count * activations.layer_bytes(language, settings, kinds)
    copies = activations.copied_weights(language, kinds)
    if settings.use_grad_checkpoint_llm:
        inputs = count * activations.checkpointed_bytes(language, kinds) * language.layers
        kept = inputs + layer + copies / language.layers
        name = "activations, checkpointed"
    else:
        kept = layer * language.layers
        name = "activations"
        yield Item(name="16 bit copies of weights", bytes=copies, stays=False)
    encoder = _encoder_bytes(settings, sizes, work, machine)
    if settings.freeze_vit:
        # Nothing of a frozen encoder outlives its pass, which the activations' place has room for.
        yield Item(name=name, bytes=int(max(kept, encoder)), stays=False)
        keeps = (settings.vit_model, machine.device, machine.mixed) == ("eva_clip_g", "cpu", "bf16")
        if keeps and not work.cached:  # others are cast layer by layer and dropped
            narrow = torch.bfloat16.itemsize * sizes.vision.parameters
            yield Item(name="16 bit copies of the encoder's weights", bytes=narrow, stays=False)
    else:
        yield Item(name=name, bytes=int(kept), stays=False)
        yield Item(name="encoder's activations", bytes=encoder, stays=False)
    yield Item(
        name="picture's features and embeddings",
        bytes=_splice_bytes(sizes, work, machine, settings),
        stays=False,
    )
    logits = work.batch * work.answer * activations.loss_bytes(language, kinds)
    gradients = count * activations.backward_bytes(language, kinds)
    gradients += activations.workspace_bytes(language, kinds)
    # The logits are gone before the layers' gradients come.
    name = "logits" if logits > gradients else "gradients in flight"
    yield Item(name=name, bytes=int(max(logits, gradients)), stays=False)


def _loading(settings: ModelSettings, sizes: ModelSizes, machine: Machine, *, after: int) -> Item:
    """What a language model takes before its matrices are in the type of mixed precision."""
    extra = 0
    if settings.freeze_llm and not (settings.low_resource or settings.load_in_4bit):
        whole = language_weights(sizes.language, settings, replace(machine, mixed="no"))
        extra = whole - after
    return Item(name="loading, beyond the above", bytes=max(extra, 0), stays=False)


def _encoder_bytes(
    settings: ModelSettings, sizes: ModelSizes, work: Workload, machine: Machine
) -> int:
    if work.cached:
        return 0
    frozen = settings.freeze_vit
    dtype = resolve_precision(
        settings.vit_precision,
        torch.device(machine.device),
        key="model.vit_precision",
        trains=not frozen,
    )
    elements = sizes.vision.pass_elements if frozen else sizes.vision.kept_elements
    return work.batch * work.pictures * elements * dtype.itemsize


def _splice_bytes(
    sizes: ModelSizes, work: Workload, machine: Machine, settings: ModelSettings
) -> int:
    """Features in fp32 and as the projection reads them; the sequence, laid out twice."""
    pictures = work.batch * work.pictures
    features = pictures * sizes.vision.patches * sizes.vision.features
    sequence = work.batch * work.positions * sizes.language.hidden
    size = _weight_type(settings, machine).itemsize
    return features * (FP32 + widths(settings, machine).compute) + 2 * sequence * size


def _weight_type(settings: ModelSettings, machine: Machine) -> torch.dtype:
    return resolve_precision(
        settings.llm_precision,
        torch.device(machine.device),
        key="model.llm_precision",
        trains=not settings.freeze_llm,
    )
