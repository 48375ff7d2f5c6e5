"""How many samples shards hold, remembered so that a resumed run need not read them again."""

from __future__ import annotations

import hashlib
import json
import logging
from pathlib import Path

from minigpt4.datasets.streams.opening import is_local

logger = logging.getLogger(__name__)


class ShardCounts:
    """Counts by shard, in a file that processes append to.

    A local shard's count holds as long as its size and time do; that of a URL or command for good.

    Args:
        meaning: What is counted and how; counts of another meaning are apart.
    """

    def __init__(self, meaning: str) -> None:
        from minigpt4.datasets.features import cache_root

        digest = hashlib.blake2b(meaning.encode(), digest_size=8).hexdigest()
        self._path = cache_root().parent / "streams" / f"{digest}.jsonl"
        self._known: dict[str, tuple[list[int], int]] = {}
        try:
            lines = self._path.read_text("utf-8").splitlines()
        except OSError:
            lines = []
        for line in lines:
            try:
                entry = json.loads(line)
                self._known[entry["shard"]] = (entry["state"], entry["count"])
            except (ValueError, KeyError, TypeError):
                continue  # a line that was cut short when the disk was full

    def get(self, shard: str) -> int | None:
        """Samples of a shard; None when not known."""
        state, count = self._known.get(_name(shard), (None, None))
        return count if state == _state(shard) else None

    def remember(self, shard: str, count: int) -> None:
        """Note what a shard was found to hold."""
        if self.get(shard) == count:
            return
        name, state = _name(shard), _state(shard)
        self._known[name] = (state, count)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"shard": name, "state": state, "count": count}) + "\n")
        except OSError as error:
            logger.debug("counts of shards are not kept: %s", error)


def _name(shard: str) -> str:
    return str(Path(shard).resolve()) if is_local(shard) else shard


def _state(shard: str) -> list[int]:
    if not is_local(shard):
        return []
    try:
        status = Path(shard).stat()
    except OSError:
        return [-1]
    return [status.st_size, status.st_mtime_ns]
