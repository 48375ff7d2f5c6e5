"""The folder of all feature stores: who uses which, what they take, and which may go."""

from __future__ import annotations

import argparse
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any

from minigpt4.common.errors import ConfigError, DataError

logger = logging.getLogger(__name__)

INDEX = "index.json"
DATA = "data"
_LOCK = "lock"
_USE = "use"
GIB = 1024**3


def cache_root() -> Path:
    """Where features are kept on disk: ``$MINIGPT4_CACHE`` or ``~/.cache/minigpt4``."""
    base = os.environ.get("MINIGPT4_CACHE") or Path.home() / ".cache" / "minigpt4"
    return Path(base) / "features"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Be the only process that writes to a store, which is made when it is not there."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = (folder / _LOCK).open("w")
        except FileNotFoundError:  # removed in between
            continue
        with lock:
            if not _lock(lock, wait=False):
                logger.info("another process is filling the features in %s: waiting", folder)
                _lock(lock)
            if _is_there(lock, folder / _LOCK):
                yield
                return


def mark_used(folder: Path) -> IO[str]:
    """Note the time, and keep others from removing a store until the file is closed."""
    use = (folder / _USE).open("w")
    _lock(use, shared=True)
    os.utime(use.fileno())
    return use


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """A store as it lies on the disk.

    Attributes:
        folder: Its folder, named by its key.
        pictures: Rows in it.
        bytes: What it takes.
        used: Last time that a run opened it, in seconds since 1970.
        index: What its index says besides; empty when it has none that can be read.
    """

    folder: Path
    pictures: int
    bytes: int
    used: float
    index: dict[str, Any]


def list_stores(root: Path) -> list[StoreInfo]:
    """All stores, the one that was not used for longest first."""
    folders = [each for each in root.iterdir() if each.is_dir()] if root.is_dir() else []
    return sorted((_look_at(each) for each in folders), key=lambda store: store.used)


def remove_store(folder: Path) -> bool:
    """Remove a store unless a process uses it."""
    try:
        with (folder / _LOCK).open("a") as lock, (folder / _USE).open("a") as use:
            if not (_lock(lock, wait=False) and _lock(use, wait=False)):
                return False
            shutil.rmtree(folder)
    except FileNotFoundError:  # another process was first
        return not folder.exists()
    return True


def evict(root: Path, *, keep: Path, need: int, limit: int) -> int:
    """Remove stores, the least recently used first, until so much more fits below a limit.

    Args:
        root: Folder of the stores.
        keep: The store that is about to grow.
        need: Bytes that it is going to grow by.
        limit: Bytes that all stores may take.
    Returns:
        Bytes that are left for it to grow by; less than ``need`` when what remains is in use.
    """
    stores = list_stores(root)
    taken = sum(store.bytes for store in stores)
    others = [store for store in stores if store.folder != keep]
    own = taken - sum(store.bytes for store in others)
    if own + need > limit:  # in vain, so that nothing is removed
        return limit - taken
    for store in others:
        if taken + need <= limit:
            break
        if remove_store(store.folder):
            taken -= store.bytes
            logger.warning(
                "removed the features of %d pictures in %s (%.2f GiB), not used since %s, to stay "
                "below run.feature_cache_gb",
                store.pictures, store.folder, store.bytes / GIB, _date(store.used),
            )  # fmt: skip
    return limit - taken


def main(argv: Sequence[str] | None = None) -> None:
    """List or remove stores of features.

    Raises:
        ConfigError: Nothing was said to remove.
        DataError: There is no such store, or a process uses it.
    """
    parser = argparse.ArgumentParser(
        prog="python -m minigpt4.datasets.features",
        description="What the feature cache keeps on this disk.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="show every store, the least recently used first")
    clear = commands.add_parser("clear", help="remove stores that no process uses")
    clear.add_argument("keys", nargs="*", metavar="KEY", help="stores, as list names them")
    clear.add_argument("--all", action="store_true", help="every store")
    args = parser.parse_args(argv)
    root = cache_root()
    if args.command == "list":
        sys.stdout.write(_table(root))
    else:
        sys.stdout.write(_clear(root, args.keys, everything=args.all))


def _table(root: Path) -> str:
    stores = list_stores(root)
    lines = [f"{root}: {len(stores)} stores, {sum(s.bytes for s in stores) / GIB:.2f} GiB"]
    for store in stores:
        index = store.index
        shape = " x ".join(map(str, index.get("shape", ())))
        what = f"{index.get('dtype', 'unreadable')} {shape}, {index.get('processor', '?')}"
        lines.append(
            f"{store.folder.name}  {store.bytes / GIB:8.2f} GiB  {store.pictures:8d} pictures  "
            f"used {_date(store.used)}  {what}"
        )
    return "\n".join(lines) + "\n"


def _clear(root: Path, keys: Sequence[str], *, everything: bool) -> str:
    there = {store.folder.name: store for store in list_stores(root)}
    if not keys and not everything:
        raise ConfigError("Name the stores to remove, as list shows them, or say --all.")
    unknown = [key for key in keys if key not in there]
    if unknown:
        raise DataError(f"{root} holds no store {', '.join(unknown)}: see list.")
    chosen = list(there.values()) if everything else [there[key] for key in keys]
    busy = [store for store in chosen if not remove_store(store.folder)]
    gone = [store for store in chosen if store not in busy]
    if busy and not everything:
        names = ", ".join(store.folder.name for store in busy)
        raise DataError(f"{names} cannot be removed while a run uses it: wait for its end.")
    size = sum(store.bytes for store in gone) / GIB
    kept = f"; {len(busy)} in use stay" if busy else ""
    return f"removed {len(gone)} stores, {size:.2f} GiB{kept}\n"


def _look_at(folder: Path) -> StoreInfo:
    try:
        index = json.loads((folder / INDEX).read_bytes())
    except (OSError, ValueError):
        index = {}
    pictures = len(index.pop("rows", ()))
    index.pop("files", None)
    there = [path for name in (_USE, INDEX, DATA) if (path := folder / name).exists()]
    used = (there or [folder])[0].stat().st_mtime
    return StoreInfo(folder, pictures, sum(path.stat().st_size for path in there), used, index)


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%Y-%m-%d %H:%M")


def _is_there(file: IO[str], path: Path) -> bool:
    """Whether a path still leads to an open file, which may have been removed with its folder."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _lock(file: IO[str], *, shared: bool = False, wait: bool = True) -> bool:
    """Lock a file until it is closed; False where it is locked and one does not wait."""
    try:
        import fcntl
    except ImportError:  # Windows, where one process at a time is the user's to see to
        return True
    mode = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    try:
        fcntl.flock(file, mode if wait else mode | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
