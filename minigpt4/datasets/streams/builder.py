"""Builds streamed data sets from entries of section ``datasets``."""

from __future__ import annotations

from minigpt4.common.settings import DatasetSettings
from minigpt4.datasets.streams.dataset import StreamDataset, WebPairDataset
from minigpt4.datasets.streams.grit import GritDataset

STREAM_KINDS: dict[str, type[StreamDataset]] = {"webpair": WebPairDataset, "grit": GritDataset}
"""Streamed data set class by ``datasets.<name>.kind``."""


class StreamBuilder:
    """Builds one entry of section ``datasets`` whose kind is in ``STREAM_KINDS``.

    Args:
        settings: The entry, merged with its default file.
        name: The entry's name, for messages.
        seed: Seed of order and wording.
    """

    def __init__(self, settings: DatasetSettings, *, name: str, seed: int = 42) -> None:
        self.settings = settings
        self.name = name
        self.seed = seed

    def build_datasets(self) -> dict[str, StreamDataset]:
        """Open the one split there is, ``train``."""
        return {"train": self.build_split("train")}

    def build_split(self, split: str) -> StreamDataset:
        """Open the stream.

        Raises:
            ConfigError: Any split but ``train``.
            DataError: See ``StreamDataset``.
        """
        from minigpt4.datasets.builders.record_builder import build_processor

        assert self.settings.kind is not None
        return STREAM_KINDS[self.settings.kind](
            self.settings.build_info,
            vis_processor=build_processor(
                self.settings.vis_processor, split=split, default="blip2_image_train"
            ),
            text_processor=build_processor(
                self.settings.text_processor, split=split, default="blip_caption"
            ),
            name=self.name,
            split=split,
            seed=self.seed,
        )
