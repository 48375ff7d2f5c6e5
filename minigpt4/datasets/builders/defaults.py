"""Default files of data sets: ``configs/datasets/<name>.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from minigpt4.common.errors import ConfigError

CONFIGS = Path(__file__).parents[2] / "configs" / "datasets"


@cache
def default_kinds() -> dict[str, str]:
    """Kind of each data set that has a default file, by its name."""
    import yaml

    kinds = {}
    for file in sorted(CONFIGS.glob("*.yaml")):
        # The C loader takes a tenth of the time, and this runs whenever builders are asked for.
        loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        entries = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)["datasets"]
        kinds.update({name: entry["kind"] for name, entry in entries.items()})
    return kinds


def default_build_info(name: str, overrides: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """``build_info`` of a data set's default file; empty when it has none.

    Args:
        name: The data set.
        overrides: Laid over it before its references (``${...storage}``) are resolved, so that they
            follow what is overridden.

    Raises:
        ConfigError: They are not of its shape.
    """
    from omegaconf import OmegaConf

    path = CONFIGS / f"{name}.yaml"
    content: Any = OmegaConf.load(path) if path.is_file() else OmegaConf.create({})
    default = OmegaConf.select(content, f"datasets.{name}.build_info") or OmegaConf.create({})
    default = OmegaConf.create(OmegaConf.to_container(default))
    try:
        merged = OmegaConf.merge(default, overrides or {})
    except TypeError as error:
        raise ConfigError(
            f"datasets.{name}.build_info holds a list where its default file ({path.name}) has "
            "keys and values, such as annotations and images: write it as there."
        ) from error
    info: Any = OmegaConf.to_container(merged, resolve=True)
    return dict(info)
