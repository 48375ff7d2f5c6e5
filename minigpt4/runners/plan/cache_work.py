"""What the feature cache of a run has to encode, and how long that takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from minigpt4.datasets.feature_format import row_format
from minigpt4.datasets.schema import Batch
from minigpt4.runners.plan.clock import timed

if TYPE_CHECKING:
    from minigpt4.runners.setup import Setup
    from minigpt4.tasks.image_text_pretrain import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheWork:
    """What the feature cache has to do, or would have.

    Attributes:
        pictures: Different pictures of all splits.
        known: Those whose features are kept already.
        bytes: What all features take.
        picture_seconds: To read and encode one.
        encode_seconds: To encode one.
    """

    pictures: int
    known: int
    bytes: int
    picture_seconds: float
    encode_seconds: float

    @property
    def seconds(self) -> float:
        """To encode those that are not known."""
        return (self.pictures - self.known) * self.picture_seconds


def cache_work(
    setup: Setup, model: Any, batches: list[Batch], *, read_seconds: float
) -> CacheWork | None:
    """Find out what the feature cache has to do, or would; None where nothing can be kept.

    Args:
        setup: The run, its data opened.
        model: Its model.
        batches: Some of its batches, with pictures.
        read_seconds: To read a batch, which takes as long when it is to be encoded.
    """
    if any(p.requires_grad for p in model.visual_encoder.parameters()):
        return None
    splits = [each for each in (*setup.train, *setup.valid, *setup.test) if not each.is_stream]
    pixels = next((batch["image"] for batch in batches if "image" in batch), None)
    if pixels is None or not splits:
        return None
    seconds = timed(setup.accelerator.device, lambda: _encode(model, pixels))
    features = _encode(model, pixels[:1])
    count = len(pixels.flatten(0, -4))
    pictures = {path for each in splits for path in each.records.image_paths()}
    known = _known(setup, model, splits) if setup.run.feature_cache in ("disk", "auto") else 0
    each_bytes = row_format(setup.run.feature_cache_dtype).row_bytes(features.shape[1:])
    return CacheWork(
        pictures=len(pictures),
        known=known,
        bytes=len(pictures) * each_bytes,
        picture_seconds=(seconds + read_seconds) / count,
        encode_seconds=seconds / count,
    )


def _known(setup: Setup, model: Any, splits: list[Split]) -> int:
    """How many pictures are in the stores on disk; nothing is written."""
    from minigpt4.datasets.features import FeatureCache

    known: set[str] = set()
    for each in splits:
        store = FeatureCache.of_run(
            setup.run, encoder=model.visual_encoder, processor=each.records.vis_processor
        )
        known.update(path for path in each.records.image_paths() if path in store)
    return len(known)


def as_cached(model: Any, batch: Batch) -> Batch:
    """A batch as the feature cache gives it."""
    if "image" not in batch:
        return batch
    copy = batch.copy()
    pixels = copy.pop("image")
    features = _encode(model, pixels).to("cpu", torch.float16)
    # (B * T, N, D) -> (B, T, N, D) where samples have several pictures
    copy["image_features"] = features.unflatten(0, pixels.shape[:-3])
    return copy


def _encode(model: Any, pixels: Tensor) -> Tensor:
    model.eval()
    features: Tensor = model.encode_image_features(pixels.flatten(0, -4))
    return features
