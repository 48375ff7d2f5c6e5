"""The frozen encoder's outputs of all pictures of a run, before its first step."""

from __future__ import annotations

import logging
import os
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import RunSettings

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import Tensor

    from minigpt4.tasks.image_text_pretrain import Split

logger = logging.getLogger(__name__)


def cache_root() -> Path:
    """Where features are kept on disk: ``$MINIGPT4_CACHE`` or ``~/.cache/minigpt4``."""
    base = os.environ.get("MINIGPT4_CACHE") or Path.home() / ".cache" / "minigpt4"
    return Path(base) / "features"


def cache_features(
    run: RunSettings, model: Any, splits: list[Split], accelerator: Accelerator
) -> None:
    """Encode each picture once and let the data sets give features in place of pictures.

    Raises:
        ConfigError: The encoder trains, so that its outputs change.
        DataError: A picture cannot be read.
        ResourceError: The features do not fit.
    """
    from minigpt4.datasets.features import FeatureCache

    if any(p.requires_grad for p in model.visual_encoder.parameters()):
        raise ConfigError(
            "run.feature_cache keeps what a frozen encoder gives, but model.freeze_vit is False: "
            "set run.feature_cache=off."
        )
    groups: dict[str, list[Split]] = defaultdict(list)
    for each in splits:
        groups[each.dataset.vis_processor.fingerprint()].append(each)

    def encode(pixel_values: Tensor) -> Tensor:
        with torch.inference_mode():
            features: Tensor = model.encode_image_features(pixel_values.to(accelerator.device))
        return features

    model.eval()
    for fingerprint, members in groups.items():
        cache = FeatureCache(
            run.feature_cache,  # type: ignore[arg-type]
            None if run.feature_cache == "memory" else cache_root(),
            encoder_fingerprint=model.visual_encoder.fingerprint(),
            processor_fingerprint=fingerprint,
        )
        paths = [path for each in members for path in each.dataset.image_paths()]
        report = cache.build(
            paths,
            encode,
            members[0].dataset.vis_processor,
            num_workers=max(run.num_workers, 0),
        )
        if report.mode == "off":
            continue
        for each in members:
            each.dataset.use_features(cache)
