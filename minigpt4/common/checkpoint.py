"""Reading and writing weights, and the report on what of a checkpoint was used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from minigpt4.common.errors import WeightsError
from minigpt4.common.files import save_atomic

COMPONENTS = {
    "visual_encoder.": "vision",
    "ln_vision.": "ln_vision",
    "llama_proj.": "projection",
    "llama_model.": "llm",
}
"""Name prefixes to the parts that a load report tells apart; LoRA is split from the llm."""


@dataclass(slots=True)
class Checkpoint:
    """What a file held.

    Attributes:
        model: Names to tensors, as the file spells them.
        extra: Everything else (optimizer, config, epoch, meta ...).
        path: The file.
    """

    model: dict[str, Tensor]
    extra: dict[str, Any]
    path: Path

    @property
    def is_original(self) -> bool:
        """Whether the original wrote it: a training checkpoint without our ``meta``."""
        return "meta" not in self.extra and self.path.suffix != ".safetensors"

    @property
    def chat_template(self) -> bool | None:
        """Whether the run that wrote it wrapped its instructions; None where it does not say."""
        config = self.extra.get("config")
        model = config.get("model") if isinstance(config, dict) else None
        return model.get("chat_template") if isinstance(model, dict) else None


def load_checkpoint_file(path: str | Path) -> Checkpoint:
    """Read a ``.pth`` or ``.safetensors`` file without running any code that it may hold.

    Raises:
        WeightsError: The file is missing, broken, or holds more than tensors and plain values.
    """
    path = Path(path).expanduser()
    if not path.is_file():
        raise WeightsError(
            f"The checkpoint {path} does not exist: download it or correct the path (model.ckpt)."
        )
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    with path.open("rb") as file:
        if not file.read(2).startswith((b"PK", b"\x80")):  # neither a zip file nor a pickle
            raise WeightsError(
                f"{path} is no checkpoint (a web page, perhaps): download it again or correct the "
                "path (model.ckpt)."
            )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        if "weights_only" in str(error) or "Unsupported" in str(error):
            raise WeightsError(
                f"{path} holds Python objects besides tensors and plain values and is not opened, "
                "because opening it could run code: save it again with plain dicts and tensors."
            ) from error
        raise WeightsError(
            f"{path} is broken or incomplete ({_first_line(error)}): download it again."
        ) from error
    if not isinstance(content, dict):
        raise WeightsError(f"{path} holds no dict of weights.")
    state = content.get("model", content.get("state_dict"))
    if isinstance(state, dict):
        extra = {key: value for key, value in content.items() if value is not state}
    else:
        state, extra = content, {}
    tensors = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise WeightsError(f"{path} holds no weights.")
    return Checkpoint(tensors, extra, path)


def load_weights(path: str | Path) -> dict[str, Tensor]:
    """Only the tensors of a ``.pth`` or ``.safetensors`` file, on the CPU.

    Raises:
        WeightsError: As ``load_checkpoint_file``.
    """
    return load_checkpoint_file(path).model


def save_safetensors(
    path: str | Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Save tensors as ``.safetensors``, whole or not at all."""
    from safetensors.torch import save_file

    tensors = {key: value.detach().cpu().contiguous() for key, value in weights.items()}
    save_atomic(path, lambda temporary: save_file(tensors, temporary, dict(metadata or {})))


@dataclass(slots=True)
class ComponentReport:
    """What became of one part's weights; names as the model spells them."""

    matched: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    mismatched: list[str] = field(default_factory=list)


@dataclass(slots=True)
class LoadReport:
    """What of a checkpoint was used, by component.

    ``missing`` counts only names of components the checkpoint holds something of: a checkpoint of
    the trained parts is not expected to hold the frozen ones.

    Attributes:
        path: The file.
        components: ``vision``, ``statistics`` (of its features), ``ln_vision``, ``projection``,
            ``lora``, ``llm``, ``other``.
        is_original: Written by the original implementation.
        chat_template: Whether its run wrapped instructions; None where it does not say.
    """

    path: str
    components: dict[str, ComponentReport] = field(default_factory=dict)
    is_original: bool = False
    chat_template: bool | None = None

    def part(self, name: str) -> ComponentReport:
        """The report of one component, made when first asked for."""
        return self.components.setdefault(name, ComponentReport())

    @property
    def matched(self) -> list[str]:
        """All names that were loaded."""
        return self._all("matched")

    @property
    def missing(self) -> list[str]:
        """All names of the model that a component of the checkpoint should hold but does not."""
        return self._all("missing")

    @property
    def unexpected(self) -> list[str]:
        """All names of the checkpoint that the model does not have."""
        return self._all("unexpected")

    @property
    def mismatched(self) -> list[str]:
        """All names whose shapes differ, with both shapes."""
        return self._all("mismatched")

    def summary(self) -> str:
        """Counts in one line."""
        return (
            f"{len(self.matched)} matched, {len(self.unexpected)} unexpected, "
            f"{len(self.mismatched)} of another shape"
        )

    def _all(self, kind: str) -> list[str]:
        return [name for part in self.components.values() for name in getattr(part, kind)]

    def __str__(self) -> str:
        writer = "the original" if self.is_original else "this project"
        lines = [f"{self.path} (written by {writer})"]
        width = max((len(name) for name in self.components), default=0)
        for name, part in self.components.items():
            counts = [f"{len(part.matched)} matched"]
            for kind in ("missing", "unexpected", "mismatched"):
                names = getattr(part, kind)
                if names:
                    more = ", ..." if len(names) > 2 else ""
                    counts.append(f"{len(names)} {kind} ({', '.join(names[:2])}{more})")
            lines.append(f"  {name:<{width}}  {', '.join(counts)}")
        return "\n".join(lines)


def component_of(name: str) -> str:
    """The part of the model that a parameter name belongs to."""
    if ".lora_" in name:
        return "lora"
    if ".feature_" in name:
        return "statistics"
    for prefix, component in COMPONENTS.items():
        if name.startswith(prefix):
            return component
    return "other"


def canonical_name(name: str) -> str:
    """One spelling for a parameter, whichever version of PEFT, or none, wrote its name."""
    name = name.removeprefix("module.").replace(".base_layer.", ".")
    name = name.replace("llama_model.base_model.model.", "llama_model.", 1)
    for matrix in ("lora_A", "lora_B"):
        name = name.replace(f".{matrix}.weight", f".{matrix}.default.weight")
    return name


def is_derived(name: str) -> bool:
    """Whether a buffer follows from the configuration, so that its absence means nothing."""
    return name.endswith("rotary_emb.inv_freq") or name.endswith(".num_batches_tracked")


def match_weights(
    path: str, weights: Mapping[str, Tensor], targets: Mapping[str, Tensor]
) -> tuple[LoadReport, dict[str, Tensor]]:
    """Pair a checkpoint's tensors with the model's by canonical name.

    Args:
        path: The file, for the report.
        weights: The checkpoint.
        targets: The model's parameters and buffers.
    Returns:
        The report, and the tensors to load under the model's names.
    """
    report = LoadReport(path)
    own = {canonical_name(name): name for name in targets}
    found: dict[str, Tensor] = {}
    mismatched: set[str] = set()
    for name, value in weights.items():
        if is_derived(name):
            continue
        component = report.part(component_of(name))
        target = own.get(canonical_name(name))
        if target is None:
            component.unexpected.append(name)
        elif targets[target].shape != value.shape:
            shapes = f"{list(value.shape)} in the file, {list(targets[target].shape)} here"
            component.mismatched.append(f"{target}: {shapes}")
            mismatched.add(canonical_name(name))
        else:
            found[target] = value
            component.matched.append(target)
    for name in targets:
        part = report.components.get(component_of(name))
        if part is None or is_derived(name) or name in found:
            continue
        if canonical_name(name) not in mismatched:
            part.missing.append(name)
    return report, found


def _read_safetensors(path: Path) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return Checkpoint(tensors, dict(file.metadata() or {}), path)
    except (SafetensorError, OSError) as error:
        raise WeightsError(
            f"{path} is broken or incomplete ({_first_line(error)}): download it again."
        ) from error


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
