"""Entries of section ``evaluation_datasets`` to data sets."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from minigpt4.common.config import DEFAULTS
from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.registry import registry
from minigpt4.common.settings import EvalDatasetSettings
from minigpt4.datasets.base import ImageProcessor, RecordDataset, TextProcessor
from minigpt4.datasets.builders.defaults import default_build_info
from minigpt4.datasets.builders.record_builder import dataset_class, prepare_build_info
from minigpt4.datasets.readers import READERS

_DEFAULTS_OF_KIND = {"vqa": "vivqa", "detection": "mvtec_ad"}


def benchmark_names() -> list[str]:
    """Names that bring their files' form, metric and decoding (``configs/evaluation``)."""
    return sorted(file.stem for file in (DEFAULTS / "evaluation").glob("*.yaml"))


def eval_splits(name: str, settings: EvalDatasetSettings) -> dict[str, EvalDatasetSettings]:
    """The evaluations that an entry stands for, each with one annotation file.

    An entry whose ``eval_file_path`` is a file is one evaluation under its own name. Where it is a
    folder, each split is looked for in it, and in the folder called like the entry below it, under
    the name that ``files`` gives. Of a data set of several splits each is an evaluation of its own,
    ``refcoco_val``; one that has a single split keeps its name.

    Args:
        name: The entry's name.
        settings: The entry; ``splits`` chooses, empty for all that are there.

    Raises:
        ConfigError: ``splits`` names one that ``files`` does not know, or there is no path.
        DataError: A file that was asked for, or every file, is missing.
    """
    where = f"evaluation_datasets.{name}"
    if not settings.eval_file_path:
        raise ConfigError(
            f"{where}.eval_file_path is empty; set it to the annotation file, or give datasets."
            f"{name} a val_ann_path or val_share (captions, grounding and conversations have no "
            "evaluation but their loss in training, with run.valid_splits: [val])."
        )
    unknown = [split for split in settings.splits if split not in settings.files]
    if unknown:
        known = ", ".join(settings.files) or "none; name their files in files"
        raise ConfigError(f"{where}.splits: {', '.join(unknown)} is not known (known: {known}).")
    path = Path(settings.eval_file_path).expanduser()
    takes = READERS[reader].takes if (reader := _reader(settings)) in READERS else "file"
    if not path.is_dir() or takes != "file":
        split = next((key for key, file in settings.files.items() if file == path.name), None)
        return {_split_name(name, split, settings): _at(settings, path)}
    if not settings.files:
        raise ConfigError(f"{where}.eval_file_path {path} is a folder; name the file in it.")
    wanted = settings.splits or list(settings.files)
    found = {split: _find(path, name, settings.files[split]) for split in wanted}
    missing = [settings.files[split] for split, file in found.items() if file is None]
    if missing and (settings.splits or len(missing) == len(wanted)):
        raise DataError(
            f"there is no {' or '.join(missing)} in {path} ({where}.eval_file_path), nor in "
            f"{name} below it; see data/README.md for where it comes from."
        )
    return {
        _split_name(name, split, settings): _at(settings, file)
        for split, file in found.items()
        if file is not None
    }


def _split_name(name: str, split: str | None, settings: EvalDatasetSettings) -> str:
    return name if split is None or len(settings.files) == 1 else f"{name}_{split}"


def _reader(settings: EvalDatasetSettings) -> str:
    return str(settings.build_info.get("reader", "auto"))


def _at(settings: EvalDatasetSettings, path: Path) -> EvalDatasetSettings:
    return dataclasses.replace(settings, eval_file_path=str(path), splits=[])


def _find(folder: Path, name: str, file: str) -> Path | None:
    return next((p for p in (folder / file, folder / name / file) if p.is_file()), None)


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
        name: The entry's name; ``vivqa``, ``mvtec_ad`` and the benchmarks bring their file format.
        settings: The entry; its ``build_info`` is laid over that format.
        vis_processor: Picture to pixel values (3, S, S).
        text_processor: Cleans questions as in training; None for ``blip_caption``.
        kind: Kind of data set where neither the entry nor its name says it.
        build_info: How to read the files, instead of the kind's usual form.

    Raises:
        ConfigError: No annotation file or kind is given, or the folder holds several splits.
        DataError: See ``RecordDataset``.
    """
    splits = eval_splits(name, settings)
    if len(splits) > 1:
        raise ConfigError(
            f"evaluation_datasets.{name} holds the splits {', '.join(splits)}; choose one with "
            "splits, or name its file in eval_file_path."
        )
    (settings,) = splits.values()
    known = registry.names("builder")
    named = registry.get_builder_class(name).kind if name in known else None
    kind = settings.kind or kind or named
    if kind is None:
        raise ConfigError(
            f"evaluation_datasets.{name}: set its kind to vqa, detection or refer (or use one of "
            f"the names {', '.join(dict.fromkeys((*known, *benchmark_names())))})."
        )
    info = {**_usual_form(name, kind, build_info), **settings.build_info}
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
        split=_split(info),
        training=False,
        blank=settings.blank,
        limit=settings.limit,
    )


def _split(info: Mapping[str, Any]) -> str:
    """What to evaluate on: the part that ``val_share`` holds out, or the test data of several."""
    reader = READERS.get(info.get("reader", "auto"))
    if info.get("val_share"):
        return "val"
    return "test" if reader is not None and reader.splits else "train"


def _usual_form(name: str, kind: str, build_info: Mapping[str, Any] | None) -> dict[str, Any]:
    if build_info is not None:
        return dict(build_info)
    if name in benchmark_names():  # its default file has it already, under the entry's own keys
        return {}
    if name in registry.names("builder"):
        return default_build_info(name)
    # What pictures are called is looked up in the file, see ``with_usual_picture``.
    form = default_build_info(_DEFAULTS_OF_KIND.get(kind, ""))
    return {key: value for key, value in form.items() if key != "image"}
