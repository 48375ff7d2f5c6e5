"""What all streamed data sets share, and the one of pictures with captions."""

from __future__ import annotations

import logging
import random
import unicodedata
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from minigpt4.common.errors import ConfigError, DataError
from minigpt4.common.logger import progress
from minigpt4.conversation.prompts import image_instruction
from minigpt4.datasets.base import ImageProcessor, TextProcessor
from minigpt4.datasets.caption import CaptionDataset
from minigpt4.datasets.patterns import fill, pattern_columns
from minigpt4.datasets.schema import Sample, Turn
from minigpt4.datasets.streams.counts import ShardCounts
from minigpt4.datasets.streams.lanes import StreamReader
from minigpt4.datasets.streams.opening import is_local
from minigpt4.datasets.streams.pairs import decode, make_pair
from minigpt4.datasets.streams.shards import Pair, count_pairs, expand, labels, read_shard
from minigpt4.datasets.streams.spec import make_stream_spec

logger = logging.getLogger(__name__)

_TRIED = 100
"""Samples looked at on opening, to find a wrong setting before anything else is loaded."""
_SHOWN = 5


class StreamDataset:
    """Pairs of a picture and annotations from tar shards; subclasses make turns of them.

    There is no random access: ``pair(position)`` gives raw samples in the order of positions, in
    the process that trains, and ``samples`` decodes them, in any process. What is drawn at random
    is a function of (seed, position).

    Args:
        build_info: See ``StreamSpec``.
        vis_processor: Picture to pixel values (3, S, S).
        text_processor: Cleans the columns named in ``process``.
        name: For messages.
        split: Only ``train``.
        seed: Seed of order and wording.

    Raises:
        ConfigError: Wrong settings, or a split to validate on.
        DataError: Local shards are missing, or nothing in the first ones is usable.
    """

    defaults: ClassVar[Mapping[str, Any]] = {}

    def __init__(
        self,
        build_info: Mapping[str, Any],
        *,
        vis_processor: ImageProcessor,
        text_processor: TextProcessor | None = None,
        name: str = "",
        split: str = "train",
        seed: int = 42,
    ) -> None:
        self.name = name or type(self).__name__
        if split != "train":
            raise ConfigError(
                f"{self.name} is a stream of shards, which can only be trained on: validate and "
                "evaluate on a data set with files of its own (a stream has no split to go "
                "through in order)."
            )
        self.seed = seed
        self.spec = make_stream_spec(build_info, self.defaults, name=self.name)
        self.vis_processor = vis_processor
        self._text_processor = text_processor
        self.shards = self._existing(expand(self.spec.shards))
        self._labels = labels(self.shards)
        self._reader: StreamReader | None = None
        self._check_first()

    # What subclasses say.

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        """Why a row's annotations cannot be used, if so."""
        raise NotImplementedError

    def _turns(self, row: Mapping[str, Any], rng: random.Random) -> list[Turn]:
        """Instructions and answers of a usable row."""
        raise NotImplementedError

    def _meta(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """What is to be counted or reported of a row."""
        return {}

    # Reading, in the process that trains.

    def pair(self, position: int, *, stride: int = 1) -> Pair:
        """The raw sample at a position; see ``StreamReader.take``.

        Raises:
            DataError: No sample can be read.
        """
        if self._reader is None:
            self._reader = self._make_reader()
        try:
            return self._reader.take(position, stride=stride)
        except DataError as error:
            raise DataError(f"{self.name}: {error}") from error

    def stop(self) -> None:
        """Stop reading ahead."""
        if self._reader is not None:
            self._reader.stop()

    def check(self, id: str, members: Mapping[str, Any]) -> Pair | str:
        """A pair of the members of one key, or what is wrong with them."""
        pair = make_pair(id, members)
        if isinstance(pair, str):
            return pair
        for name, key in (self.spec.fields or {}).items():
            pair.row[name] = pair.row.get(key)
        mistake = self._row_mistake(pair.row)
        return f"{id} {mistake}" if mistake else pair

    def one_pass(self) -> int:
        """Samples that count as once through: ``length``, or as many as local shards hold.

        Raises:
            ConfigError: They cannot be counted.
        """
        if self.spec.length is not None:
            return self.spec.length
        remote = [shard for shard in self.shards if not is_local(shard)]
        if remote:
            raise ConfigError(
                f"datasets.{self.name}: how many samples {remote[0]} holds is not known before "
                f"it is read; set datasets.{self.name}.build_info.length to the number of samples, "
                "or run.iters_per_epoch."
            )
        counts = ShardCounts("pairs by headers")
        total = 0
        for shard in progress(self.shards, desc=f"counting {self.name}", unit="shards"):
            count = counts.get(shard)
            if count is None:
                count = count_pairs(shard)
                counts.remember(shard, count)
            total += count
        return total

    def preview(self, count: int, *, batch_size: int = 1) -> Iterator[list[Sample]]:
        """The first samples in batches, read apart from those of training; at most one pass."""
        with suppress(ConfigError):
            count = min(count, self.one_pass())
        reader = self._make_reader()
        try:
            for first in range(0, count, batch_size):
                positions = range(first, min(first + batch_size, count))
                yield self.samples([reader.take(position) for position in positions])
        finally:
            reader.stop()

    def _make_reader(self) -> StreamReader:
        spec = self.spec
        # The threads hold the copy, so that a data set that is dropped takes them along.
        reading = copy(self)
        meaning = [type(self).__name__, dict(spec.fields or {}), dict(spec.tasks or {}),
                   spec.min_score, 1]  # fmt: skip
        return StreamReader(
            self.shards,
            lanes=spec.lanes,
            seed=[self.seed, zlib.crc32(self.name.encode())],
            shuffle=spec.shuffle,
            read=lambda shard: read_shard(shard, reading._labels[shard], reading.check),
            counts=ShardCounts(repr(meaning)),
            skip_broken=spec.on_broken == "skip",
        )

    def _clean(self, text: Any) -> Any:
        if self._text_processor is None or not isinstance(text, str):
            return text
        return self._text_processor(text)

    # Making samples, in any process.

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reader": None}

    def samples(self, pairs: Sequence[Pair]) -> list[Sample]:
        """Decode a batch; where a picture turns out broken, the next one of the batch stands in.

        Raises:
            DataError: All of them are broken.
        """
        made: list[Sample | None] = []
        reasons = []
        for pair in pairs:
            try:
                made.append(self._sample(pair))
            except DataError as error:
                made.append(None)
                reasons.append(f"{pair.id}: {error}")
        if not any(made):
            raise DataError(f"{self.name}: all pictures of a batch are broken; {reasons[0]}")
        samples = []
        for place, sample in enumerate(made):
            if sample is None:
                others = (made[(place + k) % len(made)] for k in range(1, len(made)))
                found = next(other for other in others if other is not None)
                lost = [*pairs[place].skipped, reasons.pop(0)]
                sample = replace(found, meta={"skipped": lost})
            samples.append(sample)
        return samples

    def _sample(self, pair: Pair) -> Sample:
        rng = random.Random(f"{self.seed}/{self.name}/{pair.position}")
        meta = self._meta(pair.row)
        if pair.skipped:
            meta["skipped"] = pair.skipped
        return Sample(
            id=pair.id,
            turns=self._turns(pair.row, rng),
            image=self.vis_processor(decode(pair.picture)),
            image_path=pair.id,
            picture=pair.id,
            meta=meta,
        )

    # Checks on opening.

    def _existing(self, shards: list[str]) -> list[str]:
        missing = [s for s in shards if is_local(s) and not Path(s).is_file()]
        if not missing:
            return shards
        kept = [shard for shard in shards if shard not in set(missing)]
        what = (
            f"{self.name}: {len(missing)} of {len(shards)} shards are missing "
            f"({', '.join(missing[:_SHOWN])}{' ...' if len(missing) > _SHOWN else ''})"
        )
        if self.spec.on_broken == "skip" and kept:
            logger.warning("%s and left out (on_broken: skip)", what)
            return kept
        remedy = f"; set datasets.{self.name}.build_info.shards to where they are"
        if kept:
            remedy += f", or leave them out with datasets.{self.name}.build_info.on_broken=skip"
        raise DataError(f"{what}{remedy}.")

    def _check_first(self) -> None:
        """Find a usable sample in the first local shards."""
        problems: list[str] = []
        for shard in (shard for shard in self.shards if is_local(shard)):
            try:
                for item in islice(read_shard(shard, self._labels[shard], self.check), _TRIED):
                    if isinstance(item, Pair):
                        return
                    problems.append(item)
            except OSError as error:
                problems.append(f"the shard {shard} cannot be read: {error}.")
            if len(problems) >= _TRIED:
                break
        if problems:
            raise DataError(
                f"{self.name}: nothing usable in the first {len(problems)} samples; {problems[0]}"
            )


class WebPairDataset(StreamDataset):
    """Pictures with a caption, from the web."""

    defaults: ClassVar[Mapping[str, Any]] = {
        "prompts": CaptionDataset.defaults["prompts"],
        "answer": "{caption}",
    }

    def _row_mistake(self, row: Mapping[str, Any]) -> str | None:
        for column in self._columns:
            if row.get(column) in (None, "") or isinstance(row[column], list | dict):
                return f"has no text under {column!r} (build_info.fields says where it is)."
        return None if self._answer(row) else "has an empty caption."

    def _turns(self, row: Mapping[str, Any], rng: random.Random) -> list[Turn]:
        prompt = fill(rng.choice(self.spec.prompts), row)
        return [Turn(image_instruction(prompt), self._answer(row))]

    @cached_property
    def _columns(self) -> list[str]:
        patterns = [self.spec.answer, *self.spec.prompts]
        return list(dict.fromkeys(c for text in patterns for c in pattern_columns(text)))

    def _answer(self, row: Mapping[str, Any]) -> str:
        cleaned = {
            name: self._clean(value) if name in self.spec.process else value
            for name, value in row.items()
        }
        return unicodedata.normalize("NFC", fill(self.spec.answer, cleaned)).strip()
