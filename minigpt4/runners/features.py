"""The frozen encoder before the first step: its outputs kept, their statistics taken."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch import Tensor

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.settings import RunSettings
from minigpt4.datasets.streams.dataset import StreamDataset

if TYPE_CHECKING:
    from minigpt4.datasets.features import BuildReport
    from minigpt4.datasets.schema import Sample
    from minigpt4.tasks.image_text_pretrain import Split

logger = logging.getLogger(__name__)

_STATISTICS_PICTURES = 4096
_CHUNK = 64


def cache_features(run: RunSettings, model: Any, splits: list[Split]) -> None:
    """Encode each picture once and let the data sets give features in place of pictures.

    Args:
        run: ``feature_cache`` says where the features are kept, ``num_workers`` how many read.
        model: Its encoder is frozen.
        splits: Data sets to switch over; those that share an image processor share a cache, and
            streams, whose pictures are not kept, go on without one.
    Raises:
        ConfigError: The encoder trains or pictures are augmented, so that its outputs change, or
            there are only streams. With ``auto`` nothing is kept then.
        DataError: A picture of a data set that is not to skip such cannot be read.
        ResourceError: The features do not fit.
    """
    from minigpt4.datasets.features import FeatureCache
    from minigpt4.datasets.loaders import worker_count

    if (reason := _why_not(model, splits)) is not None:
        if run.feature_cache != "auto":
            raise ConfigError(
                f"run.feature_cache keeps what a frozen encoder gives to a picture, but {reason}: "
                "set run.feature_cache=off."
            )
        logger.info("feature cache auto: off, for %s", reason)
        return
    groups: dict[str, list[Split]] = defaultdict(list)
    for each in _with_an_index(splits):
        groups[_processor(each).fingerprint()].append(each)
    model.eval()
    for members in groups.values():
        cache = FeatureCache.of_run(
            run, encoder=model.visual_encoder, processor=_processor(members[0])
        )
        report = cache.build(
            [path for each in members for path in each.records.image_paths()],
            model.encode_image_features,
            _processor(members[0]),
            num_workers=worker_count(run.num_workers),
        )
        _check_broken(report, members)
        if report.mode != "off":
            for each in members:
                each.records.use_features(cache)


def _why_not(model: Any, splits: list[Split]) -> str | None:
    """Why the encoder gives another output each time, if it does."""
    if any(p.requires_grad for p in model.visual_encoder.parameters()):
        return "model.freeze_vit is False"
    augmented = [
        each.name
        for each in splits
        if not each.is_stream and getattr(_processor(each), "augments", False)
    ]
    if augmented:
        return f"the image processor of {', '.join(augmented)} changes pictures at random"
    return None


def _with_an_index(splits: list[Split]) -> list[Split]:
    streams = list(dict.fromkeys(each.name for each in splits if each.is_stream))
    if len(streams) == len(splits):
        raise ConfigError(
            "run.feature_cache keeps the features of pictures that are seen again and again, and "
            "only streams of shards are configured, which are not: set run.feature_cache=off."
        )
    if streams:
        logger.info("streams are encoded as they come, without a cache: %s", ", ".join(streams))
    return [each for each in splits if not each.is_stream]


def fit_statistics(model: Any, splits: list[Split]) -> None:
    """Let an encoder that standardizes its features see those of the training pictures.

    Nothing happens with an encoder that does not, or whose statistics came with a checkpoint.
    """
    encoder = model.visual_encoder
    mean = getattr(encoder, "feature_mean", None)
    if mean is None or bool((mean != 0).any()):
        return
    model.eval()
    encoder.fit_feature_statistics(_features_of(model, splits))
    logger.info("took the encoder's feature statistics from the training pictures")


def _features_of(model: Any, splits: list[Split]) -> Iterator[Tensor]:
    """Features (B, N, D) of samples spread over all data sets; of streams, their beginning."""
    from minigpt4.datasets.collate import collate

    share = max(1, _STATISTICS_PICTURES // len(splits))
    for each in splits:
        for samples in _chunks(each, share):
            batch = collate(samples)
            if "image_features" in batch:
                yield batch["image_features"]
            elif "image" in batch:
                pixels = batch["image"]
                yield model.encode_image_features(pixels.flatten(0, -4))


def _chunks(split: Split, count: int) -> Iterator[list[Sample]]:
    dataset = split.dataset
    if isinstance(dataset, StreamDataset):
        yield from dataset.preview(count, batch_size=_CHUNK)
        return
    indices = range(0, len(dataset), max(1, len(dataset) // count))
    for start in range(0, len(indices), _CHUNK):
        yield [dataset[index] for index in indices[start : start + _CHUNK]]


def _processor(split: Split) -> Any:
    return split.dataset.vis_processor


def _check_broken(report: BuildReport, splits: list[Split]) -> None:
    if not report.broken:
        return
    for each in splits:
        if each.records.spec.on_broken == "skip":
            continue
        broken = [path for path in each.records.image_paths() if path in report.broken]
        if broken:
            raise DataError(
                f"{each.name}: {len(broken)} pictures cannot be read, the first because "
                f"{report.broken[broken[0]].rstrip('.')}: mend or remove them, or leave their "
                f"samples out with datasets.{each.name}.build_info.on_broken=skip."
            )
