"""Entries of section ``evaluation_datasets`` to data sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import registry
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.datasets.base import ImageProcessor, RecordDataset, TextProcessor
from minigpt4.datasets.builders.record_builder import (
    dataset_class,
    default_build_info,
    prepare_build_info,
)

_DEFAULTS_OF_KIND = {"vqa": "vivqa", "detection": "mvtec_ad"}


def build_eval_dataset(
    name: str,
    settings: EvalDatasetSettings,
    *,
    vis_processor: ImageProcessor,
    text_processor: TextProcessor | None = None,
    kind: str | None = None,
    build_info: Mapping[str, Any] | None = None,
) -> RecordDataset:
    """Open a data set for evaluation: every sample once, fixed wording, nothing random.

    Args:
        name: The entry's name; ``vivqa`` and ``mvtec_ad`` bring their file format.
        settings: The entry.
        vis_processor: Picture to pixel values (3, S, S).
        text_processor: Cleans questions as in training; None for ``blip_caption``.
        kind: Kind of data set where neither the entry nor its name says it.
        build_info: How to read the files where they are not in the kind's usual form.

    Raises:
        ConfigError: No annotation file or kind is given.
        DataError: See ``RecordDataset``.
    """
    if not settings.eval_file_path:
        raise ConfigError(
            f"evaluation_datasets.{name}.eval_file_path is empty; set it to the annotation file."
        )
    known = registry.names("builder")
    named = registry.get_builder_class(name).kind if name in known else None
    kind = settings.kind or kind or named
    if kind is None:
        raise ConfigError(
            f"evaluation_datasets.{name}: set its kind to vqa or detection (or use one of the "
            f"names {', '.join(known)})."
        )
    like = name if name in known else _DEFAULTS_OF_KIND.get(kind, "")
    info = {**(default_build_info(like) if build_info is None else build_info)}
    for key in ("annotations", "images", "val_ann_path", "test_ann_path"):
        info.pop(key, None)
    info["ann_path"] = settings.eval_file_path
    info["image_path"] = settings.img_path or None
    if text_processor is None:
        text_processor = registry.get_processor_class("blip_caption").from_config({})
    return dataset_class(kind, name=name)(
        prepare_build_info(info, kind),
        vis_processor=vis_processor,
        text_processor=text_processor,
        name=name,
        training=False,
        blank=settings.blank,
        limit=settings.limit,
    )
