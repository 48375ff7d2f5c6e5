"""LoRA added into the weights while a model answers.

An adapter costs three products and two additions where the merged layer costs one product. The
frozen weights themselves are not touched: the sums lie beside them and are dropped afterwards, so
that nothing has to be subtracted again and training goes on with the very same numbers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

_MEMORY_SHARE = 0.25
"""Share of the free memory that copies of weights may take."""


class LoraMerger:
    """Merges the LoRA layers of a language model for a while; may be entered several times.

    Layers that are quantized, switched off, merged already, tied to the embeddings or of a variant
    of LoRA stay as they are. In half precision the sum is made in float32 and rounded once, which
    leaves outputs as close to the exact ones as an adapter in half precision does.

    Args:
        model: The language model, wrapped by PEFT or not.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._lock = threading.Lock()
        self._users = 0
        self._kept: list[tuple[Any, Tensor]] = []

    def __reduce__(self) -> tuple[Any, ...]:
        return LoraMerger, (self._model,)  # a copy of a model is merged by itself

    @contextmanager
    def merged(self, positions: int | None = None) -> Iterator[int]:
        """Keep the layers merged within a ``with`` block; several threads may be in it.

        Args:
            positions: How many positions are about to be read. Where adding up the weights would
                cost more than the adapters do on so many, nothing is merged. None: many.
        Returns:
            The number of merged layers.
        """
        with self._lock:
            self._users += 1
            if not self._kept:
                self._merge(positions)
            count = len(self._kept)
        try:
            yield count
        finally:
            with self._lock:
                self._users -= 1
                if not self._users:
                    self._restore()

    @contextmanager
    def originals(self) -> Iterator[Mapping[int, Tensor]]:
        """Nothing is merged or restored within a ``with`` block.

        Returns:
            The frozen weights that a sum stands for now, by the id of their parameter.
        """
        with self._lock:
            yield {id(module.base_layer.weight): original for module, original in self._kept}

    def _merge(self, positions: int | None) -> None:
        candidates: list[tuple[Any, str]] = [
            (module, name) for module in self._model.modules() if (name := adapter_of(module))
        ]
        # The adapter of a head that is tied to the embeddings is not meant for them.
        tables = [each.weight for each in self._model.modules() if isinstance(each, nn.Embedding)]
        tied = {id(weight) for weight in tables}
        layers = [each for each in candidates if id(each[0].base_layer.weight) not in tied]
        weights = [module.base_layer.weight for module, _ in layers]
        if not layers or not _pays(layers, positions) or not fits(weights):
            return
        # Not in inference mode: a weight has to stay an ordinary tensor.
        with torch.inference_mode(False), torch.no_grad():
            for module, name in layers:
                weight = module.base_layer.weight
                total = with_adapter(module, name)
                self._kept.append((module, weight.data))
                weight.data = total
                module.merged_adapters.append(name)
        torch.clear_autocast_cache()  # it knows weights that train by their parameter alone

    def _restore(self) -> None:
        for module, original in self._kept:
            module.merged_adapters.clear()
            module.base_layer.weight.data = original
        self._kept.clear()
        torch.clear_autocast_cache()


def adapter_of(module: Any) -> str | None:
    """The adapter of a LoRA layer that can be merged, else None."""
    if not hasattr(module, "lora_A"):
        return None
    from peft.tuners.lora import Linear

    if type(module) is not Linear or type(module.base_layer) is not nn.Linear:
        return None
    active = module.active_adapters
    if module.merged or module.disable_adapters or len(active) != 1 or module.fan_in_fan_out:
        return None
    name: str = active[0]
    if name not in module.lora_A or name in module.lora_variant:
        return None
    floating = module.base_layer.weight.is_floating_point()
    return name if floating and module.lora_B[name].bias is None else None


def with_adapter(module: Any, name: str) -> Tensor:
    """``W + s B A`` in the type of W, added up in float32."""
    weight = module.base_layer.weight
    up, down = module.lora_B[name].weight.float(), module.lora_A[name].weight.float()
    with torch.autocast(weight.device.type, enabled=False):
        total = torch.addmm(weight.float(), up, down, alpha=module.scaling[name])
    return total.to(weight.dtype)


def _pays(layers: list[tuple[Any, str]], positions: int | None) -> bool:
    """Whether multiply-adds of the merging are fewer than those of the adapters."""
    if positions is None:
        return True
    merging = adapters = 0
    for module, name in layers:
        outputs, inputs = module.base_layer.weight.shape
        rank = module.r[name]
        merging += outputs * inputs * rank
        adapters += positions * rank * (outputs + inputs)
    return merging < adapters


def fits(weights: Sequence[Tensor]) -> bool:
    """Whether there is memory for copies of weights, one or more on one device."""
    need = sum(weight.nbytes for weight in weights)
    device = weights[0].device
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0]
    else:
        import psutil

        free = psutil.virtual_memory().available
    return need <= _MEMORY_SHARE * free
