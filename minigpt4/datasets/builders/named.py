"""A builder for every data set that has a default file; a name is one YAML file and no class."""

from __future__ import annotations

import dataclasses

from minigpt4.common.registry import registry
from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.builders.defaults import default_build_info, default_kinds
from minigpt4.datasets.builders.record_builder import RecordBuilder
from minigpt4.datasets.streams.builder import STREAM_KINDS, StreamBuilder


class NamedStreamBuilder(StreamBuilder):
    """Builds a streamed data set that has a default file.

    Args:
        settings: The entry of section ``datasets``; what it leaves out is as the default file says.
        name: The entry's name, for messages.
        seed: Seed of order and wording.
    """

    name = ""
    kind = ""

    def __init__(
        self, settings: DatasetSettings | None = None, *, name: str = "", seed: int = 42
    ) -> None:
        settings = settings or DatasetSettings()
        info = default_build_info(type(self).name, settings.build_info)
        settings = dataclasses.replace(
            settings, kind=settings.kind or type(self).kind, build_info=info
        )
        super().__init__(settings, name=name or type(self).name, seed=seed)


def register_names() -> None:
    """Register a builder for each default file whose name has none of its own."""
    taken = registry.names("builder")
    for name, kind in default_kinds().items():
        if name not in taken:
            base = NamedStreamBuilder if kind in STREAM_KINDS else RecordBuilder
            builder = type(f"{name}_builder", (base,), {"name": name, "kind": kind})
            registry.register_builder(name)(builder)
