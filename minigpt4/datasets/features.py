"""The frozen encoder's outputs, computed once a picture and kept.

Not for an encoder that trains or pictures that are augmented: the caller decides. Rows are keyed by
the picture's content, so equal files share one and a changed file gets a new one; a store on disk
is named after what else the values depend on (encoder weights, image processor, number format).
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from minigpt4.common.errors import DataError, ResourceError
from minigpt4.common.logger import progress
from minigpt4.datasets.feature_store import DiskStore, FeatureStore, MemoryStore
from minigpt4.datasets.loaders import leave_signals_to_the_main_process
from minigpt4.datasets.pictures import BLANK, load_picture

logger = logging.getLogger(__name__)

Mode = Literal["memory", "disk", "auto"]
Encode = Callable[[Tensor], Tensor]

_AUTO_SHARE = 0.5
"""``auto`` takes at most this share of the free disk."""
_SAVE_EVERY = 1024
"""Pictures between saves, so that an interrupted run goes on from there."""
_HASH_THREADS = 4
_GIB = 1024**3


def cache_root() -> Path:
    """Where features are kept on disk: ``$MINIGPT4_CACHE`` or ``~/.cache/minigpt4``."""
    base = os.environ.get("MINIGPT4_CACHE") or Path.home() / ".cache" / "minigpt4"
    return Path(base) / "features"


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
        dtype: How values are kept.
    """

    def __init__(
        self,
        mode: Mode,
        root: str | Path | None,
        *,
        encoder_fingerprint: str,
        processor_fingerprint: str,
        dtype: torch.dtype = torch.float16,
    ) -> None:
        self.mode = mode
        self._dtype = dtype
        self._broken: dict[str, str] = {}
        self._store: FeatureStore
        if mode == "memory":
            self._store = MemoryStore()
            return
        if root is None:
            raise ValueError(f"mode {mode!r} needs a folder")
        parts = (encoder_fingerprint, processor_fingerprint, str(dtype))
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
        self._store = DiskStore(
            Path(root) / key,
            described={"encoder": encoder_fingerprint, "processor": processor_fingerprint},
        )

    def __len__(self) -> int:
        return len(self._store)

    def __getitem__(self, path: str) -> Tensor:
        """Features of one picture, shape (N, D), in the cache's number format.

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
            batch_size: Pictures per call of ``encode``.
            num_workers: Processes that read pictures.

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
            report.bytes / _GIB,
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
        reader: DataLoader[Any] = DataLoader(
            _Pictures(todo, processor),
            batch_size=batch_size,
            num_workers=num_workers,
            collate_fn=list,
            worker_init_fn=leave_signals_to_the_main_process,
            generator=torch.Generator().manual_seed(0),
        )
        encoded = unsaved = 0
        bar = progress(total=len(todo), desc="Encoding pictures", unit="picture")
        try:
            for batch in reader:
                bar.update(len(batch))
                self._broken.update({todo[key]: v for key, v in batch if isinstance(v, str)})
                good = {key: v for key, v in batch if isinstance(v, Tensor)}
                if not good:
                    continue
                with torch.inference_mode():
                    features = encode(torch.stack(list(good.values())))
                rows = self._convert(features)
                if not encoded and not self._make_room(len(todo), rows):
                    return None
                self._store.append(list(good), rows)
                encoded += len(good)
                unsaved += len(good)
                if unsaved >= _SAVE_EVERY:
                    self._store.save()
                    unsaved = 0
        finally:
            bar.close()
            # Ctrl-C or a full disk: what was encoded so far is kept.
            if unsaved:
                self._store.save()
        return encoded

    def _convert(self, features: Tensor) -> Tensor:
        rows = features.detach().to("cpu", self._dtype)
        if not torch.isfinite(rows).all():
            raise ResourceError(
                f"features of the encoder do not fit in {self._dtype} (or are not finite); set "
                "run.feature_cache to off."
            )
        return rows

    def _make_room(self, count: int, rows: Tensor) -> bool:
        shape = rows.shape[1:]
        if self.mode == "auto":
            assert isinstance(self._store, DiskStore)
            need, free = self._store.need(count, shape, self._dtype)
            if need > _AUTO_SHARE * free:
                logger.info(
                    "feature cache auto: off, for %.1f GiB are more than half of the %.1f GiB "
                    "free at %s",
                    need / _GIB, free / _GIB, self._store.folder,
                )  # fmt: skip
                return False
        self._store.reserve(count, shape, self._dtype)
        return True

    @contextmanager
    def _alone(self) -> Iterator[None]:
        if not isinstance(self._store, DiskStore):
            yield
            return
        self._store.folder.mkdir(parents=True, exist_ok=True)
        with (self._store.folder / "lock").open("w") as lock:
            _lock(lock)
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


class _Pictures(Dataset[tuple[str, Tensor | str]]):
    """Pictures by key; one that cannot be read gives the reason instead."""

    def __init__(self, todo: dict[str, str], processor: Callable[..., Tensor]) -> None:
        self._items = list(todo.items())
        self._processor = processor

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> tuple[str, Tensor | str]:
        key, path = self._items[index]
        try:
            return key, self._processor(load_picture(path))
        except DataError as error:
            return key, str(error)


def _lock(file: IO[str]) -> None:
    """Wait until no other process holds the file's lock; it ends with the file."""
    try:
        import fcntl
    except ImportError:  # Windows, where one process at a time is the user's to see to
        return
    fcntl.flock(file, fcntl.LOCK_EX)


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
