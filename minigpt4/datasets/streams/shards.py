"""Tar shards: which there are, and the pairs of a picture and its text that one holds."""

from __future__ import annotations

import glob
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from minigpt4.common.errors import ConfigError
from minigpt4.datasets.streams.opening import is_local, open_shard

PICTURES = ("jpg", "jpeg", "png", "webp", "bmp", "gif")
"""Endings of a member that is a picture, best first."""
TEXTS = ("json", "txt")
_MOST_BYTES = 1 << 28
"""A larger member is no picture and no caption."""
_DAMAGED = (tarfile.TarError, zlib.error, EOFError)


@dataclass(slots=True)
class Pair:
    """A picture and its annotations as they stand in a shard.

    Attributes:
        id: Shard and key within it.
        picture: The encoded picture.
        row: Its annotations.
        skipped: What was unusable around it, one sentence each.
        position: Its place in the stream.
    """

    id: str
    picture: bytes
    row: dict[str, Any]
    skipped: list[str] = field(default_factory=list)
    position: int = -1


Check = Callable[[str, Mapping[str, Any]], "Pair | str"]
"""``(id, members by ending)`` to a pair, or to what is wrong."""


def expand(patterns: Sequence[str]) -> list[str]:
    """All shards of some patterns, in order: brace ranges, local wildcards and folders.

    Raises:
        ConfigError: A pattern's braces do not match, or a folder or wildcard holds no shard.
    """
    from braceexpand import braceexpand

    shards: list[str] = []
    for pattern in patterns:
        try:
            names = list(braceexpand(pattern))
        except ValueError as error:
            raise ConfigError(f"the shards {pattern!r} cannot be read: {error}.") from error
        for name in names:
            shards += _local(name) if is_local(name) else [name]
    return shards


def _local(name: str) -> list[str]:
    path = Path(name).expanduser()
    if path.is_dir():
        found = sorted(str(file) for file in path.glob("*.tar*") if file.is_file())
    elif glob.has_magic(name) and not path.exists():
        found = sorted(glob.glob(str(path)))  # noqa: PTH207 - the pattern may be absolute
    else:
        return [str(path)]
    if not found:
        raise ConfigError(f"there is no tar file in {name} (build_info.shards).")
    return found


def labels(shards: Sequence[str]) -> dict[str, str]:
    """A short name for each shard, for ids and messages: its file name where that is its own."""
    names = {shard: shard.split("?")[0].rstrip("/").rpartition("/")[2] for shard in shards}
    times = Counter(names.values())
    return {
        shard: name if name and times[name] == 1 and " " not in name else shard
        for shard, name in names.items()
    }


def read_shard(shard: str, label: str, check: Check) -> Iterator[Pair | str]:
    """What a shard holds, in order: usable pairs, and a sentence for everything that is not.

    Args:
        shard: See ``open_shard``.
        label: Its name in ids and messages.
        check: Decides on each group of members.
    Raises:
        OSError: The shard cannot be opened, or reading it failed for good.
    """
    from webdataset.tariterators import group_by_keys

    problems: list[str] = []

    def doubled(error: Exception) -> bool:
        problems.append(f"{label}: {error.args[0]}")
        return True

    with open_shard(shard) as file:
        for members in group_by_keys(_members(file, label, problems), handler=doubled):
            found = check(f"{label}/{members['__key__']}", members)
            yield from problems
            problems.clear()
            yield found
    yield from problems


def _members(file: IO[bytes], label: str, problems: list[str]) -> Iterator[dict[str, Any]]:
    """Files of a tar stream as webdataset groups them; damage ends them with a problem."""
    count = 0
    try:
        with tarfile.open(fileobj=file, mode="r|*", tarinfo=_StrictTarInfo) as archive:
            for info in archive:
                wanted = info.isreg() and info.size <= _MOST_BYTES
                source = archive.extractfile(info) if wanted else None
                if source is not None:
                    yield {"fname": info.name, "data": source.read(), "__url__": label}
                count += 1
                archive.members = []  # type: ignore[attr-defined] # or they pile up
    except _DAMAGED as error:
        problems.append(f"{label} is damaged after {count} files ({error}); the rest is left out.")


class _StrictTarInfo(tarfile.TarInfo):
    """A damaged header is an error; the standard library takes it for the archive's end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(archive)
        except _BAD_HEADERS as error:
            raise tarfile.ReadError(str(error)) from error


_BAD_HEADERS: Any = (
    getattr(tarfile, "InvalidHeaderError", ()),
    getattr(tarfile, "TruncatedHeaderError", ()),
)


def count_pairs(path: str) -> int:
    """Pairs of a local shard by its headers alone; members are not looked into."""
    count = 0
    key, endings = "", set[str]()
    try:
        with tarfile.open(path) as archive:
            for info in archive:
                folder, _, name = info.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if f"{folder}/{stem}" != key:
                    count += _is_pair(endings)
                    key, endings = f"{folder}/{stem}", set()
                if info.isreg():
                    endings.add(ending.lower())
                archive.members = []  # type: ignore[attr-defined] # or they pile up
    except (*_DAMAGED, OSError):
        pass  # what is before the damage counts; reading it will say so
    return count + _is_pair(endings)


def _is_pair(endings: set[str]) -> bool:
    return not endings.isdisjoint(PICTURES) and not endings.isdisjoint(TEXTS)
