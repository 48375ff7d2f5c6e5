"""The frozen encoder's outputs, computed once a picture and kept.

Not for an encoder that trains or pictures that are augmented: the caller decides. Rows are keyed by
the picture's content, so equal files share one and a changed file gets a new one; a store on disk
is named after what else the values depend on (encoder weights, image processor, number format).
``python -m minigpt4.datasets.features list`` shows the stores of a disk, ``clear`` removes them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

from torch import Tensor

from minigpt4.common.errors import DataError, ResourceError, run_cli
from minigpt4.common.logger import progress
from minigpt4.common.settings import RunSettings
from minigpt4.datasets.feature_encoding import Encode, StartNote, encode_pictures
from minigpt4.datasets.feature_folder import GIB, alone, cache_root, evict, main, mark_used
from minigpt4.datasets.feature_format import row_format
from minigpt4.datasets.feature_store import DiskStore, FeatureStore, MemoryStore
from minigpt4.datasets.pictures import BLANK

__all__ = ["BuildReport", "FeatureCache", "cache_root"]

logger = logging.getLogger(__name__)

Mode = Literal["memory", "disk", "auto"]

_AUTO_SHARE = 0.5
"""``auto`` takes at most this share of the free disk."""
_SAVE_EVERY = 1024
"""Pictures between saves, so that an interrupted run goes on from there."""
_HASH_THREADS = 4


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What ``FeatureCache.build`` did.

    Attributes:
        mode: ``memory``, ``disk``, or ``off`` when ``auto`` found too little room: then datasets
            must go on reading pictures.
        pictures: Different paths asked for.
        encoded: Pictures that went through the encoder now.
        reused: Paths whose content was known, from an earlier run or as a copy of another file.
        bytes: Size of the store.
        broken: Why a path could not be read, for those that could not.
    """

    mode: str
    pictures: int
    encoded: int
    reused: int
    bytes: int
    broken: dict[str, str]


class FeatureCache:
    """Features of pictures by path.

    Args:
        mode: ``memory``, ``disk``, or ``auto`` (disk if it takes at most half of what is free).
        root: Folder of the stores; not needed for ``memory``.
        encoder_fingerprint: Names the encoder and its weights.
        processor_fingerprint: Names what pictures pass through before it.
        dtype: How values are kept: ``fp16``, ``fp32``, or ``int8`` with a scale a token.
        limit: Bytes that all stores below ``root`` may take; the least recently used ones are
            removed for a new one. None: what the disk holds.
    """

    def __init__(
        self,
        mode: Mode,
        root: str | Path | None,
        *,
        encoder_fingerprint: str,
        processor_fingerprint: str,
        dtype: str = "fp16",
        limit: int | None = None,
    ) -> None:
        self.mode = mode
        self.dtype = dtype
        self._format = row_format(dtype)
        self._limit = limit
        self._broken: dict[str, str] = {}
        self._use: IO[str] | None = None
        self._store: FeatureStore
        if mode == "memory":
            self._store = MemoryStore(self._format)
            return
        if root is None:
            raise ValueError(f"mode {mode!r} needs a folder")
        parts = (encoder_fingerprint, processor_fingerprint, f"torch.{self._format.name}")
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self._store = DiskStore(
            Path(root) / key,
            self._format,
            described={"encoder": encoder_fingerprint, "processor": processor_fingerprint},
        )

    @classmethod
    def of_run(cls, run: RunSettings, *, encoder: Any, processor: Any) -> FeatureCache:
        """The cache that section ``run`` asks for, whose ``feature_cache`` is not ``off``.

        Args:
            run: Section ``run``.
            encoder: The frozen encoder.
            processor: What pictures pass through.
        """
        limit = run.feature_cache_gb
        return cls(
            run.feature_cache,  # type: ignore[arg-type]
            None if run.feature_cache == "memory" else cache_root(),
            encoder_fingerprint=encoder.fingerprint(),
            processor_fingerprint=processor.fingerprint(),
            dtype=run.feature_cache_dtype,
            limit=None if limit is None else round(limit * GIB),
        )

    def __getstate__(self) -> dict[str, Any]:
        # The process that built it keeps the store from being removed.
        return {**self.__dict__, "_use": None}

    def __len__(self) -> int:
        return len(self._store)

    def __contains__(self, path: str) -> bool:
        """Whether the picture's features are there; the file itself is not looked at."""
        known = self._store.files.get(_name(path))
        return known is not None and known[2] in self._store

    def __getitem__(self, path: str) -> Tensor:
        """Features of one picture, shape (N, D); of whole numbers in float16.

        Raises:
            DataError: The picture could not be read, or was not asked for when building.
        """
        known = self._store.files.get(_name(path))
        if known is None or known[2] not in self._store:
            reason = self._broken.get(path, f"there are no features of the picture {path}.")
            raise DataError(reason)
        return self._store.get(known[2])

    def build(
        self,
        paths: Iterable[str],
        encode: Encode,
        processor: Callable[..., Tensor],
        *,
        batch_size: int = 32,
        num_workers: int = 0,
    ) -> BuildReport:
        """Encode what is not there yet, with a progress bar.

        Several processes may call it at once: on disk one fills the store, the others wait and then
        find everything there.

        Args:
            paths: Pictures; repetitions do not matter.
            encode: Pixel values (B, 3, S, S) to features (B, N, D), on any device.
            processor: Picture to pixel values (3, S, S).
            batch_size: Pictures in the encoder at once; on a CPU in several parts side by side.
            num_workers: Processes that read pictures; 0: whoever encodes them.

        Raises:
            ResourceError: The features do not fit in memory or on the disk.
        """
        wanted = list(dict.fromkeys(paths))
        with self._alone():
            keys = self._keys(wanted)
            todo: dict[str, str] = {}
            for path, key in keys.items():
                if key not in self._store:
                    todo.setdefault(key, path)
            encoded = self._encode(todo, encode, processor, batch_size, num_workers)
            if encoded is None:
                return BuildReport("off", len(wanted), 0, 0, 0, self._broken)
            for path, key in keys.items():
                if key in self._store:
                    self._store.files[_name(path)] = (*_state(path), key)
            self._store.save()
        report = BuildReport(
            mode="memory" if self.mode == "memory" else "disk",
            pictures=len(wanted),
            encoded=encoded,
            reused=sum(key in self._store for key in keys.values()) - encoded,
            bytes=self._store.bytes,
            broken=self._broken,
        )
        logger.info(
            "features of %d pictures (%s): %d encoded now, %d known, %d unreadable; %.2f GiB",
            report.pictures, report.mode, encoded, report.reused, len(self._broken),
            report.bytes / GIB,
        )  # fmt: skip
        return report

    def _encode(
        self,
        todo: dict[str, str],
        encode: Encode,
        processor: Callable[..., Tensor],
        batch_size: int,
        num_workers: int,
    ) -> int | None:
        """Encode pictures by key; None when ``auto`` decides against it."""
        batches = encode_pictures(
            list(todo.items()), encode, processor, batch_size=batch_size, num_workers=num_workers
        )
        encoded = unsaved = 0
        start = StartNote(len(todo))
        bar = progress(total=len(todo), desc="Encoding pictures", unit="picture")
        try:
            for batch in batches:
                self._broken.update({todo[key]: reason for key, reason in batch.broken.items()})
                bar.update(len(batch.keys) + len(batch.broken))
                if batch.features is None:
                    continue
                if not encoded and not self._make_room(len(todo), batch.features.shape[1:]):
                    return None
                self._store.append(batch.keys, self._format.pack(batch.features))
                encoded += len(batch.keys)
                unsaved += len(batch.keys)
                start.tell(encoded, self._format.row_bytes(batch.features.shape[1:]), self.dtype)
                if unsaved >= _SAVE_EVERY:
                    self._store.save()
                    unsaved = 0
        finally:
            bar.close()
            # Ctrl-C or a full disk: what was encoded so far is kept.
            if unsaved:
                self._store.save()
        return encoded

    def _make_room(self, count: int, shape: Sequence[int]) -> bool:
        need = count * self._format.row_bytes(shape)
        room, whose = self._room(need)
        if need > room:
            if self.mode == "auto":
                logger.info(
                    "feature cache auto: off, for %.1f GiB are more than the %.1f GiB %s",
                    need / GIB, max(room, 0) / GIB, whose,
                )  # fmt: skip
                return False
            raise ResourceError(
                f"features of {count} pictures need {need / GIB:.1f} GiB and {whose} are "
                f"{max(room, 0) / GIB:.1f} GiB: raise run.feature_cache_gb, take "
                "run.feature_cache_dtype=int8, or set run.feature_cache=off."
            )
        self._store.reserve(count, shape)
        return True

    def _room(self, need: int) -> tuple[int, str]:
        """Bytes that there are for so many more, and what they are."""
        rooms = [(sys.maxsize, "")]
        if isinstance(self._store, DiskStore):
            folder = self._store.folder
            if self.mode == "auto":
                share = round(_AUTO_SHARE * self._store.free)
                rooms.append((share, f"that are half of what is free at {folder}"))
            if self._limit is not None:
                left = evict(folder.parent, keep=folder, need=need, limit=self._limit)
                rooms.append((left, "left by run.feature_cache_gb"))
        elif self._limit is not None:
            rooms.append((self._limit - self._store.bytes, "left by run.feature_cache_gb"))
        return min(rooms)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not isinstance(self._store, DiskStore):
            yield
            return
        with alone(self._store.folder):
            if self._use is None:
                self._use = mark_used(self._store.folder)
            self._store.load()
            yield

    def _keys(self, paths: Sequence[str]) -> dict[str, str]:
        """Content key of each readable path; unchanged files are not read again."""
        keys: dict[str, str] = {}
        changed = []
        for path in paths:
            try:
                state = _state(path)
            except OSError as error:
                self._broken[path] = f"the picture {path} cannot be read ({error.strerror})."
                continue
            known = self._store.files.get(_name(path))
            if known is not None and known[:2] == state:
                keys[path] = known[2]
            else:
                changed.append(path)
        with ThreadPoolExecutor(_HASH_THREADS) as pool:
            keys.update(zip(changed, pool.map(_content_key, changed), strict=True))
        return keys


def _name(path: str) -> str:
    return path if path == BLANK else os.path.abspath(path)  # noqa: PTH100 - for every sample


def _state(path: str) -> tuple[int, int]:
    if path == BLANK:
        return 0, 0
    stat = os.stat(path)  # noqa: PTH116
    return stat.st_size, stat.st_mtime_ns


def _content_key(path: str) -> str:
    if path == BLANK:
        return BLANK
    with open(path, "rb") as file:  # noqa: PTH123
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


if __name__ == "__main__":
    sys.exit(run_cli(main))
