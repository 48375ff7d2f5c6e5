"""Bytes that a decoder keeps from the forward to the backward pass, layer by layer.

One position of one layer of a Llama-like decoder keeps, with hidden width D, query width Q, width V
of key and of value, H heads and MLP width F:

* two norms: their input in fp32, 4 D each (in fp32 this is the residual stream itself);
* attention: query, key, value and its output, c (Q + 2 V + Q), and its log-sum 4 H; in 16 bit on a
  CPU the last two only where the output's projection trains or is quantized, see ``attention``;
* MLP: gate and up, 2 m F, and in transformers' own pass gate's activation, m F more;
* each frozen matrix: nothing, as only its own gradient would need its input; but bitsandbytes'
  8 bit product keeps its input, r inputs (query, key and value share theirs, as gate and up do);
* each matrix with LoRA of rank k: what A reads, l inputs, what B reads, l k, and with dropout the
  mask, 1 byte an input on CUDA and 4 on the CPU;
* each matrix that trains itself: its input, c inputs, shared as above where nothing is cast.

c is the compute type's size: 2 under 16 bit autocast, else the weights' size. r is the residual
stream's: autocast leaves sums alone, so a 16 bit output added to embeddings of another type makes
fp32, r = 4; r = c where both have one type. m is c, but r behind quantized layers, which answer in
their input's type. l is c under autocast and 4 without, as LoRA is kept in fp32.

Where the matrices themselves train, autocast casts each, and the graph keeps the copy: 2 bytes a
weight over all layers (frozen ones are in the compute type from the start, see ``fit_weights``).
With gradient checkpointing only each layer's input stays, r D, and the
rest, copies included, exists for one layer at a time; but for what the 8 bit product keeps, which
it holds outside of autograd's sight, r (2 D + Q + F), and so in every layer all the same.

Only orders of attention that keep no matrix of scores are counted (scaled-dot-product kernels).
"""

from __future__ import annotations

from dataclasses import dataclass

from minigpt4.common.settings import ModelSettings
from minigpt4.runners.plan.sizes import LanguageSizes, Linear

FP32 = 4
_CUDA_MASK = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Widths:
    """Sizes in bytes of the types that a step computes in; see the module.

    Attributes:
        compute: c.
        residual: r.
        autocast: Whether mixed precision is on.
        quantized: Bits of quantized weights, 0 for none.
        copies: Whether autocast copies each matrix.
        on_cuda: Decides the size of dropout's mask.
    """

    compute: int
    residual: int
    autocast: bool
    quantized: int
    copies: bool
    on_cuda: bool

    @property
    def mlp(self) -> int:
        """m."""
        return self.residual if self.quantized else self.compute

    @property
    def lora(self) -> int:
        """l."""
        return self.compute if self.autocast else FP32


def layer_bytes(sizes: LanguageSizes, settings: ModelSettings, widths: Widths) -> float:
    """Bytes that one layer keeps of one position, without checkpointing."""
    norms = 2 * FP32 * sizes.hidden
    attention = widths.compute * (sizes.query_width + 2 * sizes.value_width)
    if _keeps_output(sizes, settings, widths):
        attention += widths.compute * sizes.query_width + FP32 * sizes.heads
    mlp = (2 if sizes.own_pass else 3) * widths.mlp * sizes.intermediate
    lora = sum(_lora_bytes(each, settings, widths) for each in _in_layers(sizes, settings))
    lora -= _shared_lora(sizes, settings, widths)
    return norms + attention + mlp + lora / sizes.layers + _inputs(sizes, settings, widths)


def checkpointed_bytes(sizes: LanguageSizes, widths: Widths) -> int:
    """Bytes that one layer keeps of one position with checkpointing, until its turn comes."""
    kept = sizes.hidden
    if widths.quantized == 8:
        kept += 2 * sizes.hidden + sizes.query_width + sizes.intermediate
    return widths.residual * kept


def copied_weights(sizes: LanguageSizes, widths: Widths) -> int:
    """Bytes of autocast's copies of all layers' matrices."""
    if not widths.copies:
        return 0
    return widths.compute * sum(each.weights for each in sizes.linears)


def backward_bytes(sizes: LanguageSizes, widths: Widths) -> float:
    """Bytes of gradients in flight of one position: the MLP's three and two of the stream."""
    return 3 * widths.mlp * sizes.intermediate + 2 * widths.residual * sizes.hidden


def workspace_bytes(sizes: LanguageSizes, widths: Widths) -> int:
    """Bytes that a layer's matrices take for a moment in other types.

    A quantized matrix is opened one at a time; where matrices train under autocast, a layer's
    gradients exist in the compute type before they are added in their own.
    """
    if widths.quantized:
        return widths.mlp * max(each.weights for each in sizes.linears)
    if widths.copies:
        return widths.compute * sum(each.weights for each in sizes.linears) // sizes.layers
    return 0


def loss_bytes(sizes: LanguageSizes, widths: Widths) -> int:
    """Bytes of one answer token: logits and their gradient as computed, and three in fp32.

    The fp32 ones are the logits, their log-softmax and its gradient.
    """
    return sizes.vocabulary * (2 * widths.compute + 3 * FP32)


def _keeps_output(sizes: LanguageSizes, settings: ModelSettings, widths: Widths) -> bool:
    """Whether attention's output is kept: its own gradient in bf16 on a CPU does without."""
    by_products = sizes.own_pass and widths.compute < FP32 and not widths.on_cuda
    return not (by_products and settings.freeze_llm and not widths.quantized)


def _in_layers(sizes: LanguageSizes, settings: ModelSettings) -> list[Linear]:
    return [each for each in sizes.lora_targets(settings) if each is not sizes.head]


def _lora_bytes(linear: Linear, settings: ModelSettings, widths: Widths) -> int:
    mask = 0
    if settings.lora_dropout > 0:
        mask = linear.inputs * (_CUDA_MASK if widths.on_cuda else FP32)
    return widths.lora * (linear.inputs + settings.lora_r) + mask


def _shared_lora(sizes: LanguageSizes, settings: ModelSettings, widths: Widths) -> int:
    """What is counted twice: without cast and dropout, LoRA's inputs are tensors kept already."""
    if widths.autocast or settings.lora_dropout > 0 or widths.residual != FP32:
        return 0
    names = [each.name for each in _in_layers(sizes, settings)]
    inputs = {each.name: each.inputs for each in sizes.linears}
    shared = 0
    for group in (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj")):
        have = [name for name in group if name in names]
        shared += max(len(set(have)) - 1, 0) * inputs.get(group[0], 0) * FP32 * sizes.layers
    if "o_proj" in names:
        shared += inputs["o_proj"] * FP32 * sizes.layers  # attention's output
    return shared


def _inputs(sizes: LanguageSizes, settings: ModelSettings, widths: Widths) -> int:
    """Inputs that matrices keep besides LoRA's: of the two norms, of attention and of the MLP."""
    if widths.quantized == 8:
        return widths.residual * (2 * sizes.hidden + sizes.intermediate)
    if settings.freeze_llm:
        return 0
    shared = 2 * sizes.hidden + sizes.intermediate
    casts = 3 * sizes.hidden if widths.autocast else 0  # each matrix casts for itself
    normed = 2 * FP32 * sizes.hidden if widths.autocast else 0  # for the gains of the norms
    return widths.compute * (shared + casts) + normed
