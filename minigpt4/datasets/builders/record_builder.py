"""Builders: a registry name is a default YAML file and a kind of data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from minigpt4.common.errors import ConfigError
from minigpt4.common.registry import registry, unknown_name
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.base import RecordDataset
from minigpt4.datasets.builders.annotation_files import fetch_annotations
from minigpt4.datasets.builders.defaults import default_build_info
from minigpt4.datasets.caption import CaptionDataset
from minigpt4.datasets.conversation import ConversationDataset
from minigpt4.datasets.detection import open_detection
from minigpt4.datasets.grounding import GroundingDataset
from minigpt4.datasets.spec import annotation_paths
from minigpt4.datasets.streams.builder import STREAM_KINDS, StreamBuilder
from minigpt4.datasets.vqa import VQADataset

KINDS: dict[str, Callable[..., RecordDataset]] = {
    "vqa": VQADataset,
    "caption": CaptionDataset,
    "grounding": GroundingDataset,
    "detection": open_detection,
    "refer": GroundingDataset,
    "conversation": ConversationDataset,
}
"""What opens a data set by ``datasets.<name>.kind``."""

_VALIDATION_SPLITS = ("val", "test")


def dataset_class(kind: str, *, name: str) -> Callable[..., RecordDataset]:
    """The class of a kind, or what chooses one.

    Raises:
        ConfigError: There is no such kind.
    """
    if kind not in KINDS:
        known = [*KINDS, *STREAM_KINDS]
        raise ConfigError(f"datasets.{name}.kind: {unknown_name('kind of data set', kind, known)}")
    return KINDS[kind]


def prepare_build_info(build_info: Mapping[str, Any], kind: str) -> dict[str, Any]:
    """Fill in what a kind implies."""
    task = {"task": kind} if kind == "refer" else {}
    return {**task, **build_info}


def build_processor(settings: Mapping[str, Any], *, split: str, default: str) -> Any:
    """The processor of a split from a ``vis_processor`` or ``text_processor`` section.

    Splits other than ``train`` fall back to ``eval``, then to ``train``.
    """
    entry = settings.get(split) or settings.get("eval") or settings.get("train") or {}
    name = entry.get("name") or default
    return registry.get_processor_class(name).from_config({**entry, "name": name})


class RecordBuilder:
    """Builds the splits of one entry of section ``datasets``.

    Args:
        settings: The entry, merged with its default file.
        name: The entry's name, for messages.
        seed: Seed of what the data sets draw.
    """

    name = ""
    kind: str | None = None

    def __init__(
        self, settings: DatasetSettings | None = None, *, name: str = "", seed: int = 42
    ) -> None:
        self.settings = settings or DatasetSettings()
        self.name = name or self.name
        self.seed = seed
        kind = self.settings.kind or self.kind
        if kind is None:
            raise ConfigError(
                f"datasets.{self.name}: for data of your own, set datasets.{self.name}.kind to one "
                f"of {', '.join(KINDS)}."
            )
        self.dataset_class = dataset_class(kind, name=self.name)
        info = default_build_info(type(self).name, self.settings.build_info)
        self.build_info = prepare_build_info(info, kind)

    def build_datasets(self) -> dict[str, RecordDataset]:
        """Open every split that has annotations: ``train`` always, ``val`` and ``test`` if named.

        Raises:
            ConfigError, DataError: See ``RecordDataset``.
            AccessError: See ``fetch_annotations``.
        """
        splits = ["train"]
        splits += [s for s in _VALIDATION_SPLITS if annotation_paths(self.build_info, s)]
        for split in splits:
            self.fetch_annotations(split)
        return {split: self.build_split(split) for split in splits}

    def fetch_annotations(self, split: str) -> None:
        """Download a split's annotation files that are missing; see ``fetch_annotations``."""
        fetch_annotations(self.build_info, split, name=self.name)

    def build_split(self, split: str) -> RecordDataset:
        """Open one split; all but ``train`` have fixed wording."""
        vis = build_processor(
            self.settings.vis_processor,
            split=split,
            default="blip2_image_train" if split == "train" else "blip2_image_eval",
        )
        text = build_processor(self.settings.text_processor, split=split, default="blip_caption")
        return self.dataset_class(
            self.build_info,
            vis_processor=vis,
            text_processor=text,
            name=self.name,
            split=split,
            training=split == "train",
            seed=self.seed,
        )


@registry.register_builder("vivqa")
class ViVQABuilder(RecordBuilder):
    """ViVQA: Vietnamese questions on COCO pictures."""

    name = "vivqa"
    kind = "vqa"


@registry.register_builder("mvtec_ad")
class MVTECADBuilder(RecordBuilder):
    """MVTec AD: defects of 15 kinds of objects and textures, with boxes."""

    name = "mvtec_ad"
    kind = "detection"


def make_builder(
    name: str, settings: DatasetSettings, *, seed: int = 42
) -> RecordBuilder | StreamBuilder:
    """The registered builder of a name, or one of the entry's own ``kind``.

    Raises:
        ConfigError: The name is not registered and the entry has no ``kind``, or one that does not
            go with the name.
    """
    if name in registry.names("builder"):
        cls: type[RecordBuilder | StreamBuilder] = registry.get_builder_class(name)
        known = [*(STREAM_KINDS if issubclass(cls, StreamBuilder) else KINDS)]
        if settings.kind is not None and settings.kind not in known:
            raise ConfigError(
                f"datasets.{name}.kind is {settings.kind!r}, but {name} can only be one of "
                f"{', '.join(known)}: give other data a name of its own."
            )
        return cls(settings, name=name, seed=seed)
    if settings.kind in STREAM_KINDS:
        return StreamBuilder(settings, name=name, seed=seed)
    if settings.kind is None:
        raise ConfigError(
            f"datasets.{name}: {unknown_name('data set', name, registry.names('builder'))} For "
            f"data of your own, set datasets.{name}.kind to one of "
            f"{', '.join([*KINDS, *STREAM_KINDS])}."
        )
    return RecordBuilder(settings, name=name, seed=seed)
